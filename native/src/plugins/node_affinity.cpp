// Selectors are indexed: the nodes that match one are known at any time, so the filter is set algebra. Scores of the
// preferred terms are added up once and stand until one of the terms' node sets changes. Source:
// spec/scheduling.md 6.2, 8.4.

#include <algorithm>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

struct AffinityCache final : PluginCache {
  std::vector<std::uint64_t> versions;  ///< of the preferred terms' selectors
  std::vector<std::int32_t> raw;        ///< by row: sum of weights
  bool has_any = false;
  ValueClasses by_raw;  ///< while some node has a sum
};

class NodeAffinity final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeAffinity; }
  [[nodiscard]] std::string_view name() const override { return "NodeAffinity"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    const PodProgram& program = cycle.program;
    if (!program.has_node_selector && !program.has_required_affinity && !cycle.profile.has_added_affinity)
      return PreFilterStatus::skip();
    if (!program.has_name_set) return PreFilterStatus::success();
    if (program.name_set.empty()) return PreFilterStatus::unresolvable("pod affinity terms conflict");
    return PreFilterStatus::narrow(program.name_set);
  }

  void filter(Cycle& cycle) const override {
    if (cycle.profile.has_added_affinity) {
      cycle.reject(id(), cycle.cluster.selectors.nodes(cycle.profile.added_affinity).outside(cycle.alive),
                   Code::kUnresolvable, {"node(s) didn't match scheduler-enforced node affinity"});
    }
    const auto refuse_outside = [&](SelectorId selector) {
      cycle.reject(id(), cycle.cluster.selectors.nodes(selector).outside(cycle.alive), Code::kUnresolvable,
                   {"node(s) didn't match Pod's node affinity/selector"});
    };
    if (cycle.program.has_node_selector) refuse_outside(cycle.program.node_selector);
    if (cycle.program.has_required_affinity) refuse_outside(cycle.program.required_affinity);
  }

  [[nodiscard]] PreScoreStatus pre_score(Cycle& cycle, const NodeMask&) const override {
    if (!cycle.program.has_preferred_affinity && cycle.profile.added_preferred.empty())
      return {PreScoreStatus::Kind::kSkip, {}};
    for (const std::string* error : {&cycle.program.preferred_error, &cycle.profile.added_preferred_error}) {
      if (!error->empty()) return {PreScoreStatus::Kind::kError, *error};
    }
    return {};
  }

  [[nodiscard]] PreScoreStatus prepare_score(Cycle& cycle, const NodeMask& feasible) const override {
    return pre_score(cycle, feasible);
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask& feasible) const override {
    const AffinityCache& cache = refreshed(cycle);
    if (!cache.has_any) return {};
    std::int32_t most = 0;
    feasible.for_each([&](NodeId row) { most = std::max(most, cache.raw[row.index()]); });
    if (most == 0) return {};
    std::vector<std::int32_t>& column = cycle.scratch.take(cache.raw.size());
    for (std::size_t row = 0; row < column.size(); ++row) column[row] = 100 * cache.raw[row] / most;
    return {column.data(), 0};
  }

  [[nodiscard]] const RowClasses* classes(Cycle& cycle, const NodeMask&) const override {
    const AffinityCache& cache = refreshed(cycle);
    return cache.has_any && !cache.by_raw.classes.is_crowded() ? &cache.by_raw.classes : nullptr;
  }

  void score_classes(Cycle& cycle, std::span<const std::uint32_t> counts,
                     std::vector<std::int32_t>& scores) const override {
    const ValueClasses& by_raw = refreshed(cycle).by_raw;
    const std::int64_t most = by_raw.greatest(counts);
    for (std::size_t at = 0; at < scores.size() && most != 0; ++at)
      scores[at] = static_cast<std::int32_t>(100 * by_raw.classes.signature(at)[0] / most);
  }

 private:
  [[nodiscard]] const AffinityCache& refreshed(Cycle& cycle) const {
    AffinityCache& cache = cycle.cache<AffinityCache>(id());
    const SelectorIndex& selectors = cycle.cluster.selectors;
    std::vector<std::uint64_t> versions;
    const auto for_terms = [&](const auto& visit) {
      for (const PreferredTerm& term : cycle.program.preferred) visit(term);
      for (const PreferredTerm& term : cycle.profile.added_preferred) visit(term);
    };
    for_terms([&](const PreferredTerm& term) { versions.push_back(selectors.version(term.selector)); });
    if (cache.versions == versions && cache.raw.size() == cycle.cluster.rows()) return cache;
    cache.versions = std::move(versions);
    cache.raw.assign(cycle.cluster.rows(), 0);
    cache.has_any = false;
    for_terms([&](const PreferredTerm& term) {
      if (term.weight == 0) return;
      selectors.nodes(term.selector).for_each([&](NodeId row) {
        cache.raw[row.index()] += term.weight;
        cache.has_any = true;
      });
    });
    if (cache.has_any) cache.by_raw.assign(cache.raw);
    return cache;
  }
};

}  // namespace

const Plugin& node_affinity_plugin() {
  static const NodeAffinity plugin;
  return plugin;
}

}  // namespace volsched
