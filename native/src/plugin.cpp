#include "volsched/plugin.hpp"

namespace volsched {

std::string_view code_name(Code code) {
  return code == Code::kUnschedulable ? "Unschedulable" : "UnschedulableAndUnresolvable";
}

void Cycle::reject(PluginId plugin, const NodeMask& nodes, Code code, std::vector<std::string> reasons) {
  if (!alive.intersects(nodes)) return;
  rejected.push_back({std::string(plugin_name(plugin)), code, std::move(reasons), nodes & alive});
  alive -= nodes;
}

void Cycle::reject_all(PluginId plugin, Code code, std::vector<std::string> reasons) {
  if (alive.none()) return;
  rejected.push_back({std::string(plugin_name(plugin)), code, std::move(reasons), alive});
  alive.clear();
}

void Cycle::fail(PluginId plugin, const NodeMask& nodes, std::string text) {
  if (!alive.intersects(nodes)) return;
  failures.push_back({plugin, nodes & alive, std::move(text)});
  alive -= nodes;
}

std::span<const Plugin* const> default_profile() {
  static const std::array<const Plugin*, kPluginCount> kProfile{
      &node_name_plugin(),           &node_unschedulable_plugin(),  &taint_toleration_plugin(),
      &node_affinity_plugin(),       &node_ports_plugin(),          &node_resources_fit_plugin(),
      &volume_restrictions_plugin(), &node_volume_limits_plugin(),  &volume_binding_plugin(),
      &volume_zone_plugin(),         &pod_topology_spread_plugin(), &inter_pod_affinity_plugin(),
      &balanced_allocation_plugin(), &image_locality_plugin(),      &node_declared_features_plugin(),
  };
  return kProfile;
}

std::string_view plugin_name(PluginId id) {
  static constexpr std::array<std::string_view, kPluginCount> kNames{
      "NodeName",
      "NodeUnschedulable",
      "TaintToleration",
      "NodeAffinity",
      "NodePorts",
      "NodeResourcesFit",
      "VolumeRestrictions",
      "NodeVolumeLimits",
      "VolumeBinding",
      "VolumeZone",
      "PodTopologySpread",
      "InterPodAffinity",
      "NodeResourcesBalancedAllocation",
      "ImageLocality",
      "NodeDeclaredFeatures",
  };
  return kNames[static_cast<std::size_t>(id)];
}

}  // namespace volsched
