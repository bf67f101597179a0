#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "volsched/batch.hpp"
#include "volsched/cluster.hpp"
#include "volsched/plugin.hpp"
#include "volsched/random.hpp"
#include "volsched/trial.hpp"

namespace volsched {

enum class TieBreak : std::uint8_t {
  kFirst,   ///< first in upstream's node order
  kName,    ///< smallest name
  kRandom,  ///< seeded
  kKube,    ///< upstream's heap walk, spec/scheduling.md 9.5
};

/// Scores that a plugin outside the engine gives, already times its weight.
struct ExtraScores {
  std::string plugin;
  std::vector<std::int64_t> by_row;
};

/// Pods that are promised a node: they count there for pods that are not more important.
struct Promise {
  NodeId row;
  std::vector<PodRow> pods;
};

/// What a cycle came to. The node sets stay readable while no node comes or goes; scores and plans only until the next
/// change.
struct Decision {
  std::uint64_t serial = 0;  ///< number of the decision within its engine
  std::uint64_t generation = 0;
  std::uint64_t node_generation = 0;
  ProfilePtr profile;
  ProgramPtr program;
  PodPtr pod;
  std::string error;        ///< not empty: the cycle failed
  bool is_refused = false;  ///< a PreFilter refused the pod: `refusal` says who and why
  Rejected refusal;
  std::vector<Rejected> rejected;
  NodeMask feasible;
  std::size_t node_count = 0;    ///< all nodes, for the message
  std::size_t absent_count = 0;  ///< nodes outside a PreFilter's node set
  std::string absent_reason;
  std::vector<std::string> narrowing;  ///< plugins that gave that node set, sorted
  std::size_t start = 0;               ///< where in the visiting order the search began
  std::vector<NodeId> visited;         ///< visiting order when it is not simply the node order; empty otherwise
  NodeId chosen;
  std::vector<ExtraScores> extra;
};

/// Weighted scores of one plugin: a column, or where only the choice is wanted, classes.
struct PluginScores {
  const Plugin* plugin = nullptr;
  std::int32_t weight = 1;
  ScoreColumn column;
  const RowClasses* classes = nullptr;
};

/// Why scoring failed: the point and the place there, to tell which of several failures comes first.
struct ScoreFailure {
  bool in_score = false;  ///< in Score, else in PreScore
  std::size_t at = 0;     ///< place in the profile's list
  std::string text;       ///< empty: scoring did not fail
};

/// Profiles over one cluster, the default one unless another is given. Not for several threads at once: decisions use
/// caches and scratch memory.
class Engine {
 public:
  Engine(TieBreak tie_break, std::uint64_t seed, std::int32_t percentage_of_nodes);

  Cluster cluster;

  /// Everything up to the choice. `only` restricts it to these nodes. On promised nodes the pod has to pass the filters
  /// beside those they are promised to as well.
  Decision decide(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only,
                  ProfilePtr profile = default_profile(), std::span<const Promise> promises = {});
  /// The filters alone, then the choice; between the two a caller may narrow `feasible` and add scores. Without reasons
  /// a decision does not say who refused which node.
  Decision filter(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only,
                  ProfilePtr profile = default_profile(), std::span<const Promise> promises = {},
                  bool wants_reasons = true);
  /// What-if questions about a decision's pod on nodes of `within`. Raises Error when the cluster has changed since, or
  /// the decision failed or was refused for good.
  [[nodiscard]] std::unique_ptr<Trial> trial(const Decision& decision, const NodeMask& within);
  void choose(Decision& decision);
  /// Take nodes out of a decision as a plugin outside the engine asks. `keep` covers all rows; an empty reason is none.
  void narrow(Decision& decision, const NodeMask& keep, std::string plugin, Code code, std::string reason) const;

  // The same step by step, for plugins outside the engine that stand between others:
  // begin, pre_filter at each place, end_pre_filters, filter_at each place, search, choose. A step that answers false,
  // or sets an error, ends it. Raises Error when another decision has begun since, or the cluster has changed.
  Decision begin(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only, ProfilePtr profile);
  bool pre_filter_at(Decision& decision, std::size_t at);
  /// What a plugin outside says at PreFilter: refuse the pod, or look at the nodes of `mask` only.
  bool refuse(Decision& decision, std::string plugin, Code code, std::string reason);
  bool restrict(Decision& decision, std::string plugin, const NodeMask& mask);
  bool end_pre_filters(Decision& decision);
  void filter_at(Decision& decision, std::size_t at);
  /// What it says at Filter.
  void reject(Decision& decision, const NodeMask& keep, std::string plugin, Code code, std::string reason);
  void fail(Decision& decision, std::string_view plugin, std::string text);
  /// What the filters say of one node beside the pods it is promised to, where they do not let the pod pass.
  void refuse_on(Decision& decision, NodeId row, std::string plugin, Refusal refusal);
  /// Nodes that no filter has refused so far.
  [[nodiscard]] const NodeMask& alive(const Decision& decision) const;
  /// Walk the nodes as upstream does. `takes_first`: nobody compares nodes, the first that fits is taken.
  void search(Decision& decision, bool takes_first);

