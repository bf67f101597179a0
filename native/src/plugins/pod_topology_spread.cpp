// Pods that a selector names are to be spread evenly over the values of a node label. Per template and constraint the
// pods are counted by value ("domain") once, and from then on by the log of pods coming and going; a selector is tried
// once for each kind of pods. The filter is then a test per domain and set algebra. Source: spec/scheduling.md 8.8.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <list>

#include "volsched/go_math.hpp"
#include "volsched/plugin.hpp"

namespace volsched {

namespace {

constexpr const char* kMismatch = "node(s) didn't match pod topology spread constraints";
constexpr const char* kMissingLabel = "node(s) didn't match pod topology spread constraints (missing required label)";
constexpr const char* kHostname = "kubernetes.io/hostname";
constexpr const char* kZone = "topology.kubernetes.io/zone";
constexpr std::size_t kSetsMax = 8;
/// Domains of a key by which nodes are sorted into classes; with more of them every node is looked at.
constexpr std::size_t kClassDomainsMax = 64;
constexpr std::size_t kClassColumnsMax = 4;

/// Pods of one constraint by domain.
struct SpreadColumn {
  SpreadConstraint constraint;
  NodeMask eligible;                        ///< nodes whose pods are counted
  std::vector<std::int32_t> domain_of_row;  ///< -1 = the node lacks the key
  std::vector<PairId> pairs;                ///< by domain
  std::vector<std::int64_t> counts;         ///< by domain
  std::vector<char> is_counted;             ///< by domain: some eligible node is in it
  std::vector<std::int32_t> on_row;         ///< matching pods on the node itself, eligible or not
  std::vector<signed char> matches_kind;    ///< by kind: 1, 0, or -1 = not tried yet
};

/// The constraints of one mode for pods of one template in one namespace.
struct SpreadSet {
  SpreadMode mode = SpreadMode::kHard;
  StringId space;
  Term default_selector;    ///< for pods without constraints of their own
  bool require_all = true;  ///< nodes that lack one of the keys do not count
  std::vector<SpreadColumn> columns;
  RowClasses classes;  ///< of soft constraints: nodes by domain, for the hostname by their own pods; -1 without the key
  bool has_classes = false;
  std::uint64_t cursor = 0;
  std::uint64_t label_version = 0;
  std::uint64_t taint_version = 0;
  std::uint64_t node_generation = 0;
};

struct SpreadCache final : PluginCache {
  std::list<std::shared_ptr<SpreadSet>> sets;  ///< most recently used first; a trial may keep one
};

/// A selector without requirements counts no pods here (though it matches every pod).
bool counts_none(const SpreadConstraint& constraint) {
  return constraint.is_nil || constraint.selector.requirements.empty();
}

bool matches_kind(const Cluster& cluster, const SpreadSet& set, SpreadColumn& column, KindId id) {
  if (column.matches_kind.size() <= id.index()) column.matches_kind.resize(cluster.kinds.size(), -1);
  signed char& known = column.matches_kind[id.index()];
  if (known < 0) {
    const PodKind& kind = cluster.kinds.at(id);
    const bool matches = !counts_none(column.constraint) && kind.space == set.space && !kind.is_terminating &&
                         column.constraint.selector.matches(cluster.label_sets.at(kind.labels), cluster.strings);
    known = matches ? 1 : 0;
  }
  return known == 1;
}

void count(SpreadColumn& column, NodeId row, std::int32_t change) {
  column.on_row[row.index()] += change;
  const std::int32_t domain = column.domain_of_row[row.index()];
  if (domain >= 0 && column.eligible.test(row)) column.counts[static_cast<std::size_t>(domain)] += change;
}

/// Scoring takes the pods of the node itself where the key is its name.
bool is_by_node(const Cluster& cluster, const SpreadColumn& column) {
  return column.constraint.topology_key == cluster.strings.find(kHostname);
}

void classify(const Cluster& cluster, SpreadSet& set, NodeId row) {
  std::array<std::int64_t, kClassColumnsMax> signature{};
  for (std::size_t at = 0; at < set.columns.size(); ++at) {
    const SpreadColumn& column = set.columns[at];
    const std::int32_t domain = column.domain_of_row[row.index()];
    signature[at] = domain >= 0 && is_by_node(cluster, column) ? column.on_row[row.index()] : domain;
  }
  set.classes.put(row.value(), {signature.data(), set.columns.size()});
}

void classify_all(const Cluster& cluster, SpreadSet& set) {
  set.has_classes = set.mode == SpreadMode::kSoft && set.columns.size() <= kClassColumnsMax &&
                    std::all_of(set.columns.begin(), set.columns.end(), [&](const SpreadColumn& column) {
                      return column.pairs.size() <= kClassDomainsMax || is_by_node(cluster, column);
                    });
  if (!set.has_classes) return;
  set.classes.restart(cluster.rows(), set.columns.size());
  cluster.live().for_each([&](NodeId row) { classify(cluster, set, row); });
}

void rebuild(Cycle& cycle, SpreadSet& set) {
  const Cluster& cluster = cycle.cluster;
  const std::size_t rows = cluster.rows();
  NodeMask with_all = cluster.live();
  if (set.require_all) {
    for (const SpreadColumn& column : set.columns) {
      const NodeSet* with = cluster.labels.with_key(column.constraint.topology_key);
      with_all = with == nullptr ? NodeMask(rows) : with->within(with_all);
    }
  }
  for (SpreadColumn& column : set.columns) {
    column.eligible = with_all;
    if (column.constraint.honors_affinity) {
      if (cycle.program.has_node_selector)
        column.eligible = cluster.selectors.nodes(cycle.program.node_selector).within(column.eligible);
      if (cycle.program.has_required_affinity)
        column.eligible = cluster.selectors.nodes(cycle.program.required_affinity).within(column.eligible);
    }
    if (column.constraint.honors_taints) column.eligible -= untolerated_nodes(cluster, cycle.program);
    column.domain_of_row.assign(rows, -1);
    column.on_row.assign(rows, 0);
    column.pairs.clear();
    column.is_counted.clear();
    for (const PairId pair : cluster.labels.values_of(column.constraint.topology_key)) {
      const NodeSet& nodes = cluster.labels.with_pair(pair);
      if (nodes.empty()) continue;
      const auto domain = static_cast<std::int32_t>(column.pairs.size());
      bool is_counted = false;
      nodes.for_each([&](NodeId row) {
        column.domain_of_row[row.index()] = domain;
        is_counted = is_counted || column.eligible.test(row);
      });
      column.pairs.push_back(pair);
      column.is_counted.push_back(is_counted ? 1 : 0);
    }
    column.counts.assign(column.pairs.size(), 0);
    for (std::size_t kind = 0; kind < cluster.kinds.size(); ++kind) {
      if (counts_none(column.constraint) || !matches_kind(cluster, set, column, KindId(kind))) continue;
      for (const PodKind::Place& place : cluster.kinds.at(KindId(kind)).places) count(column, place.row, place.count);
    }
  }
}

using SpreadSetPtr = std::shared_ptr<SpreadSet>;

const SpreadSetPtr& refreshed(Cycle& cycle, const SpreadSetPtr& shared) {
  const Cluster& cluster = cycle.cluster;
  SpreadSet& set = *shared;
  const bool is_current = set.label_version == cluster.labels.version() &&
                          set.taint_version == cluster.taints.version() &&
                          set.node_generation == cluster.node_generation();
  const bool caught_up = cluster.kinds.log().replay(set.cursor, [&](const KindChange& change) {
    if (!is_current) return;
    bool is_counted = false;
    for (SpreadColumn& column : set.columns) {
      if (!matches_kind(cluster, set, column, change.kind)) continue;
      count(column, change.row, change.change);
      is_counted = true;
    }
    if (is_counted && set.has_classes && cluster.live().test(change.row)) classify(cluster, set, change.row);
  });
  if (is_current && caught_up) return shared;
  set.label_version = cluster.labels.version();
  set.taint_version = cluster.taints.version();
  set.node_generation = cluster.node_generation();
  rebuild(cycle, set);
  classify_all(cluster, set);
  return shared;
}

/// The pod's constraints of one mode with their counts; nullptr when there are none.
SpreadSetPtr set_for(Cycle& cycle, PluginId id, SpreadMode mode) {
  SpreadCache& cache = cycle.cache<SpreadCache>(id);
  Cluster& cluster = cycle.cluster;
  const bool has_own = !cycle.program.spread.empty();
  Term default_selector;
  const Profile& profile = cycle.profile;
  if (!has_own) {
    const auto& defaults = profile.spread_defaults;
    const bool has_default = profile.has_system_spread
                                 ? mode == SpreadMode::kSoft
                                 : std::any_of(defaults.begin(), defaults.end(),
                                               [&](const SpreadConstraint& one) { return one.mode == mode; });
    if (!has_default) return nullptr;
    default_selector =
        cluster.workloads.default_selector(cycle.pod.space, cluster.label_sets.at(cycle.pod.labels), cycle.pod.owner);
    if (default_selector.empty()) return nullptr;
  }
  const auto known = std::find_if(cache.sets.begin(), cache.sets.end(), [&](const SpreadSetPtr& set) {
    return set->mode == mode && set->space == cycle.pod.space && set->default_selector == default_selector;
  });
  if (known != cache.sets.end()) {
    cache.sets.splice(cache.sets.begin(), cache.sets, known);
    return cache.sets.front()->columns.empty() ? nullptr : refreshed(cycle, cache.sets.front());
  }
  if (cache.sets.size() >= kSetsMax) cache.sets.pop_back();
  cache.sets.push_front(std::make_shared<SpreadSet>());
  SpreadSet& made = *cache.sets.front();
  made.mode = mode;
  made.space = cycle.pod.space;
  made.default_selector = default_selector;
  // The system's constraints let a node without a zone take part; anybody else's mean what they say.
  made.require_all = has_own || !profile.has_system_spread;
  for (const SpreadConstraint& constraint : cycle.program.spread) {
    if (constraint.mode == mode) made.columns.emplace_back().constraint = constraint;
  }
  if (!has_own && !profile.has_system_spread) {
    for (const SpreadConstraint& constraint : profile.spread_defaults) {
      if (constraint.mode != mode) continue;
      SpreadConstraint& taken = made.columns.emplace_back().constraint;
      taken = constraint;
      taken.is_nil = false;
      taken.selector = {default_selector, {}};
    }
  } else if (!has_own) {
    for (const auto& [key, max_skew] : {std::pair{kHostname, 3}, std::pair{kZone, 5}}) {
      SpreadConstraint& constraint = made.columns.emplace_back().constraint;
      constraint.topology_key = cluster.strings.intern(key);
      constraint.max_skew = max_skew;
      constraint.selector.requirements = default_selector;
    }
  }
  return made.columns.empty() ? nullptr : refreshed(cycle, cache.sets.front());
}

constexpr std::size_t kNoDomain = ~std::size_t{0};

/// The smallest count of a column's domains, for when that of one of them becomes another.
class FewestPods {
 public:
  explicit FewestPods(const SpreadColumn& column) : column_(&column) {
    for (std::size_t domain = 0; domain < column.pairs.size(); ++domain) {
      if (column.is_counted[domain] == 0) continue;
      if (domains_ == 0 || column.counts[domain] < fewest_) {
        second_ = domains_ == 0 ? column.counts[domain] : fewest_;
        fewest_ = column.counts[domain];
        at_ = domain;
      } else if (domains_ == 1 || column.counts[domain] < second_) {
        second_ = column.counts[domain];
      }
      ++domains_;
    }
  }

