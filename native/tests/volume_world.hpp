#pragma once

// Volumes in a VolumeIndex and the same volumes as plain records, with FindMatchingVolume written out over a list:
// spec/scheduling.md 4.3 for volumes that are reserved for nobody.

#include <span>

#include "node_world.hpp"
#include "volsched/volume_index.hpp"

namespace volsched::test {

struct PlainVolume {
  std::string name = {};
  std::uint32_t storage_class = 0;
  std::string spec_class = {};
  Nanos capacity = 0;
  std::int64_t capacity_bytes = 0;
  std::uint32_t access_modes = 1;
  std::string mode = "Filesystem";
  std::string attributes_class = {};
  std::optional<std::uint32_t> claim = {};
  std::string claim_uid = {};
  bool is_available = true;
  bool is_deleting = false;
  PlainLabels labels = {};
  std::optional<SelectorText> affinity = {};

  [[nodiscard]] bool is_free() const { return is_available && !is_deleting && !claim; }
};

struct PlainShape {
  std::uint32_t storage_class = 0;
  Nanos request = 0;
  std::int64_t request_bytes = 0;
  std::uint32_t access_modes = 1;
  std::string mode = "Filesystem";
  std::string attributes_class = {};
  std::optional<LabelSelectorText> selector = {};
};

class VolumeWorld : public NodeWorld {
 public:
  VolumeIndex index;
  std::map<std::string, PlainVolume> volumes;

  void set_labels(std::uint32_t row, const std::optional<PlainLabels>& fresh) {
    for (const SelectorChange& change : set_node(row, fresh)) index.on_change(change, rows);
  }
  VolumeId put(const PlainVolume& volume) {
    const VolumeId slot = index.slot(id(volume.name));
    Volume made;
    made.name = id(volume.name);
    made.version = id("1");
    made.storage_class = ClassId(volume.storage_class);
    made.spec_class = id(volume.spec_class);
    made.capacity = volume.capacity;
    made.capacity_bytes = volume.capacity_bytes;
    made.access_modes = volume.access_modes;
    made.volume_mode = id(volume.mode);
    made.attributes_class = id(volume.attributes_class);
    if (volume.claim) made.claim = ClaimId(*volume.claim);
    made.claim_uid = id(volume.claim_uid);
    made.phase = id(volume.is_available ? "Available" : "Bound");
    made.is_available = volume.is_available;
    made.is_deleting = volume.is_deleting;
    made.labels = label_set(volume.labels);
    made.affinity = selector(volume.affinity);
    index.put(slot, made, selectors, strings, rows);
    volumes[volume.name] = volume;
    return slot;
  }
  void erase(const std::string& name) {
    index.erase(index.find(id(name)), strings);
    volumes.erase(name);
  }
  /// Set or clear the claim alone, as assume and forget do.
  void reserve(const std::string& name, std::optional<std::uint32_t> claim, const std::string& uid) {
    index.reserve(index.find(id(name)), claim ? ClaimId(*claim) : ClaimId(), id(uid), strings);
    volumes[name].claim = claim;
    volumes[name].claim_uid = uid;
  }
  Shape shape(const PlainShape& plain_shape) {
    Shape made;
    made.storage_class = ClassId(plain_shape.storage_class);
    made.request = plain_shape.request;
    made.request_bytes = plain_shape.request_bytes;
    made.access_modes = plain_shape.access_modes;
    made.volume_mode = id(plain_shape.mode);
    made.attributes_class = id(plain_shape.attributes_class);
    if (plain_shape.selector) made.selector = index.selector(read(*plain_shape.selector));
    return made;
  }
  [[nodiscard]] std::string name_of_volume(VolumeId volume) const {
    return volume.valid() ? strings.str(index.at(volume).name) : std::string();
  }
  /// The engine's answer for one claim on one node, empty when there is none.
  std::string best(const PlainShape& wanted, std::uint32_t row, const Texts& excluded = {}) {
    std::vector<VolumeId> ids;
    for (const std::string& name : excluded) ids.push_back(index.find(id(name)));
    const Shape made = shape(wanted);
    return name_of_volume(
        index.best_for(made, index.profile_of(made.storage_class, NodeId(row)), ids, label_sets, strings));
  }
  /// The same by a scan over all volumes.
  [[nodiscard]] std::string plain_best(const PlainShape& wanted, std::uint32_t row, const Texts& excluded = {}) const {
    const PlainVolume* found = nullptr;
    for (const auto& [name, volume] : volumes) {  // by name, so the first of equal size is the right one
      if (std::find(excluded.begin(), excluded.end(), name) != excluded.end() || !volume.is_free()) continue;
      if (volume.storage_class != wanted.storage_class || volume.capacity < wanted.request) continue;
      if (volume.mode != wanted.mode || volume.attributes_class != wanted.attributes_class) continue;
      if ((wanted.access_modes & ~volume.access_modes) != 0) continue;
      if (wanted.selector && !plain_matches(*wanted.selector, volume.labels)) continue;
      if (!matches(volume.affinity, row)) continue;
      if (found == nullptr || volume.capacity < found->capacity) found = &volume;
    }
    return found == nullptr ? std::string() : found->name;
  }
  [[nodiscard]] std::string validate() { return index.validate(selectors, label_sets, strings, rows); }
};

/// Random volumes, claims and nodes of a VolumeWorld; small ranges, so that everything meets everything.
class VolumeChance {
 public:
  explicit VolumeChance(std::uint64_t seed) : dice(seed) {}

