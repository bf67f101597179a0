// For a template the verdict and score of a node depend on that node's numbers alone, so both are kept by row and only
// rows in the resource log are worked out again. Nodes that lack the same things form one group. Source:
// spec/scheduling.md 8.6.

#include <algorithm>
#include <cmath>
#include <optional>

#include "volsched/go_math.hpp"
#include "volsched/plugin.hpp"
#include "volsched/scoring.hpp"

namespace volsched {

namespace {

/// Bits of what a node lacks; scalars follow in the order of the program's list.
constexpr std::uint64_t kPods = 1;
constexpr std::uint64_t kCpu = 2;
constexpr std::uint64_t kMemory = 4;
constexpr std::uint64_t kEphemeral = 8;
constexpr std::size_t kFirstScalar = 4;
constexpr std::uint64_t kUnresolvable = 1ULL << 63;
constexpr std::size_t kScalarsMax = 59;

struct FitCache final : PluginCache {
  struct Group {
    std::uint64_t lacks = 0;
    NodeMask nodes;
  };
  std::uint64_t cursor = 0;
  std::vector<std::uint64_t> lacks;  ///< by row
  std::vector<Group> groups;         ///< nodes by what they lack; none for nodes that lack nothing
  KeptColumn score;
};

/// What pods that come to a node, or leave it, change there. Scalars by place in the wanted list.
struct Moved {
  std::int64_t pods = 0;
  std::int64_t milli_cpu = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t ephemeral_bytes = 0;
  std::vector<std::int64_t> scalars;

  explicit Moved(std::size_t scalar_count) : scalars(scalar_count, 0) {}
};

/// `ignored`: bits of the program's scalars that do not matter.
std::uint64_t lacking(const ResourceTable& resources, const Usage& usage, std::size_t row, std::uint64_t ignored,
                      const Moved& moved) {
  std::uint64_t lacks = resources.pod_count()[row] + moved.pods + 1 > resources.pod_limit()[row] ? kPods : 0;
  const auto check = [&](const ResourceTable::Column& column, std::int64_t amount, std::int64_t more,
                         std::uint64_t bit) {
    if (amount <= 0) return;
    if (amount <= wrapping_sub(column.allocatable[row], wrapping_add(column.requested[row], more))) return;
    lacks |= bit;
    if (amount > column.allocatable[row]) lacks |= kUnresolvable;
  };
  check(resources.column(ResourceTable::kCpu), usage.milli_cpu, moved.milli_cpu, kCpu);
  check(resources.column(ResourceTable::kMemory), usage.memory_bytes, moved.memory_bytes, kMemory);
  check(resources.column(ResourceTable::kEphemeral), usage.ephemeral_bytes, moved.ephemeral_bytes, kEphemeral);
  for (std::size_t at = 0; at < usage.scalars.size(); ++at) {
    const std::uint64_t bit = 1ULL << (kFirstScalar + at);
    if ((ignored & bit) == 0)
      check(resources.scalar_column(usage.scalars[at].first), usage.scalars[at].second, moved.scalars[at], bit);
  }
  return lacks;
}

std::vector<std::string> lacking_reasons(const Cluster& cluster, const Usage& usage, std::uint64_t lacks) {
  std::vector<std::string> texts;
  if ((lacks & kPods) != 0) texts.emplace_back("Too many pods");
  if ((lacks & kCpu) != 0) texts.emplace_back("Insufficient cpu");
  if ((lacks & kMemory) != 0) texts.emplace_back("Insufficient memory");
  if ((lacks & kEphemeral) != 0) texts.emplace_back("Insufficient ephemeral-storage");
  for (std::size_t at = 0; at < usage.scalars.size(); ++at) {
    if ((lacks & (1ULL << (kFirstScalar + at))) == 0) continue;
    texts.push_back("Insufficient " +
                    cluster.strings.str(cluster.resources.scalar_column(usage.scalars[at].first).name));
  }
  return texts;
}

class FitJudge final : public PodJudge {
 public:
  FitJudge(const Cycle& cycle, std::uint64_t ignored)
      : cluster_(cycle.cluster),
        usage_(cycle.program.usage),
        ignored_(ignored),
        moved_(cycle.program.usage.scalars.size()) {}