  /// What every domain has at least when one has `count`; 0 with fewer domains than the constraint wants.
  [[nodiscard]] std::int64_t with(std::size_t domain, std::int64_t count) const {
    if (domains_ < column_->constraint.domains_min) return 0;
    if (domain == kNoDomain || column_->is_counted[domain] == 0) return fewest_;
    if (domains_ == 1) return count;
    return std::min(count, domain == at_ ? second_ : fewest_);
  }

 private:
  const SpreadColumn* column_;
  std::int64_t domains_ = 0;
  std::int64_t fewest_ = 0;
  std::int64_t second_ = 0;  ///< the smallest but for the domain at `at_`
  std::size_t at_ = kNoDomain;
};

bool matches_labels(const Cluster& cluster, const SpreadConstraint& constraint, LabelSetId labels) {
  return !constraint.is_nil && constraint.selector.matches(cluster.label_sets.at(labels), cluster.strings);
}

/// Counts from PreFilter, and what pods that come and go add. Upstream counts the two differently: here a pod on its
/// way out counts, and a selector without requirements matches every pod.
class SpreadJudge final : public PodJudge {
 public:
  SpreadJudge(const Cycle& cycle, std::shared_ptr<const SpreadSet> set)
      : cluster_(cycle.cluster), set_(std::move(set)) {
    for (const SpreadColumn& column : set_->columns) {
      fewest_.emplace_back(column);
      is_own_.push_back(matches_labels(cluster_, column.constraint, cycle.pod.labels) ? 1 : 0);
    }
    moved_.resize(set_->columns.size());
  }

