#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "volsched/plugin.hpp"

namespace volsched {

/// What would be if: the filters of one decision's pod on single nodes, with some pods of the node gone and others
/// there that are only promised it.
///
///   construct   the filters that do not look at pods run once, over all nodes; the others each make a PodJudge
///   enter       begin with a node as the cluster has it
///   remove, add upstream's RemovePod and AddPod: the judges follow
///   verdict     the first filter in profile order that does not let the pod pass
///
/// So a verdict costs what the judges cost, and a pod on one of thousands of nodes is tried without looking at the
/// others. Plugins outside the engine are asked in between by place. Reads the cluster: good for one generation.
/// Source: plugins/defaultpreemption/default_preemption.go (SelectVictimsOnNode), runtime/framework.go
/// (RunFilterPluginsWithNominatedPods); spec/scheduling.md 9.4, 11.2.
class Trial {
 public:
  /// `cycle` has been through its PreFilters; those of `skipped` skipped. Only nodes of `within` are asked about.
  Trial(Cycle& cycle, std::span<const Plugin* const> skipped, const NodeMask& within);

  struct Verdict {
    std::size_t place = 0;  ///< in the profile's filters
    std::string_view plugin;
    Refusal refusal;
  };
  struct Emptied {
    std::size_t removed = 0;
    std::optional<Verdict> verdict;  ///< nothing: the pod fits, or there was no pod to remove
  };

  /// Raises Error when the node is none of those asked about.
  void enter(NodeId row);
  /// Raises Error when the pod is not there.
  void remove(const PodRow& pod);
  /// The pod must outlive the node's turn.
  void add(const PodRow& pod);
  /// Around pods that are added and taken away again.
  void mark();
  void rewind();
  [[nodiscard]] const TriedNode& node() const { return node_; }
  /// What the pods there take of a resource column.
  [[nodiscard]] std::int64_t requested(std::size_t column) const;
  /// Nothing: the pod passes every filter.
  [[nodiscard]] std::optional<Verdict> verdict() const;
  /// With the guests there and, if the pod passes, without.
  [[nodiscard]] std::optional<Verdict> verdict_beside(std::span<const PodRow> guests);

  /// A node without its pods of a priority below `below`.
  [[nodiscard]] Emptied emptied(NodeId row, std::int64_t below, std::span<const PodRow> guests);
  /// All victims are taken away and given back one after the other: the places of those that have to go.
  [[nodiscard]] std::vector<std::size_t> needed(NodeId row, std::span<const PodRow* const> victims,
                                                std::span<const PodRow> guests);

 private:
  /// What the filters that do not look at pods say; each node is in one group at most.
  struct Fixed {
    std::size_t place = 0;
    Refusal refusal;
  };
  struct Judge {
    std::size_t place = 0;
    std::unique_ptr<PodJudge> judge;
  };
  static constexpr std::int32_t kNoGroup = -1;
  [[nodiscard]] Verdict verdict_at(std::size_t place, Refusal refusal) const;

  const Cluster& cluster_;
  ProfilePtr profile_;  ///< what the judges refer to
  ProgramPtr program_;
  PodPtr pod_;
  NodeMask within_;
  std::vector<Fixed> fixed_;
  std::vector<std::int32_t> group_of_row_;
  std::vector<Judge> judges_;  ///< in profile order
  TriedNode node_;
};

}  // namespace volsched
