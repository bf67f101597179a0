#include "volsched/workloads.hpp"

#include <algorithm>

namespace volsched {

void WorkloadTable::put_service(StringId space, StringId name, bool has_selector, Labels selector) {
  remove_service(space, name);
  services_[space.value()].push_back({name, has_selector, std::move(selector)});
  ++version_;
}

void WorkloadTable::remove_service(StringId space, StringId name) {
  const auto known = services_.find(space.value());
  if (known == services_.end()) return;
  std::erase_if(known->second, [&](const Service& service) { return service.name == name; });
  ++version_;
}

void WorkloadTable::put_controller(OwnerKind kind, StringId space, StringId name, LabelSelector selector) {
  controllers_[static_cast<std::size_t>(kind)][pack(space, name)] = std::move(selector);
  ++version_;
}

void WorkloadTable::remove_controller(OwnerKind kind, StringId space, StringId name) {
  controllers_[static_cast<std::size_t>(kind)].erase(pack(space, name));
  ++version_;
}

void WorkloadTable::put_namespace(StringId name, LabelSetId labels) {
  const auto known =
      std::find_if(namespaces_.begin(), namespaces_.end(), [&](const auto& entry) { return entry.first == name; });
  if (known != namespaces_.end()) {
    known->second = labels;
  } else {
    namespaces_.emplace_back(name, labels);
  }
  ++namespace_version_;
}

void WorkloadTable::remove_namespace(StringId name) {
  std::erase_if(namespaces_, [&](const auto& entry) { return entry.first == name; });
  ++namespace_version_;
}

LabelSetId WorkloadTable::labels_of(StringId space) const {
  const auto known =
      std::find_if(namespaces_.begin(), namespaces_.end(), [&](const auto& entry) { return entry.first == space; });
  return known == namespaces_.end() ? LabelSets::kEmpty : known->second;
}

std::vector<StringId> WorkloadTable::namespaces_matching(const Term& selector, const LabelSets& sets,
                                                         const StringPool& strings) const {
  std::vector<StringId> names;
  for (const auto& [name, labels] : namespaces_) {
    if (matches(selector, sets.at(labels), strings)) names.push_back(name);
  }
  return names;
}

const LabelSelector* WorkloadTable::controller(const OwnerRef& owner, StringId space) const {
  if (owner.kind == OwnerKind::kNone) return nullptr;
  const auto& of_kind = controllers_[static_cast<std::size_t>(owner.kind)];
  const auto known = of_kind.find(pack(space, owner.name));
  return known == of_kind.end() ? nullptr : &known->second;
}

Term WorkloadTable::default_selector(StringId space, const Labels& labels, const OwnerRef& owner) const {
  Term merged;
  const auto add = [&](Label label) { merged.push_back({label.key, Op::kIn, 0, {label.value}}); };
  const auto services = services_.find(space.value());
  if (services != services_.end()) {
    for (const Service& service : services->second) {
      if (!service.has_selector) continue;
      const bool selects = std::all_of(service.selector.begin(), service.selector.end(), [&](const Label& label) {
        return label_value(labels, label.key) == label.value;
      });
      if (selects) std::for_each(service.selector.begin(), service.selector.end(), add);
    }
  }
  if (const LabelSelector* own = controller(owner, space); own != nullptr && own->error.empty()) {
    if (owner.kind == OwnerKind::kReplicationController) {
      // merged as a map: its values replace those of the services
      for (const Requirement& requirement : own->requirements) {
        std::erase_if(merged, [&](const Requirement& known) { return known.key == requirement.key; });
      }
    }
    merged.insert(merged.end(), own->requirements.begin(), own->requirements.end());
  }
  std::sort(merged.begin(), merged.end());
  merged.erase(std::unique(merged.begin(), merged.end()), merged.end());
  return merged;
}

}  // namespace volsched
