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

CapacityId CapacityIndex::best_in_group(const Group& group, std::int64_t request_bytes) const {
  return CapacityId(group.pools.first_from(
      [](std::uint32_t) { return false; },
      [&](std::uint32_t id) { return pools_[id].has_limit && pools_[id].limit_bytes >= request_bytes; }));
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

void CapacityIndex::write_row(PoolColumn& column, ProfileId profile, NodeId row) const {
  const CapacityId best = column.picks[profile.index()];
  column.enough.assign(row, best.valid());
  std::int32_t score = 0;
  if (best.valid()) {
    ClassFills fills;
    fills.at(StringPool::kEmpty) = {StringPool::kEmpty, column.request_bytes, at(best).capacity_bytes};
    score = fills.score();
  }
  column.score.set(row.index(), score);
}

const PoolColumn& CapacityIndex::column(ClassId storage_class, std::int64_t request_bytes, const StringPool& strings,
                                        std::size_t rows) {
  if (classes_.size() <= storage_class.index()) classes_.resize(storage_class.index() + 1);
  ClassPools& entry = classes_[storage_class.index()];
  auto found = std::find_if(entry.columns.begin(), entry.columns.end(),
                            [&](const PoolColumn& column) { return column.request_bytes == request_bytes; });
  if (found == entry.columns.end()) {
    if (entry.columns.size() >= kColumnsMax) {
      entry.columns.erase(
          std::min_element(entry.columns.begin(), entry.columns.end(),
                           [](const PoolColumn& a, const PoolColumn& b) { return a.last_used < b.last_used; }));
    }
    found = entry.columns.emplace(entry.columns.end());
    found->request_bytes = request_bytes;
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

  const bool caught_up = entry.space.log().replay(column.cursor, [&](std::uint32_t change) {
    if ((change & GroupSpace::kMoved) != 0) {
      const NodeId row(change & ~GroupSpace::kMoved);
      const ProfileId profile = entry.space.profile_of(row);
      if (column.known_serial[profile.index()] != entry.space.serial_of(profile))
        compute(column, entry, profile, strings);
      write_row(column, profile, row);
      return;
    }
    const GroupId group(change);
    column.group_picks[group.index()] = best_in_group(entry.groups[group.index()], request_bytes);
    entry.space.for_profiles_of(group, [&](ProfileId profile) {
      compute(column, entry, profile, strings);
      entry.space.nodes_of(profile).for_each([&](NodeId row) { write_row(column, profile, row); });
    });
  });
  if (!caught_up) {
    for (std::size_t group = 0; group < entry.groups.size(); ++group)
      column.group_picks[group] = best_in_group(entry.groups[group], request_bytes);
    for (std::size_t slot = 0; slot < entry.space.profile_slots(); ++slot) {
      if (entry.space.in_use(ProfileId(slot))) compute(column, entry, ProfileId(slot), strings);
    }
    column.score.restart(rows);
    for (std::size_t row = 0; row < rows; ++row) write_row(column, entry.space.profile_of(NodeId(row)), NodeId(row));
  }
  return column;
}

CapacityId CapacityIndex::pick(const PoolColumn& column, ClassId storage_class, NodeId row) const {
  return column.picks[classes_[storage_class.index()].space.profile_of(row).index()];
}

std::size_t CapacityIndex::bytes() const {
  std::size_t total =
      pools_.capacity() * sizeof(Pool) + by_name_.bytes() + watches_.capacity() * sizeof(std::vector<Watch>);
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
      const PoolColumn& column = this->column(ClassId(index), kept.request_bytes, strings, rows);
      for (std::size_t row = 0; row < rows; ++row) {
        CapacityId best;
        for (const Group& group : entry.groups) {
          if (!selectors.nodes(group.selector).contains(NodeId(row))) continue;
          const CapacityId candidate = best_in_group(group, column.request_bytes);
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
