#include "volsched/volume_index.hpp"

#include <algorithm>

namespace volsched {

namespace {

std::uint64_t hash_shape(const Shape& shape) {
  std::uint64_t hash = mix64(static_cast<std::uint64_t>(shape.request));
  hash = mix64(hash ^ static_cast<std::uint64_t>(shape.request >> 64));
  hash = mix64(hash ^ pack(shape.storage_class, shape.volume_mode));
  hash = mix64(hash ^ pack(shape.attributes_class, shape.selector));
  return mix64(hash ^ shape.access_modes);
}

}  // namespace

VolumeId VolumeIndex::slot(StringId name) {
  const VolumeId known = find(name);
  if (known.valid()) return known;
  const VolumeId id(volumes_.size());
  Volume& made = volumes_.emplace_back();
  made.name = name;
  by_name_.set(name.value(), id.value());
  return id;
}

bool VolumeIndex::less(VolumeId left, VolumeId right, const StringPool& strings) const {
  const Volume& a = at(left);
  const Volume& b = at(right);
  if (a.capacity != b.capacity) return a.capacity < b.capacity;
  return left != right && strings.view(a.name) < strings.view(b.name);
}

VolumeIndex::ClassVolumes& VolumeIndex::class_entry(ClassId storage_class) {
  if (classes_.size() <= storage_class.index()) classes_.resize(storage_class.index() + 1);
  return classes_[storage_class.index()];
}

const VolumeIndex::ClassVolumes* VolumeIndex::find_class(ClassId storage_class) const {
  return storage_class.index() < classes_.size() ? &classes_[storage_class.index()] : nullptr;
}

GroupId VolumeIndex::group_of(ClassId storage_class, SelectorId affinity, const SelectorIndex& selectors,
                              std::size_t rows) {
  ClassVolumes& entry = class_entry(storage_class);
  const std::uint32_t known = entry.by_selector.find(affinity.value());
  if (known != FlatMap::kMissing) return GroupId(known);
  const GroupId group = entry.space.add(selectors.nodes(affinity), rows);
  entry.groups.push_back({affinity, {}});
  entry.by_selector.set(affinity.value(), group.value());
  watches_.grow_to(affinity.index() + 1);
  watches_.edit(affinity.index()).push_back({storage_class, group});
  return group;
}

void VolumeIndex::on_change(const SelectorChange& change, std::size_t rows) {
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

void VolumeIndex::list(VolumeId id, const StringPool& strings) {
  const Volume& volume = at(id);
  if (!is_unreserved(volume)) return;
  ClassVolumes& entry = class_entry(volume.storage_class);
  auto& runs = entry.groups.edit(volume.group.index()).runs;
  auto run = std::find_if(runs.begin(), runs.end(), [&](const Run& candidate) {
    return candidate.volume_mode == volume.volume_mode && candidate.attributes_class == volume.attributes_class &&
           candidate.access_modes == volume.access_modes;
  });
  if (run == runs.end())
    run = runs.insert(runs.end(), Run{volume.volume_mode, volume.attributes_class, volume.access_modes, {}});
  run->volumes.insert(id.value(),
                      [&](std::uint32_t a, std::uint32_t b) { return less(VolumeId(a), VolumeId(b), strings); });
  entry.space.touch(volume.group);
}

void VolumeIndex::unlist(VolumeId id, const StringPool& strings) {
  const Volume& volume = at(id);
  if (!is_unreserved(volume)) return;
  ClassVolumes& entry = class_entry(volume.storage_class);
  for (Run& run : entry.groups.edit(volume.group.index()).runs) {
    if (run.volume_mode != volume.volume_mode || run.attributes_class != volume.attributes_class ||
        run.access_modes != volume.access_modes)
      continue;
    run.volumes.erase(id.value(),
                      [&](std::uint32_t a, std::uint32_t b) { return less(VolumeId(a), VolumeId(b), strings); });
  }
  entry.space.touch(volume.group);
}

VolumeId& VolumeIndex::next_link(ClaimId claim, VolumeId before) {
  return before.valid() ? volumes_.edit(before.index()).next_of_claim : first_of_claim_.edit(claim.index());
}

void VolumeIndex::link(VolumeId id, const StringPool& strings) {
  const Volume volume = at(id);
  if (!volume.exists || !volume.claim.valid()) return;
  first_of_claim_.grow_to(volume.claim.index() + 1);
  VolumeId before;
  VolumeId after = first_of_claim(volume.claim);
  while (after.valid() && strings.view(at(after).name) < strings.view(volume.name)) {
    before = after;
    after = at(after).next_of_claim;
  }
  volumes_.edit(id.index()).next_of_claim = after;
  next_link(volume.claim, before) = id;
}

void VolumeIndex::unlink(VolumeId id) {
  const Volume volume = at(id);
  if (!volume.exists || !volume.claim.valid()) return;
  VolumeId before;
  for (VolumeId other = first_of_claim(volume.claim); other != id; other = at(other).next_of_claim) before = other;
  next_link(volume.claim, before) = volume.next_of_claim;
  volumes_.edit(id.index()).next_of_claim = {};
}

void VolumeIndex::put(VolumeId id, const Volume& volume, const SelectorIndex& selectors, const StringPool& strings,
                      std::size_t rows) {
  unlist(id, strings);
  unlink(id);
  const StringId name = at(id).name;
  Volume& stored = volumes_.edit(id.index());
  stored = volume;
  stored.name = name;
  stored.exists = true;
  stored.next_of_claim = {};
  stored.group = group_of(volume.storage_class, volume.affinity, selectors, rows);
  link(id, strings);
  list(id, strings);
}

void VolumeIndex::erase(VolumeId id, const StringPool& strings) {
  unlist(id, strings);
  unlink(id);
  const StringId name = at(id).name;
  Volume& left = volumes_.edit(id.index());
  left = Volume{};
  left.name = name;
}

void VolumeIndex::reserve(VolumeId id, ClaimId claim, StringId claim_uid, const StringPool& strings) {
  unlist(id, strings);
  unlink(id);
  Volume& volume = volumes_.edit(id.index());
  volume.claim = claim;
  volume.claim_uid = claim_uid;
  link(id, strings);
  list(id, strings);
}

ShapeId VolumeIndex::shape(const Shape& shape) {
  const std::uint64_t hash = hash_shape(shape);
  const auto [from, to] = shape_ids_.equal_range(hash);
  for (auto entry = from; entry != to; ++entry) {
    if (shapes_[entry->second] == shape) return ShapeId(entry->second);
  }
  const ShapeId id(shapes_.size());
  shapes_.push_back(shape);
  shape_ids_.emplace(hash, id.value());
  return id;
}

LabelSelectorId VolumeIndex::selector(LabelSelector selector) {
  for (std::size_t index = 0; index < selectors_.size(); ++index) {
    if (selectors_[index].requirements == selector.requirements && selectors_[index].error == selector.error)
      return LabelSelectorId(index);
  }
  selectors_.push_back(std::move(selector));
  return LabelSelectorId(selectors_.size() - 1);
}

VolumeId VolumeIndex::best_in_group(const Group& group, const Shape& shape, std::span<const VolumeId> excluded,
                                    const LabelSets& labels, const StringPool& strings) const {
  VolumeId best;
  for (const Run& run : group.runs) {
    if (run.volume_mode != shape.volume_mode || run.attributes_class != shape.attributes_class) continue;
    if ((shape.access_modes & ~run.access_modes) != 0) continue;
    const std::uint32_t found =
        run.volumes.first_from([&](std::uint32_t id) { return volumes_[id].capacity < shape.request; },
                               [&](std::uint32_t id) {
                                 if (std::find(excluded.begin(), excluded.end(), VolumeId(id)) != excluded.end())
                                   return false;
                                 return !shape.selector.valid() ||
                                        selector_at(shape.selector).matches(labels.at(volumes_[id].labels), strings);
                               });
    const VolumeId candidate(found);
    if (candidate.valid() && (!best.valid() || less(candidate, best, strings))) best = candidate;
  }
  return best;
}

VolumeId VolumeIndex::best_for(const Shape& shape, ProfileId profile, std::span<const VolumeId> excluded,
                               const LabelSets& labels, const StringPool& strings) const {
  const ClassVolumes* entry = find_class(shape.storage_class);
  VolumeId best;
  if (entry == nullptr) return best;
  for (const GroupId group : entry->space.groups_of(profile)) {
    const VolumeId candidate = best_in_group(entry->groups[group.index()], shape, excluded, labels, strings);
    if (candidate.valid() && (!best.valid() || less(candidate, best, strings))) best = candidate;
  }
  return best;
}

ProfileId VolumeIndex::profile_of(ClassId storage_class, NodeId row) const {
  const ClassVolumes* entry = find_class(storage_class);
  return entry == nullptr ? ProfileId(std::uint32_t{0}) : entry->space.profile_of(row);
}

std::size_t VolumeIndex::profile_count(ClassId storage_class) const {
  const ClassVolumes* entry = find_class(storage_class);
  return entry == nullptr ? 0 : entry->space.profile_slots();
}

std::size_t VolumeIndex::bytes() const {
  std::size_t total = volumes_.bytes() + by_name_.bytes() + first_of_claim_.bytes() +
                      shapes_.capacity() * sizeof(Shape) + watches_.bytes();
  for (const auto& watches : watches_) total += watches.capacity() * sizeof(Watch);
  for (const ClassVolumes& entry : classes_) {
    total += entry.space.bytes() + entry.groups.bytes() + entry.by_selector.bytes();
    for (const Group& group : entry.groups) {
      total += group.runs.capacity() * sizeof(Run);
      for (const Run& run : group.runs) total += run.volumes.bytes();
    }
    for (const MatchColumn& column : entry.columns) {
      total += column.picks.capacity() * 4 + column.score.bytes() + column.known_serial.capacity() * 8 +
               column.profile_score.capacity() * 4;
      for (const auto& picks : column.group_picks) total += picks.capacity() * 4;
      for (const NodeMask& mask : column.matched) total += mask.bytes();
    }
  }
  return total;
}

}  // namespace volsched
