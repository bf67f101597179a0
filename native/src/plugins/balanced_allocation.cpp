// How much more even the use of cpu and memory becomes with the pod, kept by row like NodeResourcesFit's. All
// arithmetic is in doubles, in the order written, without contraction. Source: spec/scheduling.md 8.7.

#include <algorithm>
#include <cmath>
#include <optional>

#include "volsched/go_math.hpp"
#include "volsched/plugin.hpp"
#include "volsched/scoring.hpp"

namespace volsched {

namespace {

struct BalanceCache final : PluginCache {
  std::uint64_t cursor = 0;
  KeptColumn score;
};

class NodeResourcesBalancedAllocation final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeResourcesBalancedAllocation; }
  [[nodiscard]] std::string_view name() const override { return "NodeResourcesBalancedAllocation"; }

  [[nodiscard]] PreScoreStatus pre_score(Cycle& cycle, const NodeMask&) const override {
    bool takes_nothing = cycle.program.usage.milli_cpu == 0 && cycle.program.usage.memory_bytes == 0;
    if (!cycle.profile.is_default_balance) {
      const CountedColumns columns = columns_of(cycle);
      takes_nothing = true;
      for (std::size_t at = 0; at < columns.size(); ++at) takes_nothing = takes_nothing && columns.asked(at) == 0;
    }
    return {takes_nothing ? PreScoreStatus::Kind::kSkip : PreScoreStatus::Kind::kSuccess, {}};
  }

  [[nodiscard]] PreScoreStatus prepare_score(Cycle& cycle, const NodeMask& feasible) const override {
    return pre_score(cycle, feasible);
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask&) const override {
    BalanceCache& cache = cycle.cache<BalanceCache>(id());
    const ResourceTable& resources = cycle.cluster.resources;
    const std::size_t rows = cycle.cluster.rows();
    cache.score.resize(rows);
    std::optional<CountedColumns> columns;
    if (!cycle.profile.is_default_balance) columns.emplace(columns_of(cycle));
    std::vector<double> before;
    std::vector<double> after;
    const auto score_at = [&](std::uint32_t row) {
      return columns ? score_of(*columns, row, before, after) : score_of(resources, cycle.program.usage, row);
    };
    const auto refresh = [&](std::uint32_t row) { cache.score.set(row, score_at(row)); };
    if (!resources.log().replay(cache.cursor, refresh)) {
      cache.score.restart(rows);
      for (std::uint32_t row = 0; row < rows; ++row) cache.score.write(row, score_at(row));
    }
    return ScoreColumn::kept_by(cache.score);
  }

 private:
  static CountedColumns columns_of(const Cycle& cycle) {
    return {cycle, cycle.profile.balanced, CountedColumns::Processor::kRequested};
  }

  static std::int64_t balance(const std::vector<double>& shares) {
    double deviation = 0;
    if (shares.size() == 2) {
      deviation = std::abs((shares[0] - shares[1]) / 2);
    } else if (shares.size() > 2) {
      const auto count = static_cast<double>(shares.size());
      double total = 0;
      for (const double share : shares) total += share;
      const double mean = total / count;
      double squares = 0;
      for (const double share : shares) squares = squares + (share - mean) * (share - mean);
      deviation = std::sqrt(squares / count);
    }
    return go_int64((1 - deviation) * 100.0);
  }

  /// 75 where nothing changes, more where the use becomes more even.
  static std::int64_t change(std::int64_t before, std::int64_t after) {
    return 50 + wrapping_sub(wrapping_add(50, after), before) / 2;
  }

  /// Any resources. `before` and `after` only lend their memory.
  static std::int64_t score_of(const CountedColumns& columns, std::size_t row, std::vector<double>& before,
                               std::vector<double>& after) {
    before.clear();
    after.clear();
    const auto share = [](std::int64_t used, std::int64_t offered) {
      return std::min(1.0, static_cast<double>(used) / static_cast<double>(offered));
    };
    for (std::size_t at = 0; at < columns.size(); ++at) {
      CountedAmounts amounts;
      if (!columns.read(at, row, amounts)) continue;
      before.push_back(share(amounts.used, amounts.offered));
      after.push_back(share(wrapping_add(amounts.used, amounts.asked), amounts.offered));
    }
    return change(balance(before), balance(after));
  }

  static std::int64_t balance(std::int64_t cpu, std::int64_t cpu_capacity, std::int64_t memory,
                              std::int64_t memory_capacity) {
    if (cpu_capacity == 0 || memory_capacity == 0) return 100;  // one share or none deviates from nothing
    const double cpu_share = std::min(1.0, static_cast<double>(cpu) / static_cast<double>(cpu_capacity));
    const double memory_share = std::min(1.0, static_cast<double>(memory) / static_cast<double>(memory_capacity));
    const double deviation = std::abs((cpu_share - memory_share) / 2);
    return go_int64((1 - deviation) * 100.0);
  }

  static std::int64_t score_of(const ResourceTable& resources, const Usage& usage, std::size_t row) {
    const ResourceTable::Column& cpu = resources.column(ResourceTable::kCpu);
    const ResourceTable::Column& memory = resources.column(ResourceTable::kMemory);
    const std::int64_t before =
        balance(cpu.requested[row], cpu.allocatable[row], memory.requested[row], memory.allocatable[row]);
    const std::int64_t after =
        balance(wrapping_add(cpu.requested[row], usage.milli_cpu), cpu.allocatable[row],
                wrapping_add(memory.requested[row], usage.memory_bytes), memory.allocatable[row]);
    return change(before, after);
  }
};

}  // namespace

const Plugin& balanced_allocation_plugin() {
  static const NodeResourcesBalancedAllocation plugin;
  return plugin;
}

}  // namespace volsched
