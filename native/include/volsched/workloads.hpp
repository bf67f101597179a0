#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/labels.hpp"
#include "volsched/selectors.hpp"

namespace volsched {

/// Kinds of controllers that own pods and spread them by default.
enum class OwnerKind : std::uint8_t { kNone, kReplicationController, kReplicaSet, kStatefulSet };

/// What a pod's controller owner reference says, as far as default spreading reads it.
struct OwnerRef {
  OwnerKind kind = OwnerKind::kNone;
  StringId name;
  bool operator==(const OwnerRef&) const = default;
};

/// Services and pod controllers: whose selectors spread pods that say nothing of it themselves. And the labels of
/// namespaces.
class WorkloadTable {
 public:
  void put_service(StringId space, StringId name, bool has_selector, Labels selector);
  void remove_service(StringId space, StringId name);
  void put_controller(OwnerKind kind, StringId space, StringId name, LabelSelector selector);
  void remove_controller(OwnerKind kind, StringId space, StringId name);
  void put_namespace(StringId name, LabelSetId labels);
  void remove_namespace(StringId name);

  /// The merged selector of the services that select the pod and of its controller; empty = nothing selects it.
  /// Source: plugins/helper/spread.go (DefaultSelector).
  [[nodiscard]] Term default_selector(StringId space, const Labels& labels, const OwnerRef& owner) const;
  /// Labels of a namespace, the empty set when there is no such object.
  [[nodiscard]] LabelSetId labels_of(StringId space) const;
  /// Namespaces whose labels satisfy the selector.
  [[nodiscard]] std::vector<StringId> namespaces_matching(const Term& selector, const LabelSets& sets,
                                                          const StringPool& strings) const;
  /// Calls visit(namespace, name, its selector, nullptr for none) for every service.
  template <class Visit>
  void for_each_service(Visit&& visit) const {
    for (const auto& [space, services] : services_) {
      for (const Service& service : services)
        visit(StringId(space), service.name, service.has_selector ? &service.selector : nullptr);
    }
  }
  /// Calls visit(kind, namespace, name, selector) for every controller.
  template <class Visit>
  void for_each_controller(Visit&& visit) const {
    for (std::size_t kind = 0; kind < 4; ++kind) {
      for (const auto& [key, selector] : controllers_[kind]) {
        visit(static_cast<OwnerKind>(kind), StringId(static_cast<std::uint32_t>(key >> 32)),
              StringId(static_cast<std::uint32_t>(key)), selector);
      }
    }
  }
  /// Namespaces there are, with their labels.
  [[nodiscard]] const std::vector<std::pair<StringId, LabelSetId>>& namespaces() const { return namespaces_; }
  /// Grow with changes of services and controllers, and of namespaces.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  [[nodiscard]] std::uint64_t namespace_version() const { return namespace_version_; }

 private:
  struct Service {
    StringId name;
    bool has_selector = false;
    Labels selector;
  };
  [[nodiscard]] const LabelSelector* controller(const OwnerRef& owner, StringId space) const;

  std::unordered_map<std::uint32_t, std::vector<Service>> services_;  ///< by namespace
  std::unordered_map<std::uint64_t, LabelSelector> controllers_[4];   ///< by kind; (namespace, name)
  std::vector<std::pair<StringId, LabelSetId>> namespaces_;
  std::uint64_t version_ = 1;
  std::uint64_t namespace_version_ = 1;
};

}  // namespace volsched
