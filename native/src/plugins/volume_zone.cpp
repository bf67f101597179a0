// Bound volumes that carry zone or region labels keep the pod there. Each label is an indexed node selector, so the
// filter is set algebra. Source: spec/scheduling.md 7.3.

#include <algorithm>

#include "volsched/plugin.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

constexpr std::array<std::string_view, 4> kTopologyKeys{"failure-domain.beta.kubernetes.io/zone",
                                                        "failure-domain.beta.kubernetes.io/region",
                                                        "topology.kubernetes.io/zone", "topology.kubernetes.io/region"};

class VolumeZone final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kVolumeZone; }
  [[nodiscard]] std::string_view name() const override { return "VolumeZone"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    Cluster& cluster = cycle.cluster;
    cycle.zone_selectors.clear();
    cycle.has_zones = true;
    for (const ClaimUse& use : cycle.pod.claims) {
      if (use.is_ephemeral) continue;
      const Claim& claim = cluster.claims.at(use.claim);
      if (claim.name == StringPool::kEmpty) return PreFilterStatus::unresolvable("PersistentVolumeClaim had no name");
      if (!claim.exists)
        return PreFilterStatus::unresolvable(
            quoting("persistentvolumeclaim ", cluster.strings.view(claim.name), " not found"));
      if (!claim.volume.valid()) {
        if (!claim.has_class)
          return PreFilterStatus::unresolvable("PersistentVolumeClaim had no pv name and storageClass name");
        const StorageClass& storage_class = cluster.classes.at(claim.storage_class);
        const std::string_view class_name = cluster.strings.view(storage_class.name);
        if (!storage_class.exists)
          return PreFilterStatus::unresolvable(quoting("storageclass.storage.k8s.io ", class_name, " not found"));
        if (storage_class.mode == BindingMode::kUnset) {
          return PreFilterStatus::unresolvable(quoting("VolumeBindingMode not set for StorageClass ", class_name));
        }
        if (storage_class.mode == BindingMode::kWaitForFirstConsumer) continue;
        return PreFilterStatus::unresolvable("PersistentVolume had no name");
      }
      const Volume& volume = cluster.volumes.at(claim.volume);
      if (!volume.exists)
        return PreFilterStatus::unresolvable(
            quoting("persistentvolume ", cluster.strings.view(volume.name), " not found"));
      const Labels labels = cluster.label_sets.at(volume.labels);
      for (const Label& label : labels) {
        const std::string_view key = cluster.strings.view(label.key);
        if (std::find(kTopologyKeys.begin(), kTopologyKeys.end(), key) == kTopologyKeys.end()) continue;
        const SelectorId selector = cluster.zone_selector(label);
        if (selector.valid()) cycle.zone_selectors.push_back(selector);
      }
    }
    return cycle.zone_selectors.empty() ? PreFilterStatus::skip() : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    if (!cycle.has_zones) {  // in a profile without its pre_filter
      PreFilterStatus status = pre_filter(cycle);
      if (status.kind == PreFilterStatus::Kind::kUnresolvable) {
        cycle.reject_all(id(), Code::kUnresolvable, {std::move(status.text)});
        return;
      }
    }
    for (const SelectorId selector : cycle.zone_selectors) {
      cycle.reject(id(), cycle.cluster.selectors.nodes(selector).outside(cycle.alive), Code::kUnresolvable,
                   {"node(s) had no available volume zone"});
    }
  }
};

}  // namespace

const Plugin& volume_zone_plugin() {
  static const VolumeZone plugin;
  return plugin;
}

}  // namespace volsched
