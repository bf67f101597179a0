#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "volsched/attach_table.hpp"
#include "volsched/capacity_index.hpp"
#include "volsched/claims.hpp"
#include "volsched/labels.hpp"
#include "volsched/node_facts.hpp"
#include "volsched/node_order.hpp"
#include "volsched/pod_kinds.hpp"
#include "volsched/profile.hpp"
#include "volsched/program.hpp"
#include "volsched/resources.hpp"
#include "volsched/selectors.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/strings.hpp"
#include "volsched/volume_index.hpp"
#include "volsched/workloads.hpp"

namespace volsched {

/// A node row. It exists while a Node object does, a pod counts on that name, a CSINode has it or an attachment refers
/// to it.
struct NodeRow {
  StringId name;
  bool exists = false;  ///< there is a Node object
  bool has_csi_node = false;
  bool is_attach_stale = false;  ///< what is attached has to be worked out again
  StringId attach_error;         ///< set: a pod here makes counting fail
  std::vector<PodId> pods;
  std::vector<DriverId> csi_drivers;
  std::vector<StringId> migrated_plugins;
  std::vector<std::uint32_t> attachments;  ///< rows of VolumeAttachments
};

/// A pod counted on a node.
struct PodRow {
  PodInstance instance;
  NodeId row;
  ProgramPtr program;
  std::shared_ptr<const Usage> usage;  ///< set: its status changes what it takes
  KindId kind;
  std::uint64_t assumption = 0;  ///< which assumption put it here, 0 = the API server did
  bool exists = false;

  [[nodiscard]] const Usage& used() const { return usage ? *usage : program->usage; }
};

/// A VolumeAttachment.
struct Attachment {
  StringId name;
  NodeId row;
  DriverId driver;
  VolumeId volume;
  bool exists = false;
};

/// What binding, or provisioning, a claim on a node would do.
struct BindStep {
  ClaimId claim;
  VolumeId volume;      ///< set: bind this volume
  CapacityId capacity;  ///< provisioning: the pool that vouches for it, if any
  /// Exact capacity: the pools in which the claim holds room from then on, the vouching one among them.
  std::vector<CapacityId> holds = {};
};
struct Plan {
  std::vector<BindStep> bind;
  std::vector<BindStep> provision;
};

/// One assumption: where it lies over an object. What it says there is kept by the cluster, which learns of newer
/// objects.
struct AssumedState {
  std::uint64_t id = 0;
  PodId pod;
  std::vector<VolumeId> volumes;
  std::vector<ClaimId> claims;
};

/// The cluster in columns. Objects come as packed rows (row_reader.hpp; the formats are written in engine/rows.py),
/// each replacing what was known of that object; an event changes rows, nothing is rebuilt for a pod. A copy is an
/// independent cluster with the same ids.
///
/// Invariants: every mask a plugin meets has rows() bits; a row without a Node object is in no label, taint, selector
/// or order table.
class Cluster {
 public:
  Cluster();

  // objects
  // ----------------------------------------------------------------------------------------------------------------------
  void put_node(std::string_view row);
  void remove_node(std::string_view name);
  void put_pod(std::string_view program, std::string_view instance, std::string_view usage);
  void remove_pod(std::string_view space, std::string_view name);
  void put_volume(std::string_view row);
  void remove_volume(std::string_view name);
  void put_claim(std::string_view row);
  void remove_claim(std::string_view space, std::string_view name);
  void put_class(std::string_view row);
  void remove_class(std::string_view name);
  void put_csi_node(std::string_view row);
  void remove_csi_node(std::string_view name);
  void put_csi_driver(std::string_view row);
  void remove_csi_driver(std::string_view name);
  void put_capacity(std::string_view row);
  void remove_capacity(std::string_view space, std::string_view name);
  void put_attachment(std::string_view row);
  void remove_attachment(std::string_view name);
  void put_service(std::string_view row);
  void remove_service(std::string_view space, std::string_view name);
  /// A ReplicationController, ReplicaSet or StatefulSet.
  void put_controller(std::string_view row);
  void remove_controller(OwnerKind kind, std::string_view space, std::string_view name);
  void put_namespace(std::string_view row);
  void remove_namespace(std::string_view name);

  // pods to be placed
  // ------------------------------------------------------------------------------------------------------------
  ProgramPtr program(std::string_view content);
  PodInstance instance(std::string_view row);
  /// A pod as it would be on a node, without counting it there.
  PodRow guest(std::string_view program, std::string_view instance, std::string_view usage, NodeId row);
  /// A profile compiled against this cluster; good for its copies as well.
  ProfilePtr profile(std::string_view row);
  /// Count the pod on a node, reserve its volumes and mark its claims. Raises Error when the pod counts on a node
  /// already.
  AssumedState assume(const ProgramPtr& program, const PodInstance& instance, NodeId row, const Plan& plan);
  /// Undo, except for what an object that came since has replaced.
  void forget(const AssumedState& state);

