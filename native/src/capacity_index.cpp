#include "volsched/capacity_index.hpp"

#include <algorithm>

#include "volsched/scoring.hpp"

namespace volsched {

namespace {

/// Columns kept for one class; each holds about 13 bytes a node.
constexpr std::size_t kColumnsMax = 48;

}  // namespace

CapacityId CapacityIndex::slot(StringId space, StringId name) {
  const CapacityId known = find(space, name);
  if (known.valid()) return known;
  const CapacityId id(pools_.size());
  Pool& made = pools_.emplace_back();
  made.space = space;
  made.name = name;
  held_.push_back(0);
  by_name_.set(pack(space, name), id.value());
  return id;
}

bool CapacityIndex::less(CapacityId left, CapacityId right, const StringPool& strings) const {
  const Pool& a = at(left);
  const Pool& b = at(right);
  if (a.space != b.space) return strings.view(a.space) < strings.view(b.space);
  return strings.view(a.name) < strings.view(b.name);
}

void CapacityIndex::list(CapacityId id, const SelectorIndex& selectors, const StringPool& strings, std::size_t rows) {
  const Pool& pool = at(id);
  if (!pool.exists || !pool.topology.valid()) return;
  if (classes_.size() <= pool.storage_class.index()) classes_.resize(pool.storage_class.index() + 1);
  ClassPools& entry = classes_[pool.storage_class.index()];
  GroupId group(entry.by_selector.find(pool.topology.value()));
  if (!group.valid()) {
    group = entry.space.add(selectors.nodes(pool.topology), rows);
    entry.groups.push_back({pool.topology, {}});
    entry.by_selector.set(pool.topology.value(), group.value());
    if (watches_.size() <= pool.topology.index()) watches_.resize(pool.topology.index() + 1);
    watches_[pool.topology.index()].push_back({pool.storage_class, group});
  }
  entry.groups[group.index()].pools.insert(
      id.value(), [&](std::uint32_t a, std::uint32_t b) { return less(CapacityId(a), CapacityId(b), strings); });
  entry.space.touch(group);
}

void CapacityIndex::unlist(CapacityId id, const StringPool& strings) {
  const Pool& pool = at(id);
  if (!pool.exists || !pool.topology.valid()) return;
  ClassPools& entry = classes_[pool.storage_class.index()];
  const GroupId group(entry.by_selector.find(pool.topology.value()));
  entry.groups[group.index()].pools.erase(
      id.value(), [&](std::uint32_t a, std::uint32_t b) { return less(CapacityId(a), CapacityId(b), strings); });
  entry.space.touch(group);
}

void CapacityIndex::put(CapacityId id, const Pool& pool, const SelectorIndex& selectors, const StringPool& strings,
                        std::size_t rows) {
  unlist(id, strings);
  Pool& stored = pools_[id.index()];
  const StringId space = stored.space;
  const StringId name = stored.name;
  stored = pool;
  stored.space = space;
  stored.name = name;
  stored.exists = true;
  list(id, selectors, strings, rows);
}

void CapacityIndex::erase(CapacityId id, const StringPool& strings) {
  unlist(id, strings);
  pools_[id.index()].exists = false;
}

void CapacityIndex::on_change(const SelectorChange& change, std::size_t rows) {
  if (change.selector.index() >= watches_.size()) return;
  for (const Watch& watch : watches_[change.selector.index()]) {
    GroupSpace& space = classes_[watch.storage_class.index()].space;
    if (change.joined) {
      space.join(watch.group, change.row, rows);
    } else {
      space.leave(watch.group, change.row);
    }
  }
}

bool CapacityIndex::is_enough(CapacityId id, std::int64_t request_bytes, bool is_exact) const {
  const Pool& pool = at(id);
  if (!pool.has_limit() || pool.limit_bytes() < request_bytes) return false;
  return !is_exact || !pool.has_capacity || std::max<std::int64_t>(0, request_bytes) <= room(id);
}

CapacityId CapacityIndex::best_in_group(const Group& group, const PoolColumn& column) const {
  return CapacityId(group.pools.first_from(
      [](std::uint32_t) { return false; },
      [&](std::uint32_t id) { return is_enough(CapacityId(id), column.request_bytes, column.is_exact); }));
}

void CapacityIndex::compute(PoolColumn& column, const ClassPools& entry, ProfileId profile,
                            const StringPool& strings) const {
  CapacityId best;
  for (const GroupId group : entry.space.groups_of(profile)) {
    const CapacityId candidate = column.group_picks[group.index()];
    if (candidate.valid() && (!best.valid() || less(candidate, best, strings))) best = candidate;
  }
  column.picks[profile.index()] = best;
  column.known_serial[profile.index()] = entry.space.serial_of(profile);
}

CapacityIndex::RowValue CapacityIndex::value_of(const PoolColumn& column, ProfileId profile) const {
  const CapacityId best = column.picks[profile.index()];
  if (!best.valid()) return {};
  ClassFills fills;
  const bool counts_held = column.is_exact && at(best).has_capacity;
  // a pool that was picked has room for the request, so its room is no less than 0 and no more than its capacity
  const std::int64_t bytes = counts_held ? static_cast<std::int64_t>(room(best)) : at(best).capacity_bytes;
  fills.at(StringPool::kEmpty) = {StringPool::kEmpty, column.request_bytes, bytes};
  return {true, fills.score()};
}

void CapacityIndex::write_row(PoolColumn& column, RowValue value, NodeId row) {
  column.enough.assign(row, value.enough);
  column.score.set(row.index(), value.score);
}

const PoolColumn& CapacityIndex::column(ClassId storage_class, std::int64_t request_bytes, bool is_exact,
                                        const StringPool& strings, std::size_t rows) {
  if (classes_.size() <= storage_class.index()) classes_.resize(storage_class.index() + 1);
  ClassPools& entry = classes_[storage_class.index()];
  auto found = std::find_if(entry.columns.begin(), entry.columns.end(), [&](const PoolColumn& column) {
    return column.request_bytes == request_bytes && column.is_exact == is_exact;
  });
  if (found == entry.columns.end()) {
    if (entry.columns.size() >= kColumnsMax) {
      entry.columns.erase(
          std::min_element(entry.columns.begin(), entry.columns.end(),
                           [](const PoolColumn& a, const PoolColumn& b) { return a.last_used < b.last_used; }));
    }
    found = entry.columns.emplace(entry.columns.end());
    found->request_bytes = request_bytes;
    found->is_exact = is_exact;
  }
  PoolColumn& column = *found;
  column.last_used = ++uses_;
  if (column.known_serial.size() < entry.space.profile_slots()) {
    column.known_serial.resize(entry.space.profile_slots(), ~0ULL);
    column.picks.resize(entry.space.profile_slots());
  }
  if (column.group_picks.size() < entry.groups.size()) column.group_picks.resize(entry.groups.size());
  if (column.enough.size() != rows) {
    column.enough.resize(rows);
    column.score.resize(rows);
  }
  if (column.cursor == entry.space.log().end()) return column;

  // A pool that is published with every volume leaves its group in the log many times; its nodes are written once.
  std::vector<NodeId> moved;
  std::vector<std::uint32_t> changed;
  const bool caught_up = entry.space.log().replay(column.cursor, [&](std::uint32_t change) {
    if ((change & GroupSpace::kMoved) != 0) {
      moved.emplace_back(change & ~GroupSpace::kMoved);
    } else {
      changed.push_back(change);
    }
  });
  if (caught_up) {
    std::sort(changed.begin(), changed.end());
    changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
    for (const std::uint32_t group : changed) column.group_picks[group] = best_in_group(entry.groups[group], column);
    for (const NodeId row : moved) {
      const ProfileId profile = entry.space.profile_of(row);
      if (column.known_serial[profile.index()] != entry.space.serial_of(profile))
        compute(column, entry, profile, strings);
      write_row(column, value_of(column, profile), row);
    }
    for (const std::uint32_t group : changed) {
      entry.space.for_profiles_of(GroupId(group), [&](ProfileId profile) {
        compute(column, entry, profile, strings);
        const RowValue value = value_of(column, profile);
        entry.space.nodes_of(profile).for_each([&](NodeId row) { write_row(column, value, row); });
      });
    }
  } else {
    for (std::size_t group = 0; group < entry.groups.size(); ++group)
      column.group_picks[group] = best_in_group(entry.groups[group], column);
    for (std::size_t slot = 0; slot < entry.space.profile_slots(); ++slot) {
      if (entry.space.in_use(ProfileId(slot))) compute(column, entry, ProfileId(slot), strings);
    }
    column.score.restart(rows);
    std::vector<RowValue> values(entry.space.profile_slots());
    for (std::size_t slot = 0; slot < values.size(); ++slot) {
      if (entry.space.in_use(ProfileId(slot))) values[slot] = value_of(column, ProfileId(slot));
    }
    for (std::size_t row = 0; row < rows; ++row)
      write_row(column, values[entry.space.profile_of(NodeId(row)).index()], NodeId(row));
  }
  return column;
}

CapacityId CapacityIndex::pick(const PoolColumn& column, ClassId storage_class, NodeId row) const {
  return column.picks[classes_[storage_class.index()].space.profile_of(row).index()];
}

// Exact capacity
// -------------------------------------------------------------------------------------------------------------------------

void CapacityIndex::change_held(const PoolHold& hold, Int128 bytes) {
  if (bytes == 0) return;
  for (const CapacityId id : hold.pools) {
    held_[id.index()] += bytes;
    const Pool& pool = at(id);
    if (!pool.exists || !pool.topology.valid()) continue;
    ClassPools& entry = classes_[pool.storage_class.index()];
    entry.space.touch(GroupId(entry.by_selector.find(pool.topology.value())));
  }
}

void CapacityIndex::sort(std::vector<CapacityId>& pools, const StringPool& strings) const {
  std::sort(pools.begin(), pools.end(), [&](CapacityId a, CapacityId b) { return less(a, b, strings); });
}

ProfileId CapacityIndex::profile_of(ClassId storage_class, NodeId row) const {
  if (storage_class.index() >= classes_.size()) return ProfileId(std::uint32_t{0});
  return classes_[storage_class.index()].space.profile_of(row);
}

std::vector<CapacityId> CapacityIndex::reach(ClassId storage_class, NodeId row, const StringPool& strings) const {
  std::vector<CapacityId> found;
  if (storage_class.index() >= classes_.size()) return found;
  const ClassPools& entry = classes_[storage_class.index()];
  for (const GroupId group : entry.space.groups_of(entry.space.profile_of(row))) {
    entry.groups[group.index()].pools.for_each([&](std::uint32_t id) {
      if (pools_[id].has_limit()) found.emplace_back(id);
    });
  }
  sort(found, strings);
  return found;
}

std::vector<CapacityId> CapacityIndex::siblings(CapacityId id, const ClassTable& classes,
                                                const StringPool& strings) const {
  std::vector<CapacityId> found;
  const Pool& pool = at(id);
  const StorageClass& ours = classes.at(pool.storage_class);
  if (ours.shared_capacity == StringPool::kEmpty) return found;
  for (std::size_t index = 0; index < classes_.size(); ++index) {
    if (ClassId(index) == pool.storage_class || !share_storage(ours, classes.at(ClassId(index)))) continue;
    const ClassPools& entry = classes_[index];
    const GroupId group(entry.by_selector.find(pool.topology.value()));
    if (group.valid())
      entry.groups[group.index()].pools.for_each([&](std::uint32_t other) { found.emplace_back(other); });
  }
  sort(found, strings);
  return found;
}

std::size_t CapacityIndex::bytes() const {
  std::size_t total = pools_.capacity() * (sizeof(Pool) + sizeof(Int128)) + by_name_.bytes() +
                      watches_.capacity() * sizeof(std::vector<Watch>);
  for (const ClassPools& entry : classes_) {
    total += entry.space.bytes() + entry.groups.capacity() * sizeof(Group) + entry.by_selector.bytes();
    for (const Group& group : entry.groups) total += group.pools.bytes();
    for (const PoolColumn& column : entry.columns) {
      total += column.picks.capacity() * 4 + column.score.bytes() + column.known_serial.capacity() * 8 +
               column.enough.bytes();
    }
  }
  return total;
}

std::string CapacityIndex::validate(const SelectorIndex& selectors, const StringPool& strings, std::size_t rows) {
  for (std::size_t index = 0; index < classes_.size(); ++index) {
    ClassPools& entry = classes_[index];
    if (auto problem = entry.space.validate(); !problem.empty()) return problem;
    for (const PoolColumn& kept : entry.columns) {
      const PoolColumn& column = this->column(ClassId(index), kept.request_bytes, kept.is_exact, strings, rows);
      for (std::size_t row = 0; row < rows; ++row) {
        CapacityId best;
        for (const Group& group : entry.groups) {
          if (!selectors.nodes(group.selector).contains(NodeId(row))) continue;
          const CapacityId candidate = best_in_group(group, column);
          if (candidate.valid() && (!best.valid() || less(candidate, best, strings))) best = candidate;
        }
        if (best != pick(column, ClassId(index), NodeId(row)) || best.valid() != column.enough.test(NodeId(row))) {
          return "CapacityIndex: a column of class " + std::to_string(index) + " is stale at row " +
                 std::to_string(row);
        }
      }
    }
  }
  return {};
}

}  // namespace volsched
