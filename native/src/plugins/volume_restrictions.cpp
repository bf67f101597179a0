// Disks written into pods that only one pod may use, and ReadWriteOncePod claims. Source: spec/scheduling.md 7.1.

#include "volsched/plugin.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

class VolumeRestrictions final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kVolumeRestrictions; }
  [[nodiscard]] std::string_view name() const override { return "VolumeRestrictions"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    const ClaimTable& claims = cycle.cluster.claims;
    cycle.one_pod_conflicts = 0;
    for (const ClaimUse& use : cycle.pod.claims) {
      if (use.is_ephemeral) continue;
      const Claim& claim = claims.at(use.claim);
      if (!claim.exists)
        return PreFilterStatus::unresolvable(
            quoting("persistentvolumeclaim ", cycle.cluster.strings.view(claim.name), " not found"));
      if (claim.is_one_pod_only && claims.use_count(use.claim) > 0) ++cycle.one_pod_conflicts;
    }
    return cycle.program.disks.empty() && cycle.one_pod_conflicts == 0 ? PreFilterStatus::skip()
                                                                       : PreFilterStatus::success();
  }

  void filter_unprepared(Cycle& cycle) const override {
    if (cycle.program.disks.empty()) return;
    NodeMask taken(cycle.cluster.rows());
    for (const InlineDisk& disk : cycle.program.disks) cycle.cluster.disks.add_conflicts(disk, taken);
    cycle.reject(id(), taken, Code::kUnschedulable, {"node(s) had no available disk"});
  }

  void filter(Cycle& cycle) const override {
    filter_unprepared(cycle);
    if (cycle.one_pod_conflicts > 0) {
      cycle.reject_all(id(), Code::kUnschedulable,
                       {"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already "
                        "in-use by another pod"});
    }
  }
};

}  // namespace

const Plugin& volume_restrictions_plugin() {
  static const VolumeRestrictions plugin;
  return plugin;
}

}  // namespace volsched