  /// Decide and assume pods of a batch one after the other, `count` from `from` on; the same decisions as one by one.
  void schedule_many(const PodBatch& batch, const ProfilePtr& profile, std::size_t from, std::size_t count,
                     BatchOutcome& outcome);

  AssumedState assume(const Decision& decision, NodeId row);
  void forget(const AssumedState& state) { cluster.forget(state); }

  /// Feasible nodes in visiting order.
  [[nodiscard]] std::vector<NodeId> feasible(const Decision& decision);
  /// Per plugin; valid until the engine is used again.
  std::vector<PluginScores> scores(const Decision& decision, ScoreFailure& failure, bool takes_classes = false);
  /// The same where only the text of a failure matters.
  std::vector<PluginScores> scores(const Decision& decision, std::string& error);
  /// Sum of the scores by row; rows that are not feasible hold anything. Valid until the engine is used again.
  const std::vector<std::int32_t>& totals(const Decision& decision, std::span<const PluginScores> scores);
  Plan plan(const Decision& decision, NodeId row);
  /// FitError text of filters alone. Source: spec/scheduling.md 9.6.
  [[nodiscard]] std::string message(const Decision& decision) const;

  /// Raises Error when a node came or went since.
  void check_nodes(const Decision& decision) const;
  /// Raises Error when anything changed since.
  void check_state(const Decision& decision) const;

  /// An independent engine over a copy of the cluster.
  [[nodiscard]] std::unique_ptr<Engine> fork() const;
  [[nodiscard]] std::size_t cached_programs() const { return caches_.size(); }

 private:
  /// How far a decision has come.
  struct Progress {
    PluginSet skipped;            ///< their filter is not asked
    std::vector<StringId> names;  ///< what the plugins that narrow agree on; a name need not exist
    NodeMask given;
    NodeMask considered;
    bool is_restricted = false;  ///< to some nodes by the caller: the next search does not start further on
  };
  using CacheKey = std::pair<const PodProgram*, std::uint64_t>;
  struct CacheHash {
    std::size_t operator()(const CacheKey& key) const {
      return std::hash<const PodProgram*>{}(key.first) ^ (key.second * 0x9E3779B97F4A7C15ULL);
    }
  };

  ProgramCaches& caches_for(const ProgramPtr& program, const Profile& profile);
  /// The decision's cycle, as its PreFilters left it; kept from the last decision, else made again.
  Cycle& cycle_of(const Decision& decision);
  /// The cycle a step goes on with.
  [[nodiscard]] Cycle& cycle_under_way(const Decision& decision) const;
  bool pre_filter(Decision& decision, Cycle& cycle, const ProfileStep& step);
  void filter(Cycle& cycle, const ProfileStep& step) const;
  void keep_promises(Decision& decision, std::span<const Promise> promises);
  bool narrowed(Decision& decision, std::string plugin, std::vector<StringId> names);
  [[nodiscard]] std::int32_t percentage_for(const Decision& decision) const;
  static std::size_t wanted(std::size_t nodes, std::int32_t percentage);
  /// The failure of a cycle that comes to an invalid one of these scores, the first in visiting order; empty: it comes
  /// to none.
  [[nodiscard]] std::string invalid_score(const Decision& decision, std::string_view plugin, const KeptColumn& scores);
  NodeId pick(const Decision& decision, const std::vector<std::int32_t>& totals);
  /// Whether the choice depends on totals and a rank alone.
  [[nodiscard]] bool can_rank(const Decision& decision) const;
  /// The choice by a ranking that is kept; an invalid id when this decision needs the totals themselves.
  NodeId pick_ranked(const Decision& decision, std::span<const PluginScores> parts);
  NodeId pick_by_rank(const NodeMask& feasible, const std::vector<std::int32_t>& totals,
                      const std::vector<std::uint32_t>& rank) const;
  const std::vector<std::uint32_t>& name_ranks();
  [[nodiscard]] const std::vector<NodeId>& visiting_order(const Decision& decision);

  TieBreak tie_break_;
  std::int32_t percentage_of_nodes_;
  Random random_;
  std::size_t next_start_ = 0;
  std::list<ProgramCaches> caches_;  ///< most recently used first
  std::unordered_map<CacheKey, std::list<ProgramCaches>::iterator, CacheHash> caches_by_program_;
  Scratch scratch_;
  std::vector<std::int32_t> totals_;
  std::vector<std::uint32_t> name_ranks_;
  std::uint64_t name_ranks_version_ = ~0ULL;
  std::unique_ptr<Cycle> cycle_;  ///< of the decision with cycle_serial_
  std::uint64_t cycle_serial_ = 0;
  Progress progress_;  ///< of the same decision
  std::uint64_t last_serial_ = 0;
};

}  // namespace volsched
