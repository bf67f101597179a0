#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "volsched/cluster.hpp"
#include "volsched/plugin.hpp"
#include "volsched/random.hpp"

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

/// What a cycle came to. The node sets stay readable while no node comes or goes; scores and plans only until the next
/// change.
struct Decision {
  std::uint64_t serial = 0;  ///< number of the decision within its engine
  std::uint64_t generation = 0;
  std::uint64_t node_generation = 0;
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

/// Weighted scores of one plugin.
struct PluginScores {
  std::string_view plugin;
  std::int32_t weight = 1;
  ScoreColumn column;
};

/// The default profile over one cluster. Not for several threads at once: decisions use caches and scratch memory.
class Engine {
 public:
  Engine(TieBreak tie_break, std::uint64_t seed, std::int32_t percentage_of_nodes);

  Cluster cluster;

  /// Everything up to the choice. `only` restricts it to these nodes.
  Decision decide(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only);
  /// The filters alone, then the choice; between the two a caller may narrow `feasible` and add scores.
  Decision filter(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only);
  void choose(Decision& decision);
  /// Take nodes out of a decision as a plugin outside the engine asks. `keep` covers all rows.
  void narrow(Decision& decision, const NodeMask& keep, std::string plugin, Code code, std::string reason) const;

  AssumedState assume(const Decision& decision, NodeId row);
  void forget(const AssumedState& state) { cluster.forget(state); }

  /// Feasible nodes in visiting order.
  [[nodiscard]] std::vector<NodeId> feasible(const Decision& decision);
  /// Per plugin; valid until the engine is used again. `error` is set when a plugin cannot score.
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
  ProgramCaches& caches_for(const ProgramPtr& program);
  /// The decision's cycle, as its PreFilters left it; kept from the last decision, else made again.
  Cycle& cycle_of(const Decision& decision);
  /// Whether the pod may go on to the filters; fills `skipped` by position in the profile.
  bool run_pre_filters(Cycle& cycle, Decision& decision, std::vector<bool>& skipped, const NodeMask& given);
  /// `moves_on`: the next search begins where this one ends.
  void visit(Cycle& cycle, Decision& decision, const NodeMask& considered, bool moves_on);
  [[nodiscard]] std::size_t wanted(std::size_t nodes) const;
  NodeId pick(const Decision& decision, const std::vector<std::int32_t>& totals);
  NodeId pick_by_rank(const NodeMask& feasible, const std::vector<std::int32_t>& totals,
                      const std::vector<std::uint32_t>& rank) const;
  const std::vector<std::uint32_t>& name_ranks();
  [[nodiscard]] const std::vector<NodeId>& visiting_order(const Decision& decision);

  TieBreak tie_break_;
  std::int32_t percentage_of_nodes_;
  Random random_;
  std::size_t next_start_ = 0;
  std::list<ProgramCaches> caches_;  ///< most recently used first
  std::unordered_map<const PodProgram*, std::list<ProgramCaches>::iterator> caches_by_program_;
  Scratch scratch_;
  std::vector<std::int32_t> totals_;
  std::vector<std::uint32_t> name_ranks_;
  std::uint64_t name_ranks_version_ = ~0ULL;
  std::unique_ptr<Cycle> cycle_;  ///< of the decision with cycle_serial_
  std::uint64_t cycle_serial_ = 0;
  std::uint64_t last_serial_ = 0;
};

}  // namespace volsched
