// Columns of VolumeIndex: the answers for a tuple of claims, kept per profile and per node and brought up to date by
// the class's log.

#include <algorithm>

#include "volsched/scoring.hpp"
#include "volsched/volume_index.hpp"

namespace volsched {

namespace {

/// Columns kept for one class; each holds about 17 bytes a node and claim.
constexpr std::size_t kColumnsMax = 48;

}  // namespace

void VolumeIndex::reshape(MatchColumn& column, const ClassVolumes& entry, std::size_t rows) const {
  const std::size_t claims = column.shapes.size();
  if (column.known_serial.size() < entry.space.profile_slots()) {
    column.known_serial.resize(entry.space.profile_slots(), ~0ULL);
    column.picks.resize(entry.space.profile_slots() * claims);
    column.profile_score.resize(entry.space.profile_slots(), 0);
  }
  for (auto& picks : column.group_picks) {
    if (picks.size() < entry.groups.size()) picks.resize(entry.groups.size());
  }
  if (column.any.size() == rows) return;
  for (NodeMask& mask : column.matched) mask.resize(rows);
  column.any.resize(rows);
  column.all_unwritten = true;
}

void VolumeIndex::compute(MatchColumn& column, const ClassVolumes& entry, ProfileId profile, const LabelSets& labels,
                          const StringPool& strings) const {
  const std::size_t claims = column.shapes.size();
  std::vector<VolumeId> taken;
  ClassFills fills;
  for (std::size_t claim = 0; claim < claims; ++claim) {
    const Shape& shape = shape_at(column.shapes[claim]);
    VolumeId best;
    for (const GroupId group : entry.space.groups_of(profile)) {
      VolumeId candidate = column.group_picks[claim][group.index()];
      if (!candidate.valid()) continue;
      if (std::find(taken.begin(), taken.end(), candidate) != taken.end()) {
        // an earlier claim of the pod has it: walk on from there, for this profile only
        candidate = best_in_group(entry.groups[group.index()], shape, taken, labels, strings);
        if (!candidate.valid()) continue;
      }
      if (!best.valid() || less(candidate, best, strings)) best = candidate;
    }
    column.picks[profile.index() * claims + claim] = best;
    if (!best.valid()) continue;
    taken.push_back(best);
    ClassFill& fill = fills.at(at(best).spec_class);
    fill.requested_bytes = wrapping_add(fill.requested_bytes, shape.request_bytes);
    fill.capacity_bytes = wrapping_add(fill.capacity_bytes, at(best).capacity_bytes);
  }
  const auto is_invalid = [&] {
    const std::int32_t score = column.profile_score[profile.index()];
    return score < 0 || score > kScoreMax ? std::size_t{1} : std::size_t{0};
  };
  column.invalid_count -= is_invalid();
  column.profile_score[profile.index()] = fills.score();
  column.invalid_count += is_invalid();
  column.known_serial[profile.index()] = entry.space.serial_of(profile);
}

void VolumeIndex::write_masks(MatchColumn& column, ProfileId profile, NodeId row) {
  const std::size_t claims = column.shapes.size();
  bool some = false;
  for (std::size_t claim = 0; claim < claims; ++claim) {
    const bool has = column.picks[profile.index() * claims + claim].valid();
    column.matched[claim].assign(row, has);
    some = some || has;
  }
  column.any.assign(row, some);
}

void VolumeIndex::leave_unwritten(MatchColumn& column, std::uint32_t entry) {
  if (column.all_unwritten) return;
  column.unwritten.push_back(entry);
  if (column.unwritten.size() <= column.any.size()) return;
  column.all_unwritten = true;
  column.unwritten.clear();
}

const KeptColumn& VolumeIndex::score(MatchColumn& column) const {
  const GroupSpace& space = find_class(shape_at(column.shapes.front()).storage_class)->space;
  const auto score_of = [&](NodeId row) { return column.profile_score[space.profile_of(row).index()]; };
  if (column.all_unwritten) {
    const std::size_t rows = column.any.size();
    column.score.restart(rows);
    for (std::size_t row = 0; row < rows; ++row) column.score.write(row, score_of(NodeId(row)));
    column.all_unwritten = false;
  }
  for (const std::uint32_t entry : column.unwritten) {
    const auto write = [&](NodeId row) { column.score.set(row.index(), score_of(row)); };
    if ((entry & GroupSpace::kMoved) != 0) {
      write(NodeId(entry & ~GroupSpace::kMoved));
    } else {
      space.nodes_of(ProfileId(entry)).for_each(write);
    }
  }
  column.unwritten.clear();
  return column.score;
}

const RowClasses* VolumeIndex::classes(ClassId storage_class, std::size_t rows) {
  ClassVolumes& entry = class_entry(storage_class);
  const GroupSpace& space = entry.space;
  if (space.profile_slots() > RowClasses::kClassesMax) {
    entry.profiles_rows = 0;
    return nullptr;
  }
  const auto put = [&](std::uint32_t row) {
    const ProfileId profile = space.profile_of(NodeId(row));
    const std::int64_t signature = profile.value();
    entry.profiles.put(row, {&signature, 1});
  };
  const bool caught_up = space.log().replay(entry.profiles_cursor, [&](std::uint32_t change) {
    if ((change & GroupSpace::kMoved) != 0 && entry.profiles_rows == rows) put(change & ~GroupSpace::kMoved);
  });
  if (!caught_up || entry.profiles_rows != rows) {
    entry.profiles.restart(rows, 1);
    for (std::uint32_t row = 0; row < rows; ++row) put(row);
    entry.profiles_rows = rows;
  }
  return &entry.profiles;
}

void VolumeIndex::rebuild(MatchColumn& column, const ClassVolumes& entry, const LabelSets& labels,
                          const StringPool& strings, std::size_t rows) const {
  for (std::size_t claim = 0; claim < column.shapes.size(); ++claim) {
    for (std::size_t group = 0; group < entry.groups.size(); ++group) {
      column.group_picks[claim][group] =
          best_in_group(entry.groups[group], shape_at(column.shapes[claim]), {}, labels, strings);
    }
    column.matched[claim].clear();
  }
  column.any.clear();
  for (std::size_t slot = 0; slot < entry.space.profile_slots(); ++slot) {
    if (entry.space.in_use(ProfileId(slot))) compute(column, entry, ProfileId(slot), labels, strings);
  }
  for (std::size_t row = 0; row < rows; ++row) write_masks(column, entry.space.profile_of(NodeId(row)), NodeId(row));
  column.all_unwritten = true;
  column.unwritten.clear();
}

MatchColumn& VolumeIndex::column(std::span<const ShapeId> shapes, const LabelSets& labels, const StringPool& strings,
                                 std::size_t rows) {
  ClassVolumes& entry = class_entry(shape_at(shapes.front()).storage_class);
  auto found = std::find_if(entry.columns.begin(), entry.columns.end(), [&](const MatchColumn& column) {
    return std::equal(column.shapes.begin(), column.shapes.end(), shapes.begin(), shapes.end());
  });
  if (found == entry.columns.end()) {
    evict(entry);
    found = entry.columns.emplace(entry.columns.end());
    found->shapes.assign(shapes.begin(), shapes.end());
    found->group_picks.resize(shapes.size());
    found->matched.resize(shapes.size(), NodeMask(rows));
  }
  MatchColumn& column = *found;
  column.last_used = ++uses_;
  reshape(column, entry, rows);
  if (column.cursor == entry.space.log().end()) return column;

  const auto refresh_profile = [&](ProfileId profile) {
    const std::size_t claims = column.shapes.size();
    const std::size_t from = profile.index() * claims;
    const std::vector<VolumeId> old(column.picks.begin() + static_cast<std::ptrdiff_t>(from),
                                    column.picks.begin() + static_cast<std::ptrdiff_t>(from + claims));
    const std::int32_t old_score = column.profile_score[profile.index()];
    const bool was_known = column.known_serial[profile.index()] == entry.space.serial_of(profile);
    compute(column, entry, profile, labels, strings);
    if (!was_known || old_score != column.profile_score[profile.index()]) leave_unwritten(column, profile.value());
    bool changed = !was_known;
    for (std::size_t claim = 0; claim < claims && !changed; ++claim)
      changed = old[claim].valid() != column.picks[from + claim].valid();
    if (changed) entry.space.nodes_of(profile).for_each([&](NodeId row) { write_masks(column, profile, row); });
  };
  const bool caught_up = entry.space.log().replay(column.cursor, [&](std::uint32_t change) {
    if ((change & GroupSpace::kMoved) != 0) {
      const NodeId row(change & ~GroupSpace::kMoved);
      const ProfileId profile = entry.space.profile_of(row);
      if (column.known_serial[profile.index()] != entry.space.serial_of(profile))
        compute(column, entry, profile, labels, strings);
      write_masks(column, profile, row);
      leave_unwritten(column, change);
      return;
    }
    const GroupId group(change);
    for (std::size_t claim = 0; claim < column.shapes.size(); ++claim) {
      column.group_picks[claim][group.index()] =
          best_in_group(entry.groups[group.index()], shape_at(column.shapes[claim]), {}, labels, strings);
    }
    entry.space.for_profiles_of(group, refresh_profile);
  });
  if (!caught_up) rebuild(column, entry, labels, strings, rows);
  return column;
}

void VolumeIndex::evict(ClassVolumes& entry) const {
  if (entry.columns.size() < kColumnsMax) return;
  entry.columns.erase(
      std::min_element(entry.columns.begin(), entry.columns.end(),
                       [](const MatchColumn& a, const MatchColumn& b) { return a.last_used < b.last_used; }));
}

VolumeId VolumeIndex::pick(const MatchColumn& column, std::size_t claim, NodeId row) const {
  const ProfileId profile = profile_of(shape_at(column.shapes.front()).storage_class, row);
  return column.picks[profile.index() * column.shapes.size() + claim];
}

std::string VolumeIndex::validate(const SelectorIndex& selectors, const LabelSets& labels, const StringPool& strings,
                                  std::size_t rows) {
  std::vector<std::size_t> listed(volumes_.size());
  for (std::size_t index = 0; index < classes_.size(); ++index) {
    ClassVolumes& entry = classes_[index];
    if (auto problem = entry.space.validate(); !problem.empty()) return problem;
    for (std::size_t group = 0; group < entry.groups.size(); ++group) {
      for (std::size_t row = 0; row < rows; ++row) {
        const auto& groups = entry.space.groups_of(entry.space.profile_of(NodeId(row)));
        const bool in_group = std::binary_search(groups.begin(), groups.end(), GroupId(group));
        if (in_group != selectors.nodes(entry.groups[group].selector).contains(NodeId(row))) {
          return "VolumeIndex: row " + std::to_string(row) + " is in the wrong groups of class " +
                 std::to_string(index);
        }
      }
      for (const Run& run : entry.groups[group].runs) {
        const auto order = [&](std::uint32_t a, std::uint32_t b) { return less(VolumeId(a), VolumeId(b), strings); };
        if (auto problem = run.volumes.validate(order); !problem.empty()) return problem;
        run.volumes.for_each([&](std::uint32_t id) { ++listed[id]; });
      }
    }
    for (MatchColumn& column : entry.columns) {
      this->column(column.shapes, labels, strings, rows);
      for (std::size_t row = 0; row < rows; ++row) {
        const ProfileId profile = entry.space.profile_of(NodeId(row));
        std::vector<VolumeId> taken;
        for (std::size_t claim = 0; claim < column.shapes.size(); ++claim) {
          const VolumeId best = best_for(shape_at(column.shapes[claim]), profile, taken, labels, strings);
          if (best != pick(column, claim, NodeId(row)) || best.valid() != column.matched[claim].test(NodeId(row))) {
            return "VolumeIndex: a column of class " + std::to_string(index) + " is stale at row " +
                   std::to_string(row);
          }
          if (best.valid()) taken.push_back(best);
        }
        if (score(column)[row] != column.profile_score[profile.index()] && column.invalid_count == 0)
          return "VolumeIndex: a score of class " + std::to_string(index) + " is stale at row " + std::to_string(row);
      }
    }
  }
  for (std::size_t id = 0; id < volumes_.size(); ++id) {
    if (listed[id] != (is_unreserved(volumes_[id]) ? 1U : 0U))
      return "VolumeIndex: volume " + std::to_string(id) + " is listed " + std::to_string(listed[id]) + " times";
  }
  return {};
}

}  // namespace volsched
