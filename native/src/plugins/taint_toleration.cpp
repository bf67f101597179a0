// Work is per distinct taint: which taints the template does not tolerate is found once, their node sets are added up,
// and the result stands until some node's taints change. Source: spec/scheduling.md 8.3.

#include <algorithm>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

struct TaintCache final : PluginCache {
  std::uint64_t version = 0;
  std::size_t rows = 0;
  NodeMask untolerated;            ///< nodes with a NoSchedule or NoExecute taint that is not tolerated
  std::vector<std::int32_t> soft;  ///< by row: PreferNoSchedule taints not tolerated
  bool has_soft = false;
  ValueClasses by_soft;  ///< while some node has one
};

class TaintToleration final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kTaintToleration; }
  [[nodiscard]] std::string_view name() const override { return "TaintToleration"; }

  void filter(Cycle& cycle) const override {
    cycle.reject(id(), refreshed(cycle).untolerated, Code::kUnresolvable, {"node(s) had untolerated taint(s)"});
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask& feasible) const override {
    const TaintCache& cache = refreshed(cycle);
    if (!cache.has_soft) return {nullptr, 100};
    std::int32_t most = 0;
    feasible.for_each([&](NodeId row) { most = std::max(most, cache.soft[row.index()]); });
    if (most == 0) return {nullptr, 100};
    std::vector<std::int32_t>& column = cycle.scratch.take(cache.soft.size());
    for (std::size_t row = 0; row < column.size(); ++row) column[row] = 100 - 100 * cache.soft[row] / most;
    return {column.data(), 0};
  }

  [[nodiscard]] const RowClasses* classes(Cycle& cycle, const NodeMask&) const override {
    const TaintCache& cache = refreshed(cycle);
    return cache.has_soft && !cache.by_soft.classes.is_crowded() ? &cache.by_soft.classes : nullptr;
  }

  void score_classes(Cycle& cycle, std::span<const std::uint32_t> counts,
                     std::vector<std::int32_t>& scores) const override {
    const ValueClasses& by_soft = refreshed(cycle).by_soft;
    const std::int64_t most = by_soft.greatest(counts);
    for (std::size_t at = 0; at < scores.size(); ++at)
      scores[at] = most == 0 ? 100 : static_cast<std::int32_t>(100 - 100 * by_soft.classes.signature(at)[0] / most);
  }

 private:
  [[nodiscard]] const TaintCache& refreshed(Cycle& cycle) const {
    TaintCache& cache = cycle.cache<TaintCache>(id());
    const TaintTable& taints = cycle.cluster.taints;
    const std::size_t rows = cycle.cluster.rows();
    if (cache.version == taints.version() && cache.rows == rows) return cache;
    cache.version = taints.version();
    cache.rows = rows;
    cache.untolerated = untolerated_nodes(cycle.cluster, cycle.program);
    cache.soft.assign(rows, 0);
    cache.has_soft = false;
    const auto& tolerations = cycle.program.tolerations;
    // only tolerations that can be meant for a soft taint count against it
    const auto is_tolerated = [&](const Taint& taint) {
      return std::any_of(tolerations.begin(), tolerations.end(), [&](const Toleration& toleration) {
        return (toleration.effect == TaintEffect::kAny || toleration.effect == TaintEffect::kPreferNoSchedule) &&
               toleration.tolerates(taint);
      });
    };
    for (std::size_t index = 0; index < taints.size(); ++index) {
      const Taint& taint = taints.at(TaintId(index));
      if (taint.effect != TaintEffect::kPreferNoSchedule || is_tolerated(taint)) continue;
      taints.nodes(TaintId(index)).for_each([&](NodeId row) {
        const auto& own = taints.of(row);
        cache.soft[row.index()] += static_cast<std::int32_t>(std::count(own.begin(), own.end(), TaintId(index)));
        cache.has_soft = true;
      });
    }
    if (cache.has_soft) cache.by_soft.assign(cache.soft);
    return cache;
  }
};

}  // namespace

NodeMask untolerated_nodes(const Cluster& cluster, const PodProgram& program) {
  NodeMask result(cluster.rows());
  const auto& tolerations = program.tolerations;
  for (std::size_t index = 0; index < cluster.taints.size(); ++index) {
    const Taint& taint = cluster.taints.at(TaintId(index));
    if (taint.effect != TaintEffect::kNoSchedule && taint.effect != TaintEffect::kNoExecute) continue;
    if (std::none_of(tolerations.begin(), tolerations.end(),
                     [&](const Toleration& toleration) { return toleration.tolerates(taint); })) {
      cluster.taints.nodes(TaintId(index)).add_to(result);
    }
  }
  return result;
}

const Plugin& taint_toleration_plugin() {
  static const TaintToleration plugin;
  return plugin;
}

}  // namespace volsched