  void enter(NodeId row) override {
    row_ = row;
    std::fill(moved_.begin(), moved_.end(), 0);
  }

  void count(const PodRow& pod, std::int32_t change) override {
    if (pod.instance.space != set_->space) return;
    for (std::size_t at = 0; at < set_->columns.size(); ++at) {
      const SpreadColumn& column = set_->columns[at];
      if (column.eligible.test(row_) && matches_labels(cluster_, column.constraint, pod.instance.labels))
        moved_[at] += change;
    }
  }

  [[nodiscard]] std::optional<Refusal> judge(const TriedNode& node) const override {
    for (std::size_t at = 0; at < set_->columns.size(); ++at) {
      const SpreadColumn& column = set_->columns[at];
      if (column.domain_of_row[node.row.index()] < 0) return Refusal::of(Code::kUnresolvable, kMissingLabel);
      const auto domain = static_cast<std::size_t>(column.domain_of_row[node.row.index()]);
      const std::int64_t pods = column.counts[domain] + moved_[at];
      if (pods + is_own_[at] - fewest_[at].with(domain, pods) > column.constraint.max_skew)
        return Refusal::of(Code::kUnschedulable, kMismatch);
    }
    return std::nullopt;
  }

 private:
  const Cluster& cluster_;
  std::shared_ptr<const SpreadSet> set_;
  std::vector<FewestPods> fewest_;    ///< by column
  std::vector<std::int64_t> is_own_;  ///< by column: the pod itself counts
  std::vector<std::int64_t> moved_;   ///< by column, on this node
  NodeId row_;
};

std::string selector_error(const PodProgram& program, SpreadMode mode) {
  for (const SpreadConstraint& constraint : program.spread) {
    if (constraint.mode == mode && !constraint.selector.error.empty()) return constraint.selector.error;
  }
  return {};
}

class PodTopologySpread final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kPodTopologySpread; }
  [[nodiscard]] std::string_view name() const override { return "PodTopologySpread"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    if (const std::string error = selector_error(cycle.program, SpreadMode::kHard); !error.empty()) {
      return PreFilterStatus::error("get constraints from pod: obtaining pod's hard topology spread constraints: " +
                                    error);
    }
    const auto& spread = cycle.program.spread;
    if (spread.empty()) {
      return set_for(cycle, id(), SpreadMode::kHard) == nullptr ? PreFilterStatus::skip() : PreFilterStatus::success();
    }
    const bool has_hard = std::any_of(spread.begin(), spread.end(),
                                      [](const SpreadConstraint& one) { return one.mode == SpreadMode::kHard; });
    return has_hard ? PreFilterStatus::success() : PreFilterStatus::skip();
  }

