#pragma once

// The four storage plugins node by node over lists of plain objects, as spec/scheduling.md 4.1 to 4.7 and 7.1 to 7.3
// say it: no index, no cache, no mask. Translation errors and pods that do not own their ephemeral claims are left to
// tests of their own.

#include <cmath>

#include "world.hpp"

namespace volsched::test {

class StorageTwin {
 public:
  StorageTwin(const World& given_world, const PodOnNode& given_pod) : world(given_world), pod(given_pod.pod) {}

  /// What a PreFilter refuses the pod with, if one does.
  [[nodiscard]] std::optional<NodeVerdict> refusal() const {
    if (const auto refuse = restrictions_refusal()) return refuse;
    if (const auto refuse = binding_refusal()) return refuse;
    return zone_refusal();
  }

  [[nodiscard]] NodeVerdict verdict(const std::string& node_name) const {
    if (one_pod_conflicts() > 0) {
      return {"VolumeRestrictions",
              Code::kUnschedulable,
              {"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by "
               "another pod"}};
    }
    if (const std::string reason = limit_reason(node_name); !reason.empty())
      return {"NodeVolumeLimits", Code::kUnschedulable, {reason}};
    if (const Texts reasons = match(node_name).reasons; !reasons.empty())
      return {"VolumeBinding", Code::kUnresolvable, reasons};
    if (!zones_allow(node_name)) return {"VolumeZone", Code::kUnresolvable, {"node(s) had no available volume zone"}};
    return {};
  }

  struct Match {
    Texts reasons = {};
    std::vector<std::pair<std::string, std::string>> bind = {};       ///< claim, volume
    std::vector<std::pair<std::string, std::string>> provision = {};  ///< claim, pool or nothing
  };

