// How many volumes of a driver a node can attach. Counts and limits are columns kept by events; the pod's volumes are
// the same everywhere but for those that a node has attached already and for in-tree volumes, which count only where a
// CSINode is. A volume attached without a pod counts twice, as it does upstream. Source: spec/scheduling.md 7.2.

#include <algorithm>

#include "volsched/plugin.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

constexpr const char* kFull = "node(s) exceed max volume count";

struct NewVolumes {
  std::vector<VolumeKey> keys;  ///< ascending, each once
  std::string missing_claim;
  std::string error;
};

void sort_once(std::vector<VolumeKey>& keys) {
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
}

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
  if (found.keys.size() > 1) sort_once(found.keys);
  return found;
}

/// Drivers of the pod's volumes that have to be installed where it runs, by name.
std::vector<DriverId> drivers_to_be_installed(const Cluster& cluster, const NewVolumes& wanted) {
  std::vector<DriverId> drivers;
  for (const VolumeKey& key : wanted.keys) {
    if (cluster.attach.must_be_installed(key.driver) && (drivers.empty() || drivers.back() != key.driver))
      drivers.push_back(key.driver);
  }
  std::sort(drivers.begin(), drivers.end(), [&](DriverId a, DriverId b) {
    return cluster.strings.view(cluster.attach.driver_name(a)) < cluster.strings.view(cluster.attach.driver_name(b));
  });
  return drivers;
}

std::string not_installed(const Cluster& cluster, DriverId driver) {
  return cluster.strings.str(cluster.attach.driver_name(driver)) + " CSI driver is not installed on the node";
}

/// Upstream counts only where some driver has a limit.
bool has_limit(const Cluster& cluster, NodeId row) {
  const auto& drivers = cluster.node(row).csi_drivers;
  return std::any_of(drivers.begin(), drivers.end(),
                     [&](DriverId driver) { return cluster.attach.limit(row, driver) != AttachTable::kNoLimit; });
}

/// What is attached is found out anew from the pods that are there: few nodes are asked about, and few pods.
class LimitsJudge final : public PodJudge {
 public:
  explicit LimitsJudge(const Cycle& cycle)
      : cluster_(cycle.cluster), plain_(new_volumes(cycle, false)), migrated_(new_volumes(cycle, true)) {}

  [[nodiscard]] std::optional<Refusal> judge(const TriedNode& node) const override {
    const NewVolumes& wanted = cluster_.with_csi_node().test(node.row) ? migrated_ : plain_;
    if (!wanted.missing_claim.empty()) return Refusal::of(Code::kUnresolvable, wanted.missing_claim);
    if (!wanted.error.empty()) return Refusal::failure(wanted.error);
    if (wanted.keys.empty()) return std::nullopt;
    for (const DriverId driver : drivers_to_be_installed(cluster_, wanted)) {
      if (!cluster_.attach.installed(driver).test(node.row))
        return Refusal::of(Code::kUnschedulable, not_installed(cluster_, driver));
    }
    if (!has_limit(cluster_, node.row)) return std::nullopt;
    std::vector<VolumeKey> of_pods;
    for (const PodRow* pod : node.pods) {
      if (std::string error = cluster_.add_attached(*pod, of_pods); !error.empty())
        return Refusal::failure(std::move(error));
    }
    sort_once(of_pods);
    std::vector<VolumeKey> attached = cluster_.attachments_of(node.row);
    attached.insert(attached.end(), of_pods.begin(), of_pods.end());
    sort_once(attached);
    for (std::size_t from = 0; from < wanted.keys.size();) {
      const DriverId driver = wanted.keys[from].driver;
      std::int32_t fresh = 0;
      for (; from < wanted.keys.size() && wanted.keys[from].driver == driver; ++from)
        fresh += std::binary_search(of_pods.begin(), of_pods.end(), wanted.keys[from]) ? 0 : 1;
      const std::int32_t limit = cluster_.attach.limit(node.row, driver);
      if (fresh == 0 || limit == AttachTable::kNoLimit) continue;
      const auto there =
          std::count_if(attached.begin(), attached.end(), [&](const VolumeKey& key) { return key.driver == driver; });
      if (there + fresh > limit) return Refusal::of(Code::kUnschedulable, kFull);
    }
    return std::nullopt;
  }

 private:
  const Cluster& cluster_;
  NewVolumes plain_;     ///< where there is no CSINode
  NewVolumes migrated_;  ///< where there is one
};

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
    const bool is_everywhere = cycle.alive.is_subset_of(cluster.with_csi_node());
    if (!is_everywhere) {
      const NewVolumes wanted = new_volumes(cycle, false);
      if (!wanted.missing_claim.empty()) {
        cycle.reject_all(id(), Code::kUnresolvable, {wanted.missing_claim});
        return;
      }
      refuse_where_missing(cycle, wanted, [&] { return cycle.alive - cluster.with_csi_node(); });
    }
    const NewVolumes wanted = new_volumes(cycle, true);
    const auto with_csi_node = [&] { return cycle.alive & cluster.with_csi_node(); };
    if (!wanted.missing_claim.empty()) {
      cycle.reject(id(), with_csi_node(), Code::kUnresolvable, {wanted.missing_claim});
      return;
    }
    if (!wanted.error.empty()) {
      cycle.fail(name(), with_csi_node(), wanted.error);
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

  [[nodiscard]] std::unique_ptr<PodJudge> judge(Cycle& cycle) const override {
    return std::make_unique<LimitsJudge>(cycle);
  }

 private:
  /// `nodes` makes the mask of nodes to look at: mostly no driver has to be installed.
  template <class Nodes>
  void refuse_where_missing(Cycle& cycle, const NewVolumes& wanted, const Nodes& nodes) const {
    // of several missing drivers upstream reports any one; here the first by name
    const std::vector<DriverId> drivers = drivers_to_be_installed(cycle.cluster, wanted);
    if (drivers.empty()) return;
    const NodeMask looked_at = nodes();
    for (const DriverId driver : drivers) {
      cycle.reject(id(), looked_at - cycle.cluster.attach.installed(driver), Code::kUnschedulable,
                   {not_installed(cycle.cluster, driver)});
    }
  }

  void fail_where_uncountable(Cycle& cycle) const {
    const NodeMask suspects = cycle.alive & cycle.cluster.attach_errors();
    suspects.for_each([&](NodeId row) {
      if (!has_limit(cycle.cluster, row)) return;
      NodeMask one(cycle.cluster.rows());
      one.set(row);
      cycle.fail(name(), one, cycle.cluster.strings.str(cycle.cluster.node(row).attach_error));
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
    cycle.reject(id(), refused, Code::kUnschedulable, {kFull});
  }
};

}  // namespace

const Plugin& node_volume_limits_plugin() {
  static const NodeVolumeLimits plugin;
  return plugin;
}

}  // namespace volsched
