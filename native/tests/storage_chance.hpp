#pragma once

// Random storage objects, small ranges so that everything meets everything, and one random change of a World.

#include "world.hpp"

namespace volsched::test {

class StorageChance {
 public:
  explicit StorageChance(std::uint64_t seed, std::size_t given_nodes = 6) : dice(seed), nodes(given_nodes) {}

  Dice dice;
  std::size_t nodes;

  std::string node_name() { return "n" + std::to_string(dice.below(nodes)); }
  std::string volume_name() { return "pv-" + std::to_string(dice.below(12)); }
  std::string claim_name() { return "c" + std::to_string(dice.below(7)); }
  std::string class_name() { return dice.one_of(Texts{"static", "fast", "slow", "intree", "later"}); }
  std::string driver_name() { return dice.one_of(Texts{"fast.csi", "slow.csi", "disk.csi"}); }
  std::string zone() { return dice.one_of(Texts{"a", "b", "c"}); }

  NodeText node() {
    NodeText made;
    made.name = node_name();
    if (dice.percent(80)) made.labels.emplace_back("topology.kubernetes.io/zone", zone());
    if (dice.percent(15)) made.labels.emplace_back("failure-domain.beta.kubernetes.io/zone", zone());
    if (dice.percent(60)) made.labels.emplace_back("rack", std::to_string(dice.below(4)));
    return made;
  }
  CsiNodeText csi_node() {
    CsiNodeText made;
    made.name = node_name();
    if (dice.percent(50)) made.migrated_plugins.emplace_back("kubernetes.io/disk");
    for (const char* name : {"fast.csi", "slow.csi", "disk.csi"}) {
      if (dice.percent(25)) continue;
      made.drivers.push_back({name, dice.percent(40) ? std::nullopt : std::optional<std::int64_t>(dice.between(0, 5))});
    }
    return made;
  }
  CsiDriverText driver() { return {driver_name(), dice.percent(50), dice.percent(15)}; }
  ClassText storage_class() {
    ClassText made;
    made.name = class_name();
    if (made.name == "static") made.provisioner = "kubernetes.io/no-provisioner";
    if (made.name == "fast" || made.name == "later") made.provisioner = "fast.csi";
    if (made.name == "slow") made.provisioner = "slow.csi";
    if (made.name == "intree") {
      made.provisioner = "kubernetes.io/disk";
      made.is_in_tree = true;
      if (dice.percent(80)) made.migrated_driver = "disk.csi";
    }
    if (dice.percent(10)) made.mode = BindingMode::kImmediate;
    if (dice.percent(40)) made.shared_capacity = dice.one_of(Texts{"vg0", "vg0", "vg1"});
    if (dice.percent(30)) made.allowed = {{{"topology.kubernetes.io/zone", {zone(), zone()}}}};
    if (dice.percent(10))
      made.allowed = {{{"topology.kubernetes.io/zone", {zone()}}, {"rack", {"1", "2"}}}, {{"rack", {"0"}}}, {}};
    return made;
  }
  std::optional<SelectorText> affinity() {
    switch (dice.below(5)) {
      case 0:
        return std::nullopt;
      case 1:
        return SelectorText{{{{"rack", Op::kGt, {"0"}}, {"topology.kubernetes.io/zone", Op::kNotIn, {zone()}}}, {}},
                            {{{"rack", Op::kIn, {"0"}}}, {}}};
      default:
        return where("topology.kubernetes.io/zone", {zone(), zone()});
    }
  }
  VolumeText volume() {
    VolumeText made;
    made.name = volume_name();
    made.version = std::to_string(++version_);
    made.storage_class = class_name();
    if (dice.percent(10)) made.spec_class = "beta";
    made.bytes = dice.between(1, 8);
    made.more_nanos = 0;
    made.access_modes =
        dice.percent(70) ? Texts{"ReadWriteOnce"} : Texts{"ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"};
    if (dice.percent(10)) made.volume_mode = "Block";
    if (dice.percent(10)) made.attributes_class = "gold";
    if (dice.percent(25))
      made.claim = ClaimRefText{"default", claim_name(), dice.percent(50) ? "" : "uid-" + claim_name()};
    if (dice.percent(20)) made.phase = dice.one_of(Texts{"Bound", "Released", "Pending"});
    made.is_deleting = dice.percent(5);
    if (dice.percent(40)) made.labels.emplace_back("tier", dice.one_of(Texts{"x", "y"}));
    if (dice.percent(15))
      made.labels.emplace_back("topology.kubernetes.io/zone", dice.percent(70) ? zone() : zone() + "__" + zone());
    if (dice.percent(10))
      made.labels.emplace_back("failure-domain.beta.kubernetes.io/zone", dice.percent(80) ? zone() : "a__");
    made.affinity = affinity();
    if (dice.percent(60)) {
      made.source = VolumeSource::kCsi;
      made.driver = driver_name();
      made.handle = "h" + std::to_string(dice.below(6));
    } else if (dice.percent(50)) {
      made.source = VolumeSource::kMigratable;
      made.plugin = "kubernetes.io/disk";
      made.driver = "disk.csi";
      made.handle = "h" + std::to_string(dice.below(6));
      made.migrated_affinity = affinity();
    }
    if (dice.percent(15)) made.held = held();
    return made;
  }
  ClaimText claim() {
    ClaimText made;
    made.name = claim_name();
    made.uid = dice.percent(90) ? "uid-" + made.name : "uid-new";
    made.version = std::to_string(++version_);
    made.storage_class = dice.percent(95) ? class_name() : "";
    if (dice.percent(10)) made.spec_class = "beta";
    made.has_request = dice.percent(90);
    made.bytes = dice.between(0, 7);
    if (dice.percent(20)) made.more_nanos = 1;
    made.access_modes = {dice.percent(85) ? "ReadWriteOnce" : dice.percent(50) ? "ReadWriteMany" : "ReadWriteOncePod"};
    if (dice.percent(5)) made.volume_mode = "Block";
    if (dice.percent(5)) made.attributes_class = "gold";
    if (dice.percent(10)) made.selector = LabelSelectorText{};
    if (dice.percent(10)) made.selector = LabelSelectorText{{{"tier", "x"}}, {}};
    if (dice.percent(30)) {
      made.volume = volume_name();
      made.is_bind_completed = dice.percent(90);
    } else if (dice.percent(15)) {
      made.selected_node = node_name();
      if (dice.percent(50)) made.held = held();
    }
    if (dice.percent(30)) made.owner_uid = "pod-uid-pending";
    made.is_lost = dice.percent(2);
    made.is_deleting = dice.percent(2);
    return made;
  }
  /// One pool or two, not all of them published.
  Texts held() {
    Texts made{dice.one_of(Texts{"default", "csi"}) + "/pool-" + std::to_string(dice.below(7))};
    if (dice.percent(30)) made.push_back("default/gone-" + std::to_string(dice.below(2)));
    return made;
  }
  CapacityText capacity() {
    CapacityText made;
    made.space = dice.one_of(Texts{"default", "csi"});
    made.name = "pool-" + std::to_string(dice.below(6));
    made.storage_class = dice.one_of(Texts{"fast", "slow", "later"});
    if (dice.percent(70)) made.topology = LabelSelectorText{{{"topology.kubernetes.io/zone", zone()}}, {}};
    if (dice.percent(10)) made.topology = std::nullopt;
    made.capacity = dice.percent(90) ? std::optional<std::int64_t>(dice.between(0, 12)) : std::nullopt;
    if (dice.percent(20)) made.maximum = dice.between(0, 12);
    return made;
  }
  AttachmentText attachment() {
    return {"va-" + std::to_string(dice.below(8)), node_name(), dice.percent(95) ? driver_name() : "", volume_name()};
  }
  PodText pod(const std::string& name) {
    PodText made;
    made.name = name;
    made.uid = "pod-uid-" + name;
    for (std::size_t more = dice.below(4); more > 0; --more) made.claims.push_back({claim_name(), false});
    return made;
  }

