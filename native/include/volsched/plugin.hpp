#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "volsched/cluster.hpp"
#include "volsched/kept_column.hpp"
#include "volsched/packing.hpp"
#include "volsched/profile.hpp"
#include "volsched/ranking.hpp"

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

/// A node of a trial: its row, and the pods that are thought to be there.
struct TriedNode {
  NodeId row;
  std::vector<const PodRow*> pods;
};

/// Why a pod does not pass a filter on one node.
struct Refusal {
  bool is_failure = false;  ///< the filter could not decide; its one reason is the text
  Code code = Code::kUnschedulable;
  std::vector<std::string> reasons;

  static Refusal of(Code code, std::string reason) { return {false, code, {std::move(reason)}}; }
  static Refusal failure(std::string text) { return {true, Code::kUnschedulable, {std::move(text)}}; }
};

/// The filter of a plugin that looks at pods, for one node at a time with other pods there than the cluster has. It
/// starts from what the cycle's PreFilter found, and reads the cluster only while that stands still.
class PodJudge {
 public:
  PodJudge() = default;
  PodJudge(const PodJudge&) = delete;
  PodJudge& operator=(const PodJudge&) = delete;
  virtual ~PodJudge() = default;

  /// Begin with a node as the cluster has it.
  virtual void enter(NodeId /*row*/) {}
  /// One pod more (1) or less (-1) on it, as upstream's AddPod and RemovePod count.
  virtual void count(const PodRow& /*pod*/, std::int32_t /*change*/) {}
  /// Remember where things are, and go back there once the pods added since are gone: for what one pod less does not
  /// undo of one pod more.
  virtual void mark() {}
  virtual void rewind() {}
  /// Nothing: the pod passes.
  [[nodiscard]] virtual std::optional<Refusal> judge(const TriedNode& node) const = 0;
};

/// What a plugin keeps for the pods of one template.
class PluginCache {
 public:
  PluginCache() = default;
  PluginCache(const PluginCache&) = delete;
  PluginCache& operator=(const PluginCache&) = delete;
  virtual ~PluginCache() = default;
};

/// A ranking for the pods of a template whose volumes are alike.
struct KeptRanking {
  std::uint64_t variant = 0;  ///< see volume_variant
  Ranking ranking;
};

/// Everything kept for one template.
struct ProgramCaches {
  ProgramPtr program;
  std::uint64_t profile = 0;  ///< serial
  std::array<std::unique_ptr<PluginCache>, kPluginCount> of_plugin;
  std::list<KeptRanking> rankings;  ///< most recently used first
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

/// Scores of the feasible nodes: one number for all of them, or a column by row, which the plugin may keep from pod to
/// pod.
struct ScoreColumn {
  const std::int32_t* by_row = nullptr;
  std::int32_t constant = 0;
  const KeptColumn* kept = nullptr;  ///< set: `by_row` is its data

  [[nodiscard]] static ScoreColumn kept_by(const KeptColumn& column) { return {column.data(), 0, &column}; }
  [[nodiscard]] std::int32_t at(NodeId row) const { return by_row == nullptr ? constant : by_row[row.index()]; }
};

/// VolumeBinding's part of a cycle: how the pod's claims stand, and for those without a volume what each node could
/// give them.
struct VolumeState {
  /// A claim to be matched with an existing volume.
  struct Match {
    ClaimId claim;
    VolumeId reserved;              ///< set: a volume is reserved for the claim and decides alone
    NodeMask reserved_nodes;        ///< where `reserved` can be reached
    MatchColumn* column = nullptr;  ///< otherwise: its class's column
    std::size_t index = 0;          ///< and its place in the column's tuple
  };
  std::vector<ClaimId> bound;
  std::vector<ClaimId> annotated;  ///< delayed, with a selected node: to be provisioned there
  std::vector<Match> matches;      ///< the other delayed ones, smallest request first
  std::string selector_error;      ///< a claim's selector is invalid
  bool is_exact = false;           ///< a claim with a reserved volume comes twice: every node is worked out by itself
  bool has_columns = false;
  const MatchColumn* scored = nullptr;  ///< whose profiles classes() has answered