  /// VolumeBinding's filter (4.2).
  [[nodiscard]] Match match(const std::string& node_name) const {
    Match result;
    bool reaches_bound = true;
    bool has_missing = false;
    for (const ClaimText* claim : own_claims()) {
      if (!is_fully_bound(*claim)) continue;
      const auto volume = world.volumes.find(claim->volume);
      if (volume == world.volumes.end()) {
        has_missing = true;
        break;
      }
      if (!reaches(volume->second, node_name)) {
        reaches_bound = false;
        break;
      }
    }
    bool can_bind = true;
    bool has_storage = true;
    std::vector<const ClaimText*> to_match;
    std::vector<const ClaimText*> to_provision;
    for (const ClaimText* claim : own_claims()) {
      if (is_fully_bound(*claim)) continue;
      if (!claim->selected_node) {
        to_match.push_back(claim);
      } else if (*claim->selected_node == node_name) {
        to_provision.push_back(claim);
      } else {
        can_bind = false;
      }
    }
    if (can_bind) {
      std::stable_sort(to_match.begin(), to_match.end(),
                       [](const ClaimText* a, const ClaimText* b) { return a->request() < b->request(); });
      Texts taken;
      for (const ClaimText* claim : to_match) {
        const std::string found = find_volume(*claim, node_name, taken);
        if (found.empty()) {
          to_provision.push_back(claim);
        } else {
          taken.push_back(found);
          result.bind.emplace_back(claim_key(*claim), found);
        }
      }
      for (const ClaimText* claim : to_provision) {
        std::string pool;
        std::tie(can_bind, has_storage, pool) = provision(*claim, node_name);
        if (!can_bind || !has_storage) break;
        result.provision.emplace_back(claim_key(*claim), pool);
      }
    }
    if (!reaches_bound) result.reasons.emplace_back("node(s) didn't match PersistentVolume's node affinity");
    if (!can_bind) result.reasons.emplace_back("node(s) didn't find available persistent volumes to bind");
    if (!has_storage) result.reasons.emplace_back("node(s) did not have enough free storage");
    if (has_missing)
      result.reasons.emplace_back("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    return result;
  }

  /// VolumeBinding's score (4.5).
  [[nodiscard]] std::int32_t score(const std::string& node_name) const {
    const Match found = match(node_name);
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> fills;
    for (const auto& [claim, volume_name] : found.bind) {
      const VolumeText& volume = world.volumes.at(volume_name);
      auto& [requested, capacity] = fills[volume.spec_class.value_or(volume.storage_class)];
      requested += bytes_of(world.claims.at(claim));
      capacity += volume.bytes;
    }
    if (found.bind.empty()) {
      for (const auto& [key, pool] : found.provision) {
        if (pool.empty()) continue;
        const ClaimText& claim = world.claims.at(key);
        auto& [requested, capacity] = fills[claim.spec_class.value_or(claim.storage_class)];
        requested += bytes_of(claim);
        capacity = world.capacities.at(pool).capacity.value_or(0);
      }
    }
    if (fills.empty()) return 0;
    double sum = 0;
    for (const auto& [name, fill] : fills) {
      const auto [requested, capacity] = fill;
      sum += capacity == 0 || requested > capacity ? 0.0 : static_cast<double>(100 - requested * 100 / capacity);
    }
    return static_cast<std::int32_t>(std::round(sum / static_cast<double>(fills.size())));
  }

  /// Volumes that count against limits on a node (7.2): driver -> handles. A claim without a volume is its own handle.
  [[nodiscard]] std::map<std::string, std::set<std::string>> keys_of(const PodText& of, bool has_csi_node) const {
    std::map<std::string, std::set<std::string>> keys;
    for (const auto& use : of.claims) {
      const auto claim = world.claims.find(World::key_of(of.space, use.claim));
      if (claim == world.claims.end()) continue;
      const auto volume = world.volumes.find(claim->second.volume);
      if (!claim->second.volume.empty() && volume != world.volumes.end()) {
        const VolumeSource source = volume->second.source;
        if (source == VolumeSource::kCsi || (source == VolumeSource::kMigratable && has_csi_node)) {
          keys[volume->second.driver].insert(volume->second.handle);
        }
        continue;
      }
      const auto storage_class = world.classes.find(claim->second.storage_class);
      if (claim->second.storage_class.empty() || storage_class == world.classes.end()) continue;
      const ClassText& of_claim = storage_class->second;
      const std::string handle = "claim " + claim->first;
      if (!of_claim.is_in_tree) {
        keys[of_claim.provisioner].insert(handle);
      } else if (has_csi_node && !of_claim.migrated_driver.empty()) {
        keys[of_claim.migrated_driver].insert(handle);
      }
    }
    return keys;
  }

  /// Everything attached to a node: driver -> handles, by pods, and by attachments that no pod there uses.
  struct Attached {
    std::map<std::string, std::set<std::string>> by_pods = {};
    std::map<std::string, std::set<std::string>> all = {};
  };
  [[nodiscard]] Attached attached(const std::string& node_name) const {
    Attached result;
    for (const auto& [key, placed] : world.pods) {
      if (placed.pod.node != node_name) continue;
      for (const auto& [driver, handles] : keys_of(placed.pod, true))
        result.by_pods[driver].insert(handles.begin(), handles.end());
    }
    result.all = result.by_pods;
    for (const auto& [key, attachment] : world.attachments) {
      const auto volume = world.volumes.find(attachment.volume);
      if (attachment.node != node_name || attachment.attacher.empty() || volume == world.volumes.end()) continue;
      if (volume->second.source == VolumeSource::kCsi) result.all[attachment.attacher].insert(volume->second.handle);
    }
    return result;
  }

 private:
  [[nodiscard]] static std::string claim_key(const ClaimText& claim) { return World::key_of(claim.space, claim.name); }
  [[nodiscard]] static bool is_fully_bound(const ClaimText& claim) {
    return !claim.volume.empty() && claim.is_bind_completed;
  }
  [[nodiscard]] static std::int64_t bytes_of(const ClaimText& claim) {
    return claim.has_request ? claim.bytes + (claim.more_nanos > 0 ? 1 : 0) : 0;
  }
  [[nodiscard]] const ClaimText* find_claim(const std::string& name) const {
    const auto known = world.claims.find(World::key_of(pod.space, name));
    return known == world.claims.end() ? nullptr : &known->second;
  }
  [[nodiscard]] std::vector<const ClaimText*> own_claims() const {
    std::vector<const ClaimText*> found;
    for (const auto& use : pod.claims) found.push_back(find_claim(use.claim));
    return found;
  }
  [[nodiscard]] PlainLabels labels_of(const std::string& node_name) const {
    const Pairs& pairs = world.nodes.at(node_name).labels;
    return {pairs.begin(), pairs.end()};
  }
  [[nodiscard]] bool selects(const std::optional<SelectorText>& selector, const std::string& node_name) const {
    return !selector || plain_matches(*selector, labels_of(node_name), node_name);
  }

  // VolumeRestrictions (7.1)
  [[nodiscard]] std::optional<NodeVerdict> restrictions_refusal() const {
    for (const auto& use : pod.claims) {
      if (!use.is_ephemeral && find_claim(use.claim) == nullptr) {
        return NodeVerdict{
            "VolumeRestrictions", Code::kUnresolvable, {"persistentvolumeclaim \"" + use.claim + "\" not found"}};
      }
    }
    return std::nullopt;
  }
  [[nodiscard]] int one_pod_conflicts() const {
    int conflicts = 0;
    for (const auto& use : pod.claims) {
      const ClaimText* claim = find_claim(use.claim);
      const Texts& modes = claim->access_modes;
      if (use.is_ephemeral || std::find(modes.begin(), modes.end(), "ReadWriteOncePod") == modes.end()) continue;
      bool is_used = false;
      for (const auto& [key, placed] : world.pods) {
        if (placed.pod.space != pod.space || !world.nodes.contains(placed.pod.node)) continue;
        for (const auto& other : placed.pod.claims)
          is_used = is_used || (!other.is_ephemeral && other.claim == use.claim);
      }
      conflicts += is_used ? 1 : 0;
    }
    return conflicts;
  }

  // NodeVolumeLimits (7.2)
  [[nodiscard]] std::string limit_reason(const std::string& node_name) const {
    const auto csi_node = world.csi_nodes.find(node_name);
    const bool has_csi_node = csi_node != world.csi_nodes.end();
    auto fresh = keys_of(pod, has_csi_node);
    std::map<std::string, std::optional<std::int64_t>> installed;
    if (has_csi_node) {
      for (const auto& driver : csi_node->second.drivers) installed[driver.name] = driver.count;
    }
    for (const auto& [driver, handles] : fresh) {
      const auto object = world.drivers.find(driver);
      if (object == world.drivers.end() || !object->second.must_be_installed || installed.contains(driver)) continue;
      return driver + " CSI driver is not installed on the node";
    }
    const Attached there = attached(node_name);
    for (auto& [driver, handles] : fresh) {
      const auto known = installed.find(driver);
      if (known == installed.end() || !known->second) continue;
      std::int64_t count = 0;
      if (const auto all = there.all.find(driver); all != there.all.end())
        count = static_cast<std::int64_t>(all->second.size());
      if (const auto by_pods = there.by_pods.find(driver); by_pods != there.by_pods.end()) {
        for (const std::string& handle : by_pods->second) handles.erase(handle);
      }
      const auto more = static_cast<std::int64_t>(handles.size());
      if (more > 0 && count + more > *known->second) return "node(s) exceed max volume count";
    }
    return {};
  }

  // VolumeBinding (4)
  [[nodiscard]] std::optional<NodeVerdict> binding_refusal() const {
    const auto refuse = [](const std::string& text) {
      return NodeVerdict{"VolumeBinding", Code::kUnresolvable, {text}};
    };
    for (const auto& use : pod.claims) {
      const ClaimText* claim = find_claim(use.claim);
      const std::string quoted = "\"" + use.claim + "\"";
      if (claim == nullptr)
        return refuse("waiting for ephemeral volume controller to create the persistentvolumeclaim " + quoted);
      if (claim->is_lost)
        return refuse("persistentvolumeclaim " + quoted + " bound to non-existent persistentvolume \"" + claim->volume +
                      "\"");
      if (claim->is_deleting) return refuse("persistentvolumeclaim " + quoted + " is being deleted");
      if (use.is_ephemeral && claim->owner_uid != pod.uid) {
        return refuse("PVC " + claim_key(*claim) + " was not created for pod " + pod.space + "/" + pod.name +
                      " (pod is not owner)");
      }
    }
    for (const ClaimText* claim : own_claims()) {
      if (is_fully_bound(*claim)) continue;
      const auto storage_class = world.classes.find(claim->storage_class);
      const bool is_delayed = !claim->storage_class.empty() && storage_class != world.classes.end() &&
                              storage_class->second.mode == BindingMode::kWaitForFirstConsumer;
      if (!is_delayed || !claim->volume.empty()) return refuse("pod has unbound immediate PersistentVolumeClaims");
    }
    return std::nullopt;
  }
  [[nodiscard]] bool reaches(const VolumeText& volume, const std::string& node_name) const {
    const auto csi_node = world.csi_nodes.find(node_name);
    if (volume.source == VolumeSource::kMigratable && csi_node != world.csi_nodes.end()) {
      const Texts& migrated = csi_node->second.migrated_plugins;
      if (std::find(migrated.begin(), migrated.end(), volume.plugin) != migrated.end())
        return selects(volume.migrated_affinity, node_name);
    }
    return selects(volume.affinity, node_name);
  }
  /// FindMatchingVolume (4.3), its tests by number.
  [[nodiscard]] std::string find_volume(const ClaimText& claim, const std::string& node_name,
                                        const Texts& taken) const {
    const VolumeText* best = nullptr;
    for (const auto& [name, volume] : world.volumes) {
      if (volume.storage_class != claim.storage_class) continue;                 // the class's list
      if (std::find(taken.begin(), taken.end(), name) != taken.end()) continue;  // 1
      bool is_for_claim = false;
      if (volume.claim) {  // 2
        is_for_claim = volume.claim->space == claim.space && volume.claim->name == claim.name &&
                       (volume.claim->uid.empty() || volume.claim->uid == claim.uid);
        if (!is_for_claim) continue;
      }
      if (volume.capacity() < claim.request()) continue;                // 3
      if (volume.volume_mode != claim.volume_mode) continue;            // 4
      if (volume.attributes_class != claim.attributes_class) continue;  // 5
      if (volume.is_deleting) continue;                                 // 6
      const bool is_reachable = selects(volume.affinity, node_name);    // 7
      if (is_for_claim) return is_reachable ? name : std::string();     // 8
      if (volume.phase != "Available") continue;                        // 9
      const PlainLabels labels{volume.labels.begin(), volume.labels.end()};
      if (claim.selector && !plain_matches(*claim.selector, labels)) continue;  // 10
      if (!is_reachable) continue;                                              // 12
      const bool has_modes =
          std::all_of(claim.access_modes.begin(), claim.access_modes.end(), [&](const std::string& mode) {
            return std::find(volume.access_modes.begin(), volume.access_modes.end(), mode) != volume.access_modes.end();
          });
      if (!has_modes) continue;                                                     // 13
      if (best == nullptr || volume.capacity() < best->capacity()) best = &volume;  // 14
    }
    return best == nullptr ? std::string() : best->name;
  }
  /// checkProvision (4.4): can it be bound, is there storage, by which pool.
  [[nodiscard]] std::tuple<bool, bool, std::string> provision(const ClaimText& claim,
                                                              const std::string& node_name) const {
    const ClassText& storage_class = world.classes.at(claim.storage_class);
    if (storage_class.provisioner == "kubernetes.io/no-provisioner") return {false, true, ""};
    if (!storage_class.allowed.empty()) {
      const PlainLabels labels = labels_of(node_name);
      const bool is_allowed =
          std::any_of(storage_class.allowed.begin(), storage_class.allowed.end(), [&](const auto& term) {
            return !term.empty() && std::all_of(term.begin(), term.end(), [&](const TopologyText& expression) {
              return !expression.values.empty() &&
                     plain_holds(Expression{expression.key, Op::kIn, expression.values}, labels);
            });
          });
      if (!is_allowed) return {false, true, ""};
    }
    const auto driver = world.drivers.find(storage_class.provisioner);
    if (!claim.has_request || driver == world.drivers.end() || !driver->second.tracks_capacity) return {true, true, ""};
    for (const auto& [key, capacity] : world.capacities) {
      const auto limit = capacity.maximum ? capacity.maximum : capacity.capacity;
      if (capacity.storage_class != claim.storage_class || !limit || *limit < bytes_of(claim)) continue;
      if (capacity.topology && plain_matches(*capacity.topology, labels_of(node_name))) return {true, true, key};
    }
    return {true, false, ""};
  }

  // VolumeZone (7.3)
  [[nodiscard]] std::optional<NodeVerdict> zone_refusal() const {
    const auto refuse = [](const std::string& text) { return NodeVerdict{"VolumeZone", Code::kUnresolvable, {text}}; };
    for (const auto& use : pod.claims) {
      if (use.is_ephemeral) continue;
      const ClaimText* claim = find_claim(use.claim);
      if (!claim->volume.empty() && !world.volumes.contains(claim->volume))
        return refuse("persistentvolume \"" + claim->volume + "\" not found");
    }
    return std::nullopt;
  }
  [[nodiscard]] bool zones_allow(const std::string& node_name) const {
    static const Texts kKeys{"failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
                             "topology.kubernetes.io/zone", "topology.kubernetes.io/region"};
    const PlainLabels labels = labels_of(node_name);
    if (std::none_of(kKeys.begin(), kKeys.end(), [&](const std::string& key) { return labels.contains(key); }))
      return true;
    for (const auto& use : pod.claims) {
      const ClaimText* claim = find_claim(use.claim);
      if (use.is_ephemeral || claim->volume.empty()) continue;
      const VolumeText& volume = world.volumes.at(claim->volume);
      for (const auto& [key, value] : volume.labels) {
        const auto place = std::find(kKeys.begin(), kKeys.end(), key);
        const std::optional<std::set<std::string>> zones = zones_in(value);
        if (place == kKeys.end() || !zones) continue;
        const std::string ga = place - kKeys.begin() < 2 ? *(place + 2) : key;
        const auto own = labels.contains(key) ? labels.find(key) : labels.find(ga);
        if (own == labels.end() || !zones->contains(own->second)) return false;
      }
    }
    return true;
  }
  /// "a__b" as a set; nothing when an element is empty.
  [[nodiscard]] static std::optional<std::set<std::string>> zones_in(std::string text) {
    std::set<std::string> zones;
    while (true) {
      const std::size_t at = text.find("__");
      const std::string part = text.substr(0, at);
      if (part.empty()) return std::nullopt;
      zones.insert(part);
      if (at == std::string::npos) return zones;
      text = text.substr(at + 2);
    }
  }

  const World& world;
  const PodText& pod;
};

}  // namespace volsched::test