  Dice dice;

  PlainLabels node_labels() {
    PlainLabels made;
    if (dice.percent(90)) made["zone"] = dice.one_of(Texts{"a", "b", "c"});
    if (dice.percent(60)) made["rack"] = std::to_string(dice.below(6));
    return made;
  }
  std::optional<SelectorText> affinity() {
    switch (dice.below(6)) {
      case 0:
        return std::nullopt;
      case 1:
        return where("zone", {dice.one_of(Texts{"a", "b"}), "c"});
      case 2:
        return SelectorText{{{{"zone", Op::kIn, {"a"}}, {"rack", Op::kLt, {"3"}}}, {}},
                            {{{"rack", Op::kIn, {"5"}}}, {}}};
      case 3:
        return SelectorText{{{{"zone", Op::kNotIn, {"b"}}}, {}}};
      case 4:
        return SelectorText{};
      default:
        return where("zone", {dice.one_of(Texts{"a", "b", "c"})});
    }
  }
  PlainVolume volume(const std::string& name, std::uint32_t classes) {
    PlainVolume made;
    made.name = name;
    made.storage_class = dice.below32(classes);
    made.spec_class = dice.percent(80) ? "class" + std::to_string(made.storage_class) : "other";
    made.capacity_bytes = 1 + dice.between(0, 7);
    made.capacity = Nanos{made.capacity_bytes} * kNanosPerByte - (dice.percent(20) ? 1 : 0);
    made.access_modes = 1 + dice.below32(7);
    if (dice.percent(15)) made.mode = "Block";
    if (dice.percent(15)) made.attributes_class = "gold";
    if (dice.percent(15)) made.claim = dice.below32(5);
    if (made.claim && dice.percent(50)) made.claim_uid = "uid-" + std::to_string(*made.claim);
    made.is_available = dice.percent(85);
    made.is_deleting = dice.percent(5);
    if (dice.percent(50)) made.labels["tier"] = dice.one_of(Texts{"fast", "slow"});
    made.affinity = affinity();
    return made;
  }
  PlainShape shape(std::uint32_t classes) {
    PlainShape made;
    made.storage_class = dice.below32(classes);
    made.request_bytes = dice.between(0, 8);
    made.request = Nanos{made.request_bytes} * kNanosPerByte - (dice.percent(20) ? 1 : 0);
    made.access_modes = dice.below32(5);
    if (dice.percent(15)) made.mode = "Block";
    if (dice.percent(15)) made.attributes_class = "gold";
    if (dice.percent(25)) made.selector = LabelSelectorText{};
    if (dice.percent(25)) made.selector = LabelSelectorText{{{"tier", "fast"}}, {}};
    if (dice.percent(10)) made.selector = LabelSelectorText{{}, {{"tier", Op::kNotIn, {"slow"}}}};
    return made;
  }
  /// One change of a volume or a node.
  void change(VolumeWorld& world, std::uint32_t nodes, std::uint32_t classes, std::size_t volumes) {
    const std::string name = "pv-" + std::to_string(dice.below(volumes));
    const bool is_known = world.volumes.contains(name);
    const std::size_t action = dice.below(100);
    if (action < 25) {
      world.set_labels(dice.below32(nodes), dice.percent(10) ? std::nullopt : std::optional(node_labels()));
    } else if (!is_known || action < 65) {
      world.put(volume(name, classes));
    } else if (action < 75) {
      world.erase(name);
    } else if (world.volumes[name].claim) {
      world.reserve(name, std::nullopt, "");
    } else {
      const std::uint32_t claim = dice.below32(5);
      world.reserve(name, claim, "uid-" + std::to_string(claim));
    }
  }
};

}  // namespace volsched::test