  /// Exact capacity: where all claims to be provisioned would come from, together.
  struct JointFit {
    struct Claimed {
      ClaimId claim;
      CapacityId pool;        ///< set when all fit
      std::int64_t room = 0;  ///< bytes left there before the pod, 0 when the total is not known
      bool is_kept = false;   ///< it holds room already and stays with those pools
    };
    PackVerdict verdict = PackVerdict::kFits;
    std::vector<Claimed> claims;  ///< those that draw on pools, each once
    [[nodiscard]] const Claimed* find(ClaimId claim) const {
      for (const Claimed& entry : claims) {
        if (entry.claim == claim) return &entry;
      }
      return nullptr;
    }
  };
  std::vector<ClaimId> delayed;  ///< annotated and matches, each once
  /// By claim and the pools of its class that are seen, for each claim.
  std::map<std::vector<std::uint32_t>, JointFit> joint_fits;
  std::vector<std::uint32_t> joint_key;
};

/// One pod's way through the plugins.
struct Cycle {
  /// Nodes on which a filter could not decide.
  struct Failure {
    std::string plugin;  ///< empty: the text says who
    NodeMask nodes;
    std::string text;
  };

  Cycle(Cluster& given_cluster, ProfilePtr given_profile, ProgramPtr given_program, PodPtr given_pod,
        ProgramCaches& given_caches, Scratch& given_scratch)
      : cluster(given_cluster),
        profile_owner(std::move(given_profile)),
        program_owner(std::move(given_program)),
        pod_owner(std::move(given_pod)),
        profile(*profile_owner),
        program(*program_owner),
        pod(*pod_owner),
        caches(given_caches),
        scratch(given_scratch) {}

  Cluster& cluster;
  ProfilePtr profile_owner;
  ProgramPtr program_owner;
  PodPtr pod_owner;
  const Profile& profile;
  const PodProgram& program;
  const PodInstance& pod;
  ProgramCaches& caches;
  Scratch& scratch;
  NodeMask alive;             ///< nodes no filter has refused so far
  bool wants_reasons = true;  ///< otherwise who refused which node, and why, is not written down
  std::vector<Rejected> rejected;
  std::vector<Failure> failures;
  VolumeState volume_state;
  std::int32_t one_pod_conflicts = 0;      ///< VolumeRestrictions: claims that another pod has for itself
  std::vector<SelectorId> zone_selectors;  ///< VolumeZone: nodes each bound volume's labels allow
  bool has_zones = false;                  ///< those selectors have been looked up

  /// Refuse the nodes of `nodes` that are alive.
  void reject(PluginId plugin, const NodeMask& nodes, Code code, std::initializer_list<std::string_view> reasons);
  void reject(PluginId plugin, const NodeMask& nodes, Code code, const std::vector<std::string>& reasons);
  /// Refuse all that are alive.
  void reject_all(PluginId plugin, Code code, std::initializer_list<std::string_view> reasons);
  /// The cycle fails if it comes to one of these nodes.
  void fail(std::string_view plugin, const NodeMask& nodes, std::string text);

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

  static PreScoreStatus error(std::string text) { return {Kind::kError, std::move(text)}; }
};

/// Some of the plugins with a native part.
class PluginSet {
 public:
  void add(PluginId id) { bits_ |= bit(id); }
  void clear() { bits_ = 0; }
  [[nodiscard]] bool contains(PluginId id) const { return (bits_ & bit(id)) != 0; }