  // reading
  // ----------------------------------------------------------------------------------------------------------------------
  [[nodiscard]] std::size_t rows() const { return nodes_.size(); }
  [[nodiscard]] std::size_t node_count() const { return node_count_; }
  /// Grows with every change.
  [[nodiscard]] std::uint64_t generation() const { return generation_; }
  /// Grows when a node comes or goes: row numbers keep their meaning while it stands still.
  [[nodiscard]] std::uint64_t node_generation() const { return node_generation_; }
  [[nodiscard]] const NodeMask& live() const { return labels.live(); }
  [[nodiscard]] const NodeMask& unschedulable() const { return unschedulable_; }
  [[nodiscard]] const NodeMask& with_csi_node() const { return with_csi_node_; }
  [[nodiscard]] const NodeRow& node(NodeId row) const { return nodes_[row.index()]; }
  [[nodiscard]] NodeId find_node(StringId name) const { return NodeId(node_ids_.find(name.value())); }
  [[nodiscard]] NodeId find_node(std::string_view name) const;
  [[nodiscard]] const PodRow& pod(PodId id) const { return pods_[id.index()]; }
  [[nodiscard]] PodId find_pod(StringId space, StringId name) const { return PodId(pod_ids_.find(pack(space, name))); }
  [[nodiscard]] std::size_t pod_count() const { return pod_ids_.size(); }
  /// Nodes that have migrated an in-tree plugin to CSI.
  [[nodiscard]] const NodeSet* migrated(StringId plugin) const { return migrated_.nodes(plugin); }
  /// A volume's node affinity as nodes that migrated its plugin see it, and as the others do; see
  /// spec/scheduling.md 4.7.
  [[nodiscard]] NodeMask unreachable(const Volume& volume, const NodeMask& within) const;
  /// The attach-limit keys of a claim's volume; false when it is not counted. `migrated`: on nodes that have a CSINode.
  [[nodiscard]] bool key_of(ClaimId claim, bool migrated, VolumeKey& key) const;
  /// Work out what is attached where objects have changed. Called before limits are read.
  void refresh_attachments();
  /// Add what a pod attaches to a node that has a CSINode; the text of a problem, empty when there is none.
  std::string add_attached(const PodRow& pod, std::vector<VolumeKey>& keys) const;
  /// The volumes of a node's VolumeAttachments that count.
  [[nodiscard]] std::vector<VolumeKey> attachments_of(NodeId row) const;
  /// Nodes whose attached volumes cannot be counted.
  [[nodiscard]] const NodeMask& attach_errors() const { return attach_errors_; }
  /// "namespace/name".
  [[nodiscard]] std::string claim_key(ClaimId id) const;
  [[nodiscard]] std::string pool_key(CapacityId id) const;
  /// What a claim holds in pools: nullptr when it holds nothing. Assumptions count.
  [[nodiscard]] const PoolHold* hold_of(ClaimId id) const {
    const auto known = claim_holds_.find(id.value());
    return known == claim_holds_.end() ? nullptr : &known->second;
  }
  /// The nodes that VolumeZone lets a volume with this zone or region label onto; an invalid id when the label says
  /// nothing.
  SelectorId zone_selector(Label label);

  /// Text of everything that decisions depend on, but for what depends on history: the order of nodes and of the pods
  /// on one, and lagging image counts. A line for each object and for what is kept up beside the objects, in an order
  /// that row numbers do not touch: equal states have equal digests.
  [[nodiscard]] std::string digest();
  /// Empty, or the first invariant broken; for tests.
  [[nodiscard]] std::string validate();
  /// Approximate heap use by part.
  [[nodiscard]] std::vector<std::pair<std::string, std::size_t>> bytes() const;

  // Tables are read directly by plugins and changed only by the methods above.
  StringPool strings;
  LabelSets label_sets;
  LabelIndex labels;
  SelectorIndex selectors;
  NodeOrder order;
  ResourceTable resources;
  TaintTable taints;
  ImageTable images;
  DeclarationTable features;
  PortTable ports;
  DiskTable disks;
  VolumeIndex volumes;
  CapacityIndex capacities;
  ClaimTable claims;
  ClassTable classes;
  AttachTable attach;
  PodKindTable kinds;
  WorkloadTable workloads;

 private:
  friend class ClusterDigest;