  void filter(Cycle& cycle) const override {
    const SpreadSetPtr set = set_for(cycle, id(), SpreadMode::kHard);
    if (set == nullptr) return;
    const Cluster& cluster = cycle.cluster;
    for (const SpreadColumn& column : set->columns) {
      const NodeSet* with_key = cluster.labels.with_key(column.constraint.topology_key);
      cycle.reject(id(), with_key == nullptr ? cycle.alive : with_key->outside(cycle.alive), Code::kUnresolvable,
                   {kMissingLabel});
      const std::int64_t fewest = FewestPods(column).with(kNoDomain, 0);
      const bool is_own = matches_labels(cluster, column.constraint, cycle.pod.labels);
      NodeMask uneven(cluster.rows());
      for (std::size_t domain = 0; domain < column.pairs.size(); ++domain) {
        if (column.counts[domain] + (is_own ? 1 : 0) - fewest > column.constraint.max_skew)
          cluster.labels.with_pair(column.pairs[domain]).add_to(uneven);
      }
      cycle.reject(id(), uneven, Code::kUnschedulable, {kMismatch});
    }
  }

  [[nodiscard]] std::unique_ptr<PodJudge> judge(Cycle& cycle) const override {
    SpreadSetPtr set = set_for(cycle, id(), SpreadMode::kHard);
    return set == nullptr ? nullptr : std::make_unique<SpreadJudge>(cycle, std::move(set));
  }