  void enter(NodeId) override { moved_ = Moved(usage_.scalars.size()); }

  void count(const PodRow& pod, std::int32_t change) override {
    const Usage& theirs = pod.used();
    const auto move = [&](std::int64_t& amount, std::int64_t of_pod) {
      amount = wrapping_add(amount, wrapping_mul(of_pod, change));
    };
    moved_.pods += change;
    move(moved_.milli_cpu, theirs.milli_cpu);
    move(moved_.memory_bytes, theirs.memory_bytes);
    move(moved_.ephemeral_bytes, theirs.ephemeral_bytes);
    for (std::size_t at = 0; at < usage_.scalars.size(); ++at) {
      for (const auto& [scalar, amount] : theirs.scalars) {
        if (scalar == usage_.scalars[at].first) move(moved_.scalars[at], amount);
      }
    }
  }

  [[nodiscard]] std::optional<Refusal> judge(const TriedNode& node) const override {
    const std::uint64_t lacks = lacking(cluster_.resources, usage_, node.row.index(), ignored_, moved_);
    if (lacks == 0) return std::nullopt;
    const Code code = (lacks & kUnresolvable) != 0 ? Code::kUnresolvable : Code::kUnschedulable;
    return Refusal{false, code, lacking_reasons(cluster_, usage_, lacks)};
  }

 private:
  const Cluster& cluster_;
  const Usage& usage_;
  std::uint64_t ignored_;
  Moved moved_;
};

std::int64_t least_used(std::int64_t requested, std::int64_t capacity) {
  if (requested > capacity) return 0;
  return wrapping_mul(wrapping_sub(capacity, requested), 100) / capacity;
}

std::int64_t score_by(const Profile& profile, std::int64_t requested, std::int64_t capacity) {
  switch (profile.fit_strategy) {
    case FitStrategy::kLeastAllocated:
      return least_used(requested, capacity);
    case FitStrategy::kMostAllocated:
      return wrapping_mul(std::min(requested, capacity), 100) / capacity;
    case FitStrategy::kRequestedToCapacityRatio:
      break;
  }
  return score_on_shape(profile.fit_shape, requested > capacity ? 100 : wrapping_mul(requested, 100) / capacity);
}

class NodeResourcesFit final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeResourcesFit; }
  [[nodiscard]] std::string_view name() const override { return "NodeResourcesFit"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    return cycle.program.usage.scalars.size() > kScalarsMax
               ? PreFilterStatus::error("a pod can request at most 59 different scalar resources")
               : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    const FitCache& cache = refreshed(cycle);
    for (const FitCache::Group& group : cache.groups) {
      if (!cycle.alive.intersects(group.nodes)) continue;
      cycle.reject(id(), group.nodes, (group.lacks & kUnresolvable) != 0 ? Code::kUnresolvable : Code::kUnschedulable,
                   cycle.wants_reasons ? lacking_reasons(cycle.cluster, cycle.program.usage, group.lacks)
                                       : std::vector<std::string>());
    }
  }

  [[nodiscard]] std::unique_ptr<PodJudge> judge(Cycle& cycle) const override {
    return std::make_unique<FitJudge>(cycle, ignored_scalars(cycle));
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask&) const override {
    return ScoreColumn::kept_by(refreshed(cycle).score);
  }

 private:
  /// Bits of the program's scalars that the profile has left out.
  static std::uint64_t ignored_scalars(const Cycle& cycle) {
    if (cycle.profile.ignored_resources.empty() && cycle.profile.ignored_groups.empty()) return 0;
    std::uint64_t ignored = 0;
    const auto& scalars = cycle.program.usage.scalars;
    for (std::size_t at = 0; at < scalars.size(); ++at) {
      const StringId resource = cycle.cluster.resources.scalar_column(scalars[at].first).name;
      if (cycle.profile.ignores(cycle.cluster.strings.view(resource))) ignored |= 1ULL << (kFirstScalar + at);
    }
    return ignored;
  }

