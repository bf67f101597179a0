#pragma once

#include <list>
#include <string>
#include <vector>

#include "volsched/amount.hpp"
#include "volsched/claims.hpp"
#include "volsched/flat_map.hpp"
#include "volsched/group_space.hpp"
#include "volsched/ids.hpp"
#include "volsched/kept_column.hpp"
#include "volsched/selectors.hpp"
#include "volsched/sorted_ids.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// A CSIStorageCapacity: what a driver says it could still provision for a class in a part of the cluster.
struct Pool {
  StringId space;  ///< namespace
  StringId name;
  ClassId storage_class;
  SelectorId topology;  ///< invalid: nodeTopology is nil or invalid, the pool serves no node
  bool exists = false;
  bool has_capacity = false;
  bool has_maximum = false;
  std::int64_t capacity_bytes = 0;  ///< 0 when not given
  std::int64_t maximum_bytes = 0;   ///< maximumVolumeSize, 0 when not given

  [[nodiscard]] bool has_limit() const { return has_maximum || has_capacity; }
  /// What kube-scheduler compares a claim with: maximumVolumeSize or, without it, capacity.
  [[nodiscard]] std::int64_t limit_bytes() const { return has_maximum ? maximum_bytes : capacity_bytes; }
};

/// Room that a claim or a volume takes up in pools whose figures do not show it yet.
struct PoolHold {
  std::vector<CapacityId> pools;
  std::int64_t bytes = 0;
};

/// For one class and request size: which nodes have a pool that is large enough, the first such pool in order of
/// namespace and name, and VolumeBinding's score for that claim alone. Exact: what is held in a pool is not there.
struct PoolColumn {
  std::int64_t request_bytes = 0;
  bool is_exact = false;
  std::vector<CapacityId> group_picks;
  std::vector<std::uint64_t> known_serial;
  std::vector<CapacityId> picks;  ///< by profile
  NodeMask enough;
  KeptColumn score;
  std::uint64_t cursor = 0;
  std::uint64_t last_used = 0;
};

/// Capacity objects by class and topology. Source: volumebinding/binder.go (hasEnoughCapacity), spec/scheduling.md 4.4.
class CapacityIndex {
 public:
  CapacityId slot(StringId space, StringId name);
  [[nodiscard]] CapacityId find(StringId space, StringId name) const {
    return CapacityId(by_name_.find(pack(space, name)));
  }
  [[nodiscard]] const Pool& at(CapacityId id) const { return pools_[id.index()]; }
  [[nodiscard]] std::size_t size() const { return pools_.size(); }

  void put(CapacityId id, const Pool& pool, const SelectorIndex& selectors, const StringPool& strings,
           std::size_t rows);
  void erase(CapacityId id, const StringPool& strings);

  const PoolColumn& column(ClassId storage_class, std::int64_t request_bytes, bool is_exact, const StringPool& strings,
                           std::size_t rows);
  [[nodiscard]] CapacityId pick(const PoolColumn& column, ClassId storage_class, NodeId row) const;

  // exact capacity
  void hold(const PoolHold& hold) { change_held(hold, hold.bytes); }
  void release(const PoolHold& hold) { change_held(hold, -Int128{hold.bytes}); }
  [[nodiscard]] Int128 held(CapacityId id) const { return held_[id.index()]; }
  /// What is left in a pool, negative when more is held than published. The pool must have a capacity.
  [[nodiscard]] Int128 room(CapacityId id) const { return Int128{at(id).capacity_bytes} - held(id); }
  /// The pools of a class with some figure that a node reaches, in order.
  [[nodiscard]] std::vector<CapacityId> reach(ClassId storage_class, NodeId row, const StringPool& strings) const;
  /// By namespace and name.
  void sort(std::vector<CapacityId>& pools, const StringPool& strings) const;
  /// Nodes with the same answer see the same pools of the class.
  [[nodiscard]] ProfileId profile_of(ClassId storage_class, NodeId row) const;
  /// The pools of other classes that draw on the same storage, in order. They serve the same nodes.
  [[nodiscard]] std::vector<CapacityId> siblings(CapacityId id, const ClassTable& classes,
                                                 const StringPool& strings) const;

  void on_change(const SelectorChange& change, std::size_t rows);
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate(const SelectorIndex& selectors, const StringPool& strings, std::size_t rows);

 private:
  struct Group {
    SelectorId selector;
    SortedIds pools;  ///< by namespace and name
  };
  struct ClassPools {
    GroupSpace space;
    std::vector<Group> groups;
    FlatMap by_selector;
    std::list<PoolColumn> columns;
  };
  struct Watch {
    ClassId storage_class;
    GroupId group;
  };
  [[nodiscard]] bool less(CapacityId left, CapacityId right, const StringPool& strings) const;
  void change_held(const PoolHold& hold, Int128 bytes);
  [[nodiscard]] bool is_enough(CapacityId id, std::int64_t request_bytes, bool is_exact) const;
  [[nodiscard]] CapacityId best_in_group(const Group& group, const PoolColumn& column) const;
  void compute(PoolColumn& column, const ClassPools& entry, ProfileId profile, const StringPool& strings) const;
  /// What a column says of every node of a profile.
  struct RowValue {
    bool enough = false;
    std::int32_t score = 0;
  };
  [[nodiscard]] RowValue value_of(const PoolColumn& column, ProfileId profile) const;
  static void write_row(PoolColumn& column, RowValue value, NodeId row);
  void list(CapacityId id, const SelectorIndex& selectors, const StringPool& strings, std::size_t rows);
  void unlist(CapacityId id, const StringPool& strings);

  std::vector<Pool> pools_;
  std::vector<Int128> held_;  ///< by pool, known or not: bytes
  FlatMap by_name_;
  std::vector<ClassPools> classes_;
  std::vector<std::vector<Watch>> watches_;
  std::uint64_t uses_ = 0;
};

}  // namespace volsched
