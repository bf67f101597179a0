#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "volsched/cluster.hpp"

namespace volsched {

// The contract between the engine and a plugin. One cycle, for one pod:
//
//   pre_filter   every plugin, in profile order        kSkip: its filter is left out    kUnresolvable: the pod is
//   refused at once filter       plugins that did not skip, in order   each sees only the nodes no earlier plugin
//   refused and takes out its own pre_score    scoring plugins, in order             kSkip: scores nothing kError: the
//   cycle fails score        those that did not skip               one column of 0..100, normalised over the feasible
//   nodes
//
// A plugin has no state of its own. What it keeps for pods of one template is a PluginCache, brought up to date from
// the cluster's logs and versions when it is asked; what it keeps for one cycle is in the Cycle. Source: kube-scheduler
// framework/interface.go, runtime/framework.go; spec/scheduling.md 1.1, 9.4, 9.5.

/// Plugins with a native part, in profile order.
enum class PluginId : std::uint8_t {
  kNodeName,
  kNodeUnschedulable,
  kTaintToleration,
  kNodeAffinity,
  kNodePorts,
  kNodeResourcesFit,
  kVolumeRestrictions,
  kNodeVolumeLimits,
  kVolumeBinding,
  kVolumeZone,
  kPodTopologySpread,
  kInterPodAffinity,
  kNodeResourcesBalancedAllocation,
  kImageLocality,
  kNodeDeclaredFeatures,
};
inline constexpr std::size_t kPluginCount = 15;

/// Whether removing pods could help a refused pod.
enum class Code : std::uint8_t { kUnschedulable, kUnresolvable };
[[nodiscard]] std::string_view code_name(Code code);

/// Nodes that one plugin refused for the same reasons. Groups of one decision have no node in common.
struct Rejected {
  std::string plugin;
  Code code = Code::kUnschedulable;
  std::vector<std::string> reasons;
  NodeMask nodes;
};

/// What a plugin keeps for the pods of one template.
class PluginCache {
 public:
  PluginCache() = default;
  PluginCache(const PluginCache&) = delete;
  PluginCache& operator=(const PluginCache&) = delete;
  virtual ~PluginCache() = default;
};

/// Everything kept for one template.
struct ProgramCaches {
  ProgramPtr program;
  std::array<std::unique_ptr<PluginCache>, kPluginCount> of_plugin;
  std::uint64_t last_used = 0;
};

/// Columns that live for one cycle, their memory for longer.
class Scratch {
 public:
  void reset() { used_ = 0; }
  std::vector<std::int32_t>& take(std::size_t rows) {
    if (used_ == columns_.size()) columns_.push_back(std::make_unique<std::vector<std::int32_t>>());
    std::vector<std::int32_t>& column = *columns_[used_++];
    column.resize(rows);
    return column;
  }

 private:
  std::vector<std::unique_ptr<std::vector<std::int32_t>>> columns_;
  std::size_t used_ = 0;
};

/// Scores of the feasible nodes: one number for all of them, or a column by row.
struct ScoreColumn {
  const std::int32_t* by_row = nullptr;
  std::int32_t constant = 0;
  [[nodiscard]] std::int32_t at(NodeId row) const { return by_row == nullptr ? constant : by_row[row.index()]; }
};

/// VolumeBinding's part of a cycle: how the pod's claims stand, and for those without a volume what each node could
/// give them.
struct VolumeState {
  /// A claim to be matched with an existing volume.
  struct Match {
    ClaimId claim;
    VolumeId reserved;                    ///< set: a volume is reserved for the claim and decides alone
    NodeMask reserved_nodes;              ///< where `reserved` can be reached
    const MatchColumn* column = nullptr;  ///< otherwise: its class's column
    std::size_t index = 0;                ///< and its place in the column's tuple
  };
  std::vector<ClaimId> bound;
  std::vector<ClaimId> annotated;  ///< delayed, with a selected node: to be provisioned there
  std::vector<Match> matches;      ///< the other delayed ones, smallest request first
  std::string selector_error;      ///< a claim's selector is invalid
  bool is_exact = false;           ///< a claim with a reserved volume comes twice: every node is worked out by itself
  bool has_columns = false;
};

/// One pod's way through the plugins.
struct Cycle {
  /// Nodes on which a filter could not decide.
  struct Failure {
    PluginId plugin;
    NodeMask nodes;
    std::string text;
  };