 private:
  static_assert(kPluginCount <= 32);
  [[nodiscard]] static constexpr std::uint32_t bit(PluginId id) { return 1U << static_cast<std::uint32_t>(id); }
  std::uint32_t bits_ = 0;
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
  /// What the filter refuses before it finds that its pre_filter was left out.
  virtual void filter_unprepared(Cycle&) const {}
  /// The same two for a trial; nothing where the verdict on a node does not depend on the pods there.
  [[nodiscard]] virtual std::unique_ptr<PodJudge> judge(Cycle&) const { return nullptr; }
  [[nodiscard]] virtual std::unique_ptr<PodJudge> judge_unprepared(Cycle&) const { return nullptr; }
  [[nodiscard]] virtual PreScoreStatus pre_score(Cycle&, const NodeMask& /*feasible*/) const { return {}; }
  /// Stands in for pre_score in a profile that leaves it out.
  [[nodiscard]] virtual PreScoreStatus prepare_score(Cycle&, const NodeMask& /*feasible*/) const { return {}; }
  [[nodiscard]] virtual ScoreColumn score(Cycle&, const NodeMask& /*feasible*/) const { return {}; }
  /// For scores that compare nodes with each other, or that many nodes share and change together: the nodes sorted into
  /// classes that score alike, where the plugin keeps them for pods like this one. nullptr: only score() knows.
  [[nodiscard]] virtual const RowClasses* classes(Cycle&, const NodeMask& /*feasible*/) const { return nullptr; }
  /// The scores of the classes that classes() has just answered, for those that have feasible nodes: as score() would
  /// have them. `scores` are 0 at first.
  virtual void score_classes(Cycle&, std::span<const std::uint32_t> /*counts*/,
                             std::vector<std::int32_t>& /*scores*/) const {}
};

/// The values of a row as classes have them, where a class is a number: scores are proportional to it.
struct ValueClasses {
  RowClasses classes;
  /// By row.
  void assign(std::span<const std::int32_t> values);
  /// The greatest value that a feasible node has.
  [[nodiscard]] std::int64_t greatest(std::span<const std::uint32_t> counts) const;
};

/// Every plugin with a native part, by id.
[[nodiscard]] std::span<const Plugin* const> all_plugins();
/// nullptr for a name that is none of theirs.
[[nodiscard]] const Plugin* find_plugin(std::string_view name);
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

/// (used, offered, asked for) of a counted resource on a node, cpu and memory as scoring counts them or as they are
/// requested. False when the resource does not count there: not offered, or an extended one that is not asked for.
struct CountedAmounts {
  std::int64_t used = 0;
  std::int64_t offered = 0;
  std::int64_t asked = 0;
};
/// The resources of a profile with the columns they stand for and what a template asks for, looked up once.
class CountedColumns {
 public:
  enum class Processor : std::uint8_t { kScored, kRequested };
  CountedColumns(const Cycle& cycle, const std::vector<CountedResource>& resources, Processor processor);
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] std::int64_t weight(std::size_t at) const { return entries_[at].weight; }
  [[nodiscard]] std::int64_t asked(std::size_t at) const { return entries_[at].asked; }
  [[nodiscard]] bool read(std::size_t at, std::size_t row, CountedAmounts& amounts) const;

 private:
  struct Entry {
    const std::vector<std::int64_t>* used = nullptr;  ///< nullptr: counts nowhere
    const std::vector<std::int64_t>* offered = nullptr;
    std::int64_t asked = 0;
    std::int64_t weight = 1;
  };
  std::vector<Entry> entries_;
};

/// Nodes with a NoSchedule or NoExecute taint that the pod does not tolerate.
[[nodiscard]] NodeMask untolerated_nodes(const Cluster& cluster, const PodProgram& program);
/// A number for where the pod's bound volumes and selected nodes let it go: pods of one template with the same number
/// have about the same nodes to choose from. Only speed depends on it.
[[nodiscard]] std::uint64_t volume_variant(const Cycle& cycle);
/// What the pod's claims need on a node that passed VolumeBinding's filter.
[[nodiscard]] Plan volume_plan(Cycle& cycle, NodeId row);

}  // namespace volsched