  /// One change; pods are p0 to p9.
  void change(World& world) {
    switch (dice.below(20)) {
      case 0:
      case 1:
      case 2:
        return world.put(node());
      case 3:
        return world.remove_node(node_name());
      case 4:
      case 5:
        return world.put(csi_node());
      case 6:
        return dice.percent(30) ? world.remove_csi_node(node_name()) : world.put(driver());
      case 7:
        return dice.percent(30) ? world.remove_driver(driver_name()) : world.put(storage_class());
      case 8:
        return dice.percent(20) ? world.remove_class(class_name()) : world.put(storage_class());
      case 9:
      case 10:
      case 11:
      case 12:
        return dice.percent(15) ? world.remove_volume(volume_name()) : world.put(volume());
      case 13:
      case 14:
        return dice.percent(10) ? world.remove_claim("default", claim_name()) : world.put(claim());
      case 15:
        return dice.percent(20) ? world.remove_capacity("default", "pool-" + std::to_string(dice.below(6)))
                                : world.put(capacity());
      case 16:
        return dice.percent(40) ? world.remove_attachment("va-" + std::to_string(dice.below(8)))
                                : world.put(attachment());
      default: {
        const std::string name = "p" + std::to_string(dice.below(10));
        if (world.pods.contains("default/" + name) && dice.percent(50)) return world.remove_pod("default", name);
        PodOnNode placed{{}, pod(name)};
        placed.pod.node = node_name();
        return world.put(placed);
      }
    }
  }
  /// Everything a pod may need, so that most decisions come to the filters.
  void fill(World& world) {
    for (std::size_t at = 0; at < nodes; ++at) {
      NodeText one = node();
      one.name = "n" + std::to_string(at);
      world.put(one);
      CsiNodeText other = csi_node();
      other.name = one.name;
      if (dice.percent(80)) world.put(other);
    }
    for (const char* name : {"static", "fast", "slow", "intree"}) {
      ClassText made = storage_class();
      while (made.name != name) made = storage_class();
      world.put(made);
    }
    for (int at = 0; at < 3; ++at) world.put(driver());
    for (int at = 0; at < 12; ++at) world.put(volume());
    for (int at = 0; at < 7; ++at) {
      ClaimText made = claim();
      made.name = "c" + std::to_string(at);
      made.uid = "uid-" + made.name;
      world.put(made);
    }
    for (int at = 0; at < 5; ++at) world.put(capacity());
  }

 private:
  int version_ = 0;
};

}  // namespace volsched::test
