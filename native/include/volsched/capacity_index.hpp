#pragma once

#include <list>
#include <string>
#include <vector>

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
  bool has_limit = false;  ///< maximumVolumeSize or, without it, capacity is given
  std::int64_t limit_bytes = 0;
  std::int64_t capacity_bytes = 0;  ///< 0 when not given
};

/// For one class and request size: which nodes have a pool that is large enough, the first such pool in order of
/// namespace and name, and VolumeBinding's score for that claim alone.
struct PoolColumn {
  std::int64_t request_bytes = 0;
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

  const PoolColumn& column(ClassId storage_class, std::int64_t request_bytes, const StringPool& strings,
                           std::size_t rows);
  [[nodiscard]] CapacityId pick(const PoolColumn& column, ClassId storage_class, NodeId row) const;

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
  [[nodiscard]] CapacityId best_in_group(const Group& group, std::int64_t request_bytes) const;
  void compute(PoolColumn& column, const ClassPools& entry, ProfileId profile, const StringPool& strings) const;
  void write_row(PoolColumn& column, ProfileId profile, NodeId row) const;
  void list(CapacityId id, const SelectorIndex& selectors, const StringPool& strings, std::size_t rows);
  void unlist(CapacityId id, const StringPool& strings);

  std::vector<Pool> pools_;
  FlatMap by_name_;
  std::vector<ClassPools> classes_;
  std::vector<std::vector<Watch>> watches_;
  std::uint64_t uses_ = 0;
};

}  // namespace volsched