  [[nodiscard]] PreScoreStatus pre_score(Cycle& cycle, const NodeMask&) const override {
    if (std::string error = selector_error(cycle.program, SpreadMode::kSoft); !error.empty()) {
      return {PreScoreStatus::Kind::kError,
              "calculating preScoreState: obtaining pod's soft topology spread constraints: " + error};
    }
    return {set_for(cycle, id(), SpreadMode::kSoft) == nullptr ? PreScoreStatus::Kind::kSkip
                                                               : PreScoreStatus::Kind::kSuccess,
            {}};
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask& feasible) const override {
    const SpreadSetPtr shared = set_for(cycle, id(), SpreadMode::kSoft);
    const SpreadSet& set = *shared;
    const Cluster& cluster = cycle.cluster;
    NodeMask considered = feasible;
    if (set.require_all) {
      for (const SpreadColumn& column : set.columns) {
        const NodeSet* with = cluster.labels.with_key(column.constraint.topology_key);
        considered = with == nullptr ? NodeMask(cluster.rows()) : with->within(considered);
      }
    }
    std::vector<double> weights;
    for (const SpreadColumn& column : set.columns) {
      std::size_t size = considered.count();
      if (!is_by_node(cluster, column)) {
        size = 0;
        NodeMask without = considered;
        for (const PairId pair : column.pairs) {
          const NodeSet& nodes = cluster.labels.with_pair(pair);
          bool has_any = false;
          nodes.for_each([&](NodeId row) { has_any = has_any || considered.test(row); });
          size += has_any ? 1 : 0;
          nodes.remove_from(without);
        }
        size += without.any() ? 1 : 0;  // nodes that lack the key share one value
      }
      weights.push_back(go_log(static_cast<double>(size + 2)));
    }
    std::vector<std::int32_t>& result = cycle.scratch.take(cluster.rows());
    std::fill(result.begin(), result.end(), 0);
    std::vector<std::int64_t> raw(cluster.rows(), 0);
    std::int64_t lowest = 0;
    std::int64_t highest = 0;
    bool is_first = true;
    considered.for_each([&](NodeId row) {
      double total = 0;
      for (std::size_t at = 0; at < set.columns.size(); ++at) {
        const SpreadColumn& column = set.columns[at];
        const std::int32_t domain = column.domain_of_row[row.index()];
        if (domain < 0) continue;
        const std::int64_t pods =
            is_by_node(cluster, column) ? column.on_row[row.index()] : column.counts[static_cast<std::size_t>(domain)];
        total += static_cast<double>(pods) * weights[at] + static_cast<double>(column.constraint.max_skew - 1);
      }
      const auto rounded = static_cast<std::int64_t>(std::round(total));
      raw[row.index()] = rounded;
      lowest = is_first ? rounded : std::min(lowest, rounded);
      highest = is_first ? rounded : std::max(highest, rounded);
      is_first = false;
    });
    considered.for_each([&](NodeId row) {
      result[row.index()] =
          highest == 0 ? 100 : static_cast<std::int32_t>(100 * (highest + lowest - raw[row.index()]) / highest);
    });
    return {result.data(), 0};
  }