  Cycle(Cluster& given_cluster, ProgramPtr given_program, PodPtr given_pod, ProgramCaches& given_caches,
        Scratch& given_scratch)
      : cluster(given_cluster),
        program_owner(std::move(given_program)),
        pod_owner(std::move(given_pod)),
        program(*program_owner),
        pod(*pod_owner),
        caches(given_caches),
        scratch(given_scratch) {}

  Cluster& cluster;
  ProgramPtr program_owner;
  PodPtr pod_owner;
  const PodProgram& program;
  const PodInstance& pod;
  ProgramCaches& caches;
  Scratch& scratch;
  NodeMask alive;  ///< nodes no filter has refused so far
  std::vector<Rejected> rejected;
  std::vector<Failure> failures;
  VolumeState volume_state;
  std::int32_t one_pod_conflicts = 0;      ///< VolumeRestrictions: claims that another pod has for itself
  std::vector<SelectorId> zone_selectors;  ///< VolumeZone: nodes each bound volume's labels allow

  /// Refuse the nodes of `nodes` that are alive.
  void reject(PluginId plugin, const NodeMask& nodes, Code code, std::vector<std::string> reasons);
  /// Refuse all that are alive.
  void reject_all(PluginId plugin, Code code, std::vector<std::string> reasons);
  /// The cycle fails if it comes to one of these nodes.
  void fail(PluginId plugin, const NodeMask& nodes, std::string text);

  template <class Cache>
  Cache& cache(PluginId plugin) {
    auto& slot = caches.of_plugin[static_cast<std::size_t>(plugin)];
    if (slot == nullptr) slot = std::make_unique<Cache>();
    return static_cast<Cache&>(*slot);
  }
};

struct PreFilterStatus {
  enum class Kind : std::uint8_t { kSuccess, kSkip, kUnschedulable, kUnresolvable, kError };
  Kind kind = Kind::kSuccess;
  std::string text;
  bool narrows = false;  ///< only the nodes of `names` are looked at
  std::vector<StringId> names;

  static PreFilterStatus success() { return {}; }
  static PreFilterStatus skip() { return {Kind::kSkip, {}, false, {}}; }
  static PreFilterStatus unresolvable(std::string text) { return {Kind::kUnresolvable, std::move(text), false, {}}; }
  static PreFilterStatus error(std::string text) { return {Kind::kError, std::move(text), false, {}}; }
  static PreFilterStatus narrow(std::vector<StringId> names) { return {Kind::kSuccess, {}, true, std::move(names)}; }
};

struct PreScoreStatus {
  enum class Kind : std::uint8_t { kSuccess, kSkip, kError };
  Kind kind = Kind::kSuccess;
  std::string text;
};

class Plugin {
 public:
  Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;
  virtual ~Plugin() = default;

  [[nodiscard]] virtual PluginId id() const = 0;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual PreFilterStatus pre_filter(Cycle&) const { return PreFilterStatus::success(); }
  virtual void filter(Cycle&) const {}
  /// 0 = does not score.
  [[nodiscard]] virtual std::int32_t weight() const { return 0; }
  [[nodiscard]] virtual PreScoreStatus pre_score(Cycle&, const NodeMask& /*feasible*/) const { return {}; }
  [[nodiscard]] virtual ScoreColumn score(Cycle&, const NodeMask& /*feasible*/) const { return {}; }
};

/// The default profile: one object a plugin, in order. Source: spec/scheduling.md 1.
[[nodiscard]] std::span<const Plugin* const> default_profile();
[[nodiscard]] std::string_view plugin_name(PluginId id);

// One function a plugin file.
const Plugin& node_name_plugin();
const Plugin& node_unschedulable_plugin();
const Plugin& taint_toleration_plugin();
const Plugin& node_affinity_plugin();
const Plugin& node_ports_plugin();
const Plugin& node_resources_fit_plugin();
const Plugin& volume_restrictions_plugin();
const Plugin& node_volume_limits_plugin();
const Plugin& volume_binding_plugin();
const Plugin& volume_zone_plugin();
const Plugin& pod_topology_spread_plugin();
const Plugin& inter_pod_affinity_plugin();
const Plugin& balanced_allocation_plugin();
const Plugin& image_locality_plugin();
const Plugin& node_declared_features_plugin();

/// Nodes with a NoSchedule or NoExecute taint that the pod does not tolerate.
[[nodiscard]] NodeMask untolerated_nodes(const Cluster& cluster, const PodProgram& program);
/// What the pod's claims need on a node that passed VolumeBinding's filter.
[[nodiscard]] Plan volume_plan(Cycle& cycle, NodeId row);

}  // namespace volsched