  NodeId node_slot(StringId name);
  void release_if_unused(NodeId row);
  void set_labels(NodeId row, Labels labels);
  [[nodiscard]] StringId zone_of(const Labels& labels);
  [[nodiscard]] LabelSetId read_label_set(RowReader& reader);
  [[nodiscard]] Labels read_labels(RowReader& reader);
  std::uint32_t read_access_modes(RowReader& reader, bool& one_pod_only);
  Usage read_usage(RowReader& reader);
  std::vector<std::pair<std::uint32_t, std::int64_t>> read_scalars(RowReader& reader);
  void compile(RowReader& reader, PodProgram& program);
  void compile_pod_terms(RowReader& reader, PodProgram& program);
  std::vector<SpreadConstraint> read_spread(RowReader& reader);
  ClassId class_slot(std::string_view name) { return classes.slot(strings.intern(name)); }

  void place(PodId id, NodeId row);
  void displace(PodId id);
  void attach_pod(PodId id);
  void detach_pod(PodId id);
  /// Calls visit(VolumeKey) for what a pod attaches; the text of a problem, empty when there is none.
  template <class Visit>
  std::string for_keys_of(const PodRow& pod, Visit&& visit) const;
  void stale_attachments(NodeId row);
  void stale_users_of(ClaimId claim);
  void stale_users_of(VolumeId volume);
  void count_uses(const PodRow& pod, std::int32_t sign);
  std::vector<CapacityId> read_pools(RowReader& reader);
  void bump() { ++generation_; }

  SharedVector<NodeRow> nodes_;
  FlatMap node_ids_;
  std::vector<NodeId> free_rows_;
  std::size_t node_count_ = 0;
  NodeMask unschedulable_;
  NodeMask with_csi_node_;
  DeclarationTable migrated_;
  SharedVector<PodRow> pods_;
  FlatMap pod_ids_;
  std::vector<PodId> free_pods_;
  std::vector<Attachment> attachments_;
  FlatMap attachment_ids_;
  SharedVector<std::vector<std::uint32_t>> attachments_of_volume_;  ///< by VolumeId
  SharedVector<std::vector<ClaimId>> claims_of_volume_;             ///< by VolumeId: claims whose spec.volumeName it is
  std::vector<NodeId> stale_rows_;
  NodeMask attach_errors_;
  std::vector<StringId> access_modes_;
  FlatMap zone_selectors_;
  std::unordered_map<std::string_view, ProgramPtr> programs_;
  std::size_t programs_purge_at_ = 4096;
  /// What the object itself says, and over it what each assumption says, oldest first: the last one counts, and taking
  /// one back leaves the others.
  struct ClaimRef {
    ClaimId claim;
    StringId claim_uid;
  };
  /// `pools`: where the claim holds room from then on; none where the assumption says nothing of it.
  struct Selection {
    bool has_node = false;
    StringId node;
    std::vector<CapacityId> pools;
  };
  template <class Said>
  struct Layers {
    Said own;
    std::vector<std::pair<std::uint64_t, Said>> assumed;  ///< by assumption
    [[nodiscard]] const Said& effective() const { return assumed.empty() ? own : assumed.back().second; }
    /// Whether the assumption was there.
    bool forget(std::uint64_t assumption) {
      return std::erase_if(assumed, [&](const auto& layer) { return layer.first == assumption; }) > 0;
    }
  };
  std::unordered_map<std::uint32_t, Layers<ClaimRef>> assumed_volumes_;  ///< by VolumeId
  std::unordered_map<std::uint32_t, Layers<Selection>> assumed_claims_;  ///< by ClaimId
  /// By ClaimId or VolumeId: what it holds, for those that hold something. The sums are in `capacities`.
  using Holds = std::unordered_map<std::uint32_t, PoolHold>;
  void set_hold(Holds& holds, std::uint32_t holder, std::span<const CapacityId> pools, std::int64_t bytes);
  /// The pools a claim names: as its last assumption has it, where that says something of it, else as is written on it.
  [[nodiscard]] std::span<const CapacityId> pools_named_by(ClaimId id) const;
  /// Enter what a claim holds now.
  void settle_hold(ClaimId id);
  /// By ClaimId, for those that name some: the pools written on the claim. It holds room there while it has a selected
  /// node and no volume.
  std::unordered_map<std::uint32_t, std::vector<CapacityId>> named_pools_;
  Holds claim_holds_;
  Holds volume_holds_;
  std::uint64_t next_assumption_ = 1;
  std::uint64_t next_profile_ = 1;
  std::uint64_t generation_ = 1;
  std::uint64_t node_generation_ = 1;
};

}  // namespace volsched