  [[nodiscard]] const RowClasses* classes(Cycle& cycle, const NodeMask&) const override {
    const SpreadSetPtr set = set_for(cycle, id(), SpreadMode::kSoft);
    return set != nullptr && set->has_classes && !set->classes.is_crowded() ? &set->classes : nullptr;
  }

  /// score() a class at a time.
  void score_classes(Cycle& cycle, std::span<const std::uint32_t> counts,
                     std::vector<std::int32_t>& scores) const override {
    const SpreadSetPtr shared = set_for(cycle, id(), SpreadMode::kSoft);
    const SpreadSet& set = *shared;
    const std::size_t width = set.columns.size();
    std::array<bool, kClassColumnsMax> by_node{};
    std::array<std::uint64_t, kClassColumnsMax> seen{};  // domains, one bit each
    std::array<bool, kClassColumnsMax> is_missing{};
    std::size_t considered = 0;
    for (std::size_t at = 0; at < width; ++at) by_node[at] = is_by_node(cycle.cluster, set.columns[at]);
    const auto is_considered = [&](std::size_t id) {
      const auto signature = set.classes.signature(id);
      return counts[id] != 0 &&
             (!set.require_all || std::find(signature.begin(), signature.end(), -1) == signature.end());
    };
    for (std::size_t id = 0; id < counts.size(); ++id) {
      if (!is_considered(id)) continue;
      considered += counts[id];
      for (std::size_t at = 0; at < width; ++at) {
        const std::int64_t value = set.classes.signature(id)[at];
        if (value < 0) {
          is_missing[at] = true;
        } else if (!by_node[at]) {
          seen[at] |= 1ULL << static_cast<std::uint64_t>(value);
        }
      }
    }
    std::array<double, kClassColumnsMax> weights{};
    for (std::size_t at = 0; at < width; ++at) {
      const std::size_t domains = static_cast<std::size_t>(std::popcount(seen[at])) + (is_missing[at] ? 1 : 0);
      weights[at] = go_log(static_cast<double>((by_node[at] ? considered : domains) + 2));
    }
    std::vector<std::int64_t> raw(counts.size(), 0);
    std::int64_t lowest = 0;
    std::int64_t highest = 0;
    bool is_first = true;
    for (std::size_t id = 0; id < counts.size(); ++id) {
      if (!is_considered(id)) continue;
      double total = 0;
      for (std::size_t at = 0; at < width; ++at) {
        const SpreadColumn& column = set.columns[at];
        const std::int64_t value = set.classes.signature(id)[at];
        if (value < 0) continue;
        const std::int64_t pods = by_node[at] ? value : column.counts[static_cast<std::size_t>(value)];
        total += static_cast<double>(pods) * weights[at] + static_cast<double>(column.constraint.max_skew - 1);
      }
      raw[id] = static_cast<std::int64_t>(std::round(total));
      lowest = is_first ? raw[id] : std::min(lowest, raw[id]);
      highest = is_first ? raw[id] : std::max(highest, raw[id]);
      is_first = false;
    }
    for (std::size_t id = 0; id < counts.size(); ++id) {
      if (!is_considered(id)) continue;
      scores[id] = highest == 0 ? 100 : static_cast<std::int32_t>(100 * (highest + lowest - raw[id]) / highest);
    }
  }
};

}  // namespace

const Plugin& pod_topology_spread_plugin() {
  static const PodTopologySpread plugin;
  return plugin;
}

}  // namespace volsched