  /// LeastAllocated over cpu and memory, weight 1 each.
  static std::int64_t score_of(const Cycle& cycle, std::size_t row) {
    const ResourceTable& resources = cycle.cluster.resources;
    std::int64_t sum = 0;
    std::int64_t weights = 0;
    const auto add = [&](std::int64_t capacity, std::int64_t used, std::int64_t amount) {
      if (capacity == 0) return;
      sum = wrapping_add(sum, least_used(wrapping_add(used, amount), capacity));
      ++weights;
    };
    add(resources.column(ResourceTable::kCpu).allocatable[row], resources.scored_cpu()[row],
        cycle.program.fit_milli_cpu);
    add(resources.column(ResourceTable::kMemory).allocatable[row], resources.scored_memory()[row],
        cycle.program.fit_memory_bytes);
    return weights == 0 ? 0 : sum / weights;
  }

  /// Any strategy over any resources.
  static std::int64_t score_of(const Profile& profile, const CountedColumns& columns, std::size_t row) {
    std::int64_t sum = 0;
    std::int64_t weights = 0;
    for (std::size_t at = 0; at < columns.size(); ++at) {
      CountedAmounts amounts;
      if (!columns.read(at, row, amounts)) continue;
      const std::int64_t score = score_by(profile, wrapping_add(amounts.used, amounts.asked), amounts.offered);
      // a resource that scores nothing does not pull a ratio's mean down
      if (profile.fit_strategy == FitStrategy::kRequestedToCapacityRatio && score <= 0) continue;
      sum = wrapping_add(sum, wrapping_mul(score, columns.weight(at)));
      weights += columns.weight(at);
    }
    if (weights == 0) return 0;
    if (profile.fit_strategy == FitStrategy::kRequestedToCapacityRatio)
      return go_int64(std::round(static_cast<double>(sum) / static_cast<double>(weights)));
    return sum / weights;
  }

  static void regroup(FitCache& cache, std::size_t row, std::uint64_t lacks, std::size_t rows) {
    const auto group_of = [&](std::uint64_t wanted) {
      return std::find_if(cache.groups.begin(), cache.groups.end(),
                          [&](const FitCache::Group& group) { return group.lacks == wanted; });
    };
    if (cache.lacks[row] != 0) group_of(cache.lacks[row])->nodes.reset(NodeId(row));
    cache.lacks[row] = lacks;
    if (lacks == 0) return;
    auto group = group_of(lacks);
    if (group == cache.groups.end()) group = cache.groups.insert(cache.groups.end(), {lacks, NodeMask(rows)});
    group->nodes.set(NodeId(row));
  }

  [[nodiscard]] const FitCache& refreshed(Cycle& cycle) const {
    FitCache& cache = cycle.cache<FitCache>(id());
    const std::size_t rows = cycle.cluster.rows();
    if (cache.score.size() != rows) {
      cache.lacks.resize(rows, 0);
      cache.score.resize(rows);
      for (FitCache::Group& group : cache.groups) group.nodes.resize(rows);
    }
    const std::uint64_t ignored = ignored_scalars(cycle);
    const Moved nothing(cycle.program.usage.scalars.size());
    std::optional<CountedColumns> columns;
    if (!cycle.profile.is_default_fit)
      columns.emplace(cycle, cycle.profile.fit_resources, CountedColumns::Processor::kScored);
    const auto refresh = [&](std::uint32_t row) {
      const std::uint64_t lacks = lacking(cycle.cluster.resources, cycle.program.usage, row, ignored, nothing);
      if (lacks != cache.lacks[row]) regroup(cache, row, lacks, rows);
      return columns ? score_of(cycle.profile, *columns, row) : score_of(cycle, row);
    };
    const bool caught_up = cycle.cluster.resources.log().replay(
        cache.cursor, [&](std::uint32_t row) { cache.score.set(row, refresh(row)); });
    if (!caught_up) {
      cache.score.restart(rows);
      for (std::uint32_t row = 0; row < rows; ++row) cache.score.write(row, refresh(row));
    }
    return cache;
  }
};

}  // namespace

const Plugin& node_resources_fit_plugin() {
  static const NodeResourcesFit plugin;
  return plugin;
}

}  // namespace volsched
