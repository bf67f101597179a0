#pragma once

#include <span>
#include <string>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/row_reader.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/strings.hpp"

namespace volsched {

enum class TaintEffect : std::uint8_t { kNoSchedule, kPreferNoSchedule, kNoExecute, kOther, kAny };

struct Taint {
  StringId key;
  StringId value;
  TaintEffect effect = TaintEffect::kOther;
  bool operator==(const Taint&) const = default;
};

struct Toleration {
  enum class Op : std::uint8_t { kEqual, kExists, kOther };
  Op op = Op::kEqual;
  StringId key;
  StringId value;
  TaintEffect effect = TaintEffect::kAny;

  /// Source: spec/scheduling.md 8.3. The operators Lt and Gt never match (their gate is off).
  [[nodiscard]] bool tolerates(const Taint& taint) const {
    if (effect != TaintEffect::kAny && effect != taint.effect) return false;
    if (key != StringPool::kEmpty && key != taint.key) return false;
    return op == Op::kExists || (op == Op::kEqual && value == taint.value);
  }
};

/// Distinct taints and the nodes that have them.
class TaintTable {
 public:
  TaintId intern(const Taint& taint);
  /// Taints in the node's own order; empty for a node that is gone.
  void assign(NodeId row, std::vector<TaintId> taints, std::size_t rows);
  [[nodiscard]] std::size_t size() const { return taints_.size(); }
  [[nodiscard]] const Taint& at(TaintId id) const { return taints_[id.index()].taint; }
  /// One entry for each time a node lists the taint (a node may list one twice with different times).
  [[nodiscard]] const NodeSet& nodes(TaintId id) const { return taints_[id.index()].nodes; }
  [[nodiscard]] const std::vector<TaintId>& of(NodeId row) const { return by_row_[row.index()]; }
  [[nodiscard]] std::uint64_t version() const { return version_; }

 private:
  struct Entry {
    Taint taint;
    NodeSet nodes;
  };
  std::vector<Entry> taints_;
  SharedVector<std::vector<TaintId>> by_row_;
  std::uint64_t version_ = 1;
};

/// Images by the names nodes report. An image has the size that the first node to report it gave. How many nodes have
/// it is captured for each of them when that node is next looked at after a change of its own (upstream clones a node
/// into its snapshot then), so it may lag behind where other nodes have changed. Source: spec/scheduling.md 8.10, 12.3.
class ImageTable {
 public:
  struct Listed {
    StringId name;
    std::int64_t bytes = 0;
  };
  struct Held {
    ImageId image;
    std::int32_t captured_count = 0;
  };
  void assign(NodeId row, const std::vector<Listed>& images);
  /// The node or its pods changed.
  void touch(NodeId row);
  /// Capture the counts of nodes touched since the last call.
  void capture();
  [[nodiscard]] ImageId find(StringId name) const { return ImageId(ids_.find(name.value())); }
  /// Nodes that have it now.
  [[nodiscard]] std::int32_t count(ImageId id) const { return images_[id.index()].count; }
  [[nodiscard]] std::int64_t bytes(ImageId id) const { return images_[id.index()].bytes; }
  [[nodiscard]] StringId name(ImageId id) const { return images_[id.index()].name; }
  /// The node's copy, nullptr when it has none.
  [[nodiscard]] const Held* held(NodeId row, ImageId id) const;
  /// All of the node's copies.
  [[nodiscard]] std::span<const Held> of(NodeId row) const {
    return row.index() < by_row_.size() ? std::span<const Held>(by_row_[row.index()]) : std::span<const Held>();
  }

 private:
  struct Image {
    StringId name;
    std::int64_t bytes = 0;
    std::int32_t count = 0;
  };
  FlatMap ids_;
  std::vector<Image> images_;
  SharedVector<std::vector<Held>> by_row_;  ///< ascending by image
  std::vector<NodeId> touched_;
  std::vector<char> is_touched_;
};

/// Names that nodes declare (kubelet features) and the nodes that declare them.
class DeclarationTable {
 public:
  void assign(NodeId row, std::vector<StringId> names, std::size_t rows);
  [[nodiscard]] const NodeSet* nodes(StringId name) const;
  /// What the node declares, as it lists it.
  [[nodiscard]] std::span<const StringId> of(NodeId row) const {
    return row.index() < by_row_.size() ? std::span<const StringId>(by_row_[row.index()]) : std::span<const StringId>();
  }

 private:
  FlatMap ids_;
  std::vector<NodeSet> nodes_;
  SharedVector<std::vector<StringId>> by_row_;
};

struct HostPort {
  StringId protocol;
  StringId ip;  ///< 0.0.0.0 = all addresses
  std::uint32_t port = 0;
  bool operator==(const HostPort&) const = default;
};

/// Host ports in use, by protocol and port.
class PortTable {
 public:
  explicit PortTable(StringPool& strings) : any_ip_(strings.intern("0.0.0.0")) {}
  void add(NodeId row, const HostPort& port);
  void remove(NodeId row, const HostPort& port);
  /// Add to `taken` the nodes on which this port conflicts.
  void add_conflicts(const HostPort& port, NodeMask& taken) const;
  /// Whether two pods cannot have these ports on one node.
  [[nodiscard]] bool conflict(const HostPort& left, const HostPort& right) const {
    return left.protocol == right.protocol && left.port == right.port && meet(left.ip, right.ip);
  }
  [[nodiscard]] StringId any_ip() const { return any_ip_; }
  /// Calls visit(NodeId, HostPort, count) for every port in use.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& uses : uses_) {
      for (const Use& use : uses) visit(use.row, use.port, use.count);
    }
  }

 private:
  struct Use {
    NodeId row;
    HostPort port;
    std::uint32_t count = 0;
  };
  [[nodiscard]] bool meet(StringId left, StringId right) const {
    return left == right || left == any_ip_ || right == any_ip_;
  }

  StringId any_ip_;
  FlatMap ids_;
  std::vector<std::vector<Use>> uses_;
};

enum class DiskKind : std::uint8_t { kGcePersistentDisk, kElasticBlockStore, kIscsi, kRbd };

/// A disk written into a pod's volumes, as VolumeRestrictions compares them.
struct InlineDisk {
  DiskKind kind = DiskKind::kGcePersistentDisk;
  StringId name;  ///< disk name, volume id, IQN or image
  StringId pool;  ///< of an RBD image
  bool is_read_only = false;
  std::vector<StringId> monitors;  ///< of an RBD image
  bool operator==(const InlineDisk&) const = default;

  /// Whether two pods cannot have these on one node.
  [[nodiscard]] bool conflicts(const InlineDisk& other) const;
};

/// Inline disks in use, by kind and name.
class DiskTable {
 public:
  void add(NodeId row, const InlineDisk& disk);
  void remove(NodeId row, const InlineDisk& disk);
  void add_conflicts(const InlineDisk& disk, NodeMask& taken) const;
  /// Calls visit(NodeId, InlineDisk) for every use.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& uses : uses_) {
      for (const Use& use : uses) visit(use.row, use.disk);
    }
  }

 private:
  struct Use {
    NodeId row;
    InlineDisk disk;
  };
  FlatMap ids_[4];
  std::vector<std::vector<Use>> uses_;
};

}  // namespace volsched
