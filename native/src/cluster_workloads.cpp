// Services, controllers and namespaces of a Cluster, and the terms of pods that are about other pods.

#include "volsched/cluster.hpp"
#include "volsched/row_reader.hpp"

namespace volsched {

std::vector<SpreadConstraint> Cluster::read_spread(RowReader& reader) {
  std::vector<SpreadConstraint> constraints(reader.count());
  for (SpreadConstraint& constraint : constraints) {
    constraint.topology_key = strings.intern(reader.text());
    constraint.max_skew = reader.i64();
    constraint.domains_min = reader.i64();
    const std::uint8_t mode = reader.u8();
    constraint.mode = mode == 0 ? SpreadMode::kSoft : mode == 1 ? SpreadMode::kHard : SpreadMode::kNeither;
    constraint.honors_affinity = reader.flag();
    constraint.honors_taints = reader.flag();
    constraint.is_nil = !reader.flag();
    if (!constraint.is_nil) constraint.selector = read_label_selector(reader, strings);
  }
  return constraints;
}

void Cluster::compile_pod_terms(RowReader& reader, PodProgram& program) {
  const auto text = [&] { return strings.intern(reader.text()); };
  program.spread = read_spread(reader);
  for (PodTerms* terms : {&program.affinity, &program.anti_affinity, &program.preferred_near, &program.preferred_far}) {
    terms->terms.resize(reader.count());
    for (PodTerm& term : terms->terms) {
      term.weight = static_cast<std::int32_t>(reader.i64());
      term.topology_key = text();
      const auto take = [&](LabelSelector selector, Term& requirements) {
        requirements = std::move(selector.requirements);
        if (terms->error.empty()) terms->error = std::move(selector.error);
      };
      term.is_nil = !reader.flag();
      if (!term.is_nil) take(read_label_selector(reader, strings), term.selector);
      term.namespaces.resize(reader.count());
      for (StringId& name : term.namespaces) name = text();
      term.has_namespace_selector = reader.flag();
      if (term.has_namespace_selector) take(read_label_selector(reader, strings), term.namespace_selector);
      term.in_own_namespace = term.namespaces.empty() && !term.has_namespace_selector;
    }
  }
}

void Cluster::put_service(std::string_view bytes) {
  RowReader reader("Service", bytes);
  const StringId space = strings.intern(reader.text());
  const StringId name = strings.intern(reader.text());
  const bool has_selector = reader.flag();
  Labels selector = read_labels(reader);
  reader.finish();
  workloads.put_service(space, name, has_selector, std::move(selector));
  bump();
}

void Cluster::remove_service(std::string_view space, std::string_view name) {
  const StringId space_id = strings.find(space);
  const StringId name_id = strings.find(name);
  if (!space_id.valid() || !name_id.valid()) return;
  workloads.remove_service(space_id, name_id);
  bump();
}

void Cluster::put_controller(std::string_view bytes) {
  RowReader reader("controller", bytes);
  const std::uint8_t kind = reader.u8();
  const StringId space = strings.intern(reader.text());
  const StringId name = strings.intern(reader.text());
  LabelSelector selector = read_label_selector(reader, strings);
  reader.finish();
  if (kind == 0 || kind > 3) return;
  workloads.put_controller(static_cast<OwnerKind>(kind), space, name, std::move(selector));
  bump();
}

void Cluster::remove_controller(OwnerKind kind, std::string_view space, std::string_view name) {
  const StringId space_id = strings.find(space);
  const StringId name_id = strings.find(name);
  if (!space_id.valid() || !name_id.valid()) return;
  workloads.remove_controller(kind, space_id, name_id);
  bump();
}

void Cluster::put_namespace(std::string_view bytes) {
  RowReader reader("Namespace", bytes);
  const StringId name = strings.intern(reader.text());
  const LabelSetId read = read_label_set(reader);
  reader.finish();
  workloads.put_namespace(name, read);
  bump();
}

void Cluster::remove_namespace(std::string_view name) {
  const StringId id = strings.find(name);
  if (!id.valid()) return;
  workloads.remove_namespace(id);
  bump();
}

}  // namespace volsched
