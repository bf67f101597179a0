#pragma once

#include <string>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/row_reader.hpp"
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
  std::vector<std::vector<TaintId>> by_row_;
  std::uint64_t version_ = 1;
};

/// Images by the names nodes report, with their sizes there.
class ImageTable {
 public:
  struct Copy {
    NodeId row;
    std::int64_t bytes = 0;
  };
  struct Listed {
    StringId name;
    std::int64_t bytes = 0;
  };
  void assign(NodeId row, const std::vector<Listed>& images);
  /// Nodes that have the image, nullptr when no node ever had it.
  [[nodiscard]] const std::vector<Copy>* copies(StringId name) const;
  [[nodiscard]] std::uint64_t version() const { return version_; }

 private:
  FlatMap ids_;
  std::vector<std::vector<Copy>> copies_;  ///< by ImageId, rows ascending
  std::vector<std::vector<ImageId>> by_row_;
  std::uint64_t version_ = 1;
};

/// Names that nodes declare (kubelet features) and the nodes that declare them.
class DeclarationTable {
 public:
  void assign(NodeId row, std::vector<StringId> names, std::size_t rows);
  [[nodiscard]] const NodeSet* nodes(StringId name) const;

 private:
  FlatMap ids_;
  std::vector<NodeSet> nodes_;
  std::vector<std::vector<StringId>> by_row_;
};

struct HostPort {
  StringId protocol;
  StringId ip;  ///< 0.0.0.0 = all addresses
  std::uint32_t port = 0;
};

/// Host ports in use, by protocol and port.
class PortTable {
 public:
  explicit PortTable(StringPool& strings) : any_ip_(strings.intern("0.0.0.0")) {}
  void add(NodeId row, const HostPort& port);
  void remove(NodeId row, const HostPort& port);
  /// Add to `taken` the nodes on which this port conflicts.
  void add_conflicts(const HostPort& port, NodeMask& taken) const;
  [[nodiscard]] StringId any_ip() const { return any_ip_; }

 private:
  struct Use {
    NodeId row;
    StringId ip;
    std::uint32_t count = 0;
  };
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
};

/// Inline disks in use, by kind and name.
class DiskTable {
 public:
  void add(NodeId row, const InlineDisk& disk);
  void remove(NodeId row, const InlineDisk& disk);
  void add_conflicts(const InlineDisk& disk, NodeMask& taken) const;

 private:
  struct Use {
    NodeId row;
    InlineDisk disk;
  };
  FlatMap ids_[4];
  std::vector<std::vector<Use>> uses_;
};

}  // namespace volsched
