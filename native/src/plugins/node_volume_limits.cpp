// How many volumes of a driver a node can attach. Counts and limits are columns kept by events; the pod's volumes are
// the same everywhere but for those that a node has attached already and for in-tree volumes, which count only where a
// CSINode is. A volume attached without a pod counts twice, as it does upstream. Source: spec/scheduling.md 7.2.

#include <algorithm>

#include "volsched/plugin.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

struct NewVolumes {
  std::vector<VolumeKey> keys;  ///< ascending, each once
  std::string missing_claim;
  std::string error;
};

NewVolumes new_volumes(const Cycle& cycle, bool migrated) {
  NewVolumes found;
  for (const ClaimUse& use : cycle.pod.claims) {
    const Claim& claim = cycle.cluster.claims.at(use.claim);
    if (!claim.exists) {
      found.missing_claim = "looking up PVC " + cycle.cluster.claim_key(use.claim) + ": ";
      found.missing_claim += quoting("persistentvolumeclaim ", cycle.cluster.strings.view(claim.name), " not found");
      return found;
    }
    VolumeKey key;
    if (cycle.cluster.key_of(use.claim, migrated, key)) found.keys.push_back(key);
  }
  if (migrated) {
    for (const InlineVolume& volume : cycle.program.inline_volumes) {
      if (!volume.error.empty()) {
        found.error = volume.error;
        return found;
      }
      found.keys.push_back({volume.driver, volume.handle});
    }
  }
  std::sort(found.keys.begin(), found.keys.end());
  found.keys.erase(std::unique(found.keys.begin(), found.keys.end()), found.keys.end());
  return found;
}

class NodeVolumeLimits final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeVolumeLimits; }
  [[nodiscard]] std::string_view name() const override { return "NodeVolumeLimits"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    return cycle.pod.claims.empty() && cycle.program.inline_volumes.empty() ? PreFilterStatus::skip()
                                                                            : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    if (cycle.alive.none()) return;
    Cluster& cluster = cycle.cluster;
    const NodeMask without_csi_node = cycle.alive - cluster.with_csi_node();
    if (without_csi_node.any()) {
      const NewVolumes wanted = new_volumes(cycle, false);
      if (!wanted.missing_claim.empty()) {
        cycle.reject_all(id(), Code::kUnresolvable, {wanted.missing_claim});
        return;
      }
      refuse_where_missing(cycle, wanted, without_csi_node);
    }
    const NewVolumes wanted = new_volumes(cycle, true);
    const NodeMask with_csi_node = cycle.alive & cluster.with_csi_node();
    if (!wanted.missing_claim.empty()) {
      cycle.reject(id(), with_csi_node, Code::kUnresolvable, {wanted.missing_claim});
      return;
    }
    if (!wanted.error.empty()) {
      cycle.fail(name(), with_csi_node, wanted.error);
      return;
    }
    if (wanted.keys.empty()) return;
    refuse_where_missing(cycle, wanted, with_csi_node);

    cluster.refresh_attachments();
    if (cycle.alive.intersects(cluster.attach_errors())) fail_where_uncountable(cycle);
    for (std::size_t from = 0; from < wanted.keys.size();) {
      const DriverId driver = wanted.keys[from].driver;
      std::size_t to = from;
      while (to < wanted.keys.size() && wanted.keys[to].driver == driver) ++to;
      refuse_where_full(cycle, driver, {wanted.keys.data() + from, to - from});
      from = to;
    }
  }

 private:
  void refuse_where_missing(Cycle& cycle, const NewVolumes& wanted, const NodeMask& nodes) const {
    // of several missing drivers upstream reports any one; here the first by name
    std::vector<DriverId> drivers;
    for (const VolumeKey& key : wanted.keys) {
      if (cycle.cluster.attach.must_be_installed(key.driver) && (drivers.empty() || drivers.back() != key.driver))
        drivers.push_back(key.driver);
    }
    const auto name_of = [&](DriverId driver) {
      return cycle.cluster.strings.str(cycle.cluster.attach.driver_name(driver));
    };
    std::sort(drivers.begin(), drivers.end(), [&](DriverId a, DriverId b) { return name_of(a) < name_of(b); });
    for (const DriverId driver : drivers) {
      cycle.reject(id(), nodes - cycle.cluster.attach.installed(driver), Code::kUnschedulable,
                   {name_of(driver) + " CSI driver is not installed on the node"});
    }
  }

  void fail_where_uncountable(Cycle& cycle) const {
    // Upstream counts only where some driver has a limit.
    const NodeMask suspects = cycle.alive & cycle.cluster.attach_errors();
    suspects.for_each([&](NodeId row) {
      const NodeRow& node = cycle.cluster.node(row);
      const bool has_limit = std::any_of(node.csi_drivers.begin(), node.csi_drivers.end(), [&](DriverId driver) {
        return cycle.cluster.attach.limit(row, driver) != AttachTable::kNoLimit;
      });
      if (!has_limit) return;
      NodeMask one(cycle.cluster.rows());
      one.set(row);
      cycle.fail(name(), one, cycle.cluster.strings.str(node.attach_error));
    });
  }

  void refuse_where_full(Cycle& cycle, DriverId driver, std::span<const VolumeKey> keys) const {
    AttachTable& attach = cycle.cluster.attach;
    const auto more = static_cast<std::int32_t>(keys.size());
    const NodeMask& full = attach.full_for(driver, more);
    if (!cycle.alive.intersects(full)) return;
    NodeMask refused = full & cycle.alive;
    // nodes where a pod uses some of the volumes already: those are not new there
    for (const VolumeKey& key : keys) {
      attach.for_nodes_of(key, [&](NodeId row) {
        if (!refused.test(row)) return;
        std::int32_t fresh = 0;
        for (const VolumeKey& each : keys) {
          bool is_there = false;
          attach.for_nodes_of(each, [&](NodeId other) { is_there = is_there || other == row; });
          fresh += is_there ? 0 : 1;
        }
        refused.assign(row, fresh > 0 && attach.exceeds(row, driver, fresh));
      });
    }
    cycle.reject(id(), refused, Code::kUnschedulable, {"node(s) exceed max volume count"});
  }
};

}  // namespace

const Plugin& node_volume_limits_plugin() {
  static const NodeVolumeLimits plugin;
  return plugin;
}

}  // namespace volsched
