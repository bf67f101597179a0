// Disks written into pods that only one pod may use, and ReadWriteOncePod claims. Source: spec/scheduling.md 7.1.

#include <algorithm>

#include "volsched/plugin.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

constexpr const char* kDiskReason = "node(s) had no available disk";
constexpr const char* kClaimReason =
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

/// Claims that take one pod are known by their names here: upstream does not compare namespaces when it follows pods
/// that come and go, and counts every reference of such a pod.
class RestrictionsJudge final : public PodJudge {
 public:
  RestrictionsJudge(const Cycle& cycle, bool counts_claims)
      : disks_(cycle.program.disks), conflicts_before_(counts_claims ? cycle.one_pod_conflicts : 0) {
    if (!counts_claims) return;
    for (const ClaimUse& use : cycle.pod.claims) {
      const Claim& claim = cycle.cluster.claims.at(use.claim);
      if (!use.is_ephemeral && claim.is_one_pod_only) names_.push_back(claim.name);
    }
    claims_ = &cycle.cluster.claims;
  }

  void enter(NodeId) override { conflicts_ = conflicts_before_; }

  void count(const PodRow& pod, std::int32_t change) override {
    if (names_.empty()) return;
    for (const ClaimUse& use : pod.instance.claims) {
      if (use.is_ephemeral) continue;
      if (std::find(names_.begin(), names_.end(), claims_->at(use.claim).name) != names_.end()) conflicts_ += change;
    }
  }

  [[nodiscard]] std::optional<Refusal> judge(const TriedNode& node) const override {
    for (const InlineDisk& disk : disks_) {
      for (const PodRow* pod : node.pods) {
        for (const InlineDisk& used : pod->program->disks) {
          if (disk.conflicts(used)) return Refusal::of(Code::kUnschedulable, kDiskReason);
        }
      }
    }
    if (conflicts_ > 0) return Refusal::of(Code::kUnschedulable, kClaimReason);
    return std::nullopt;
  }

 private:
  const std::vector<InlineDisk>& disks_;
  const ClaimTable* claims_ = nullptr;
  std::vector<StringId> names_;  ///< of the pod's claims that take one pod
  std::int32_t conflicts_before_;
  std::int32_t conflicts_ = 0;
};

class VolumeRestrictions final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kVolumeRestrictions; }
  [[nodiscard]] std::string_view name() const override { return "VolumeRestrictions"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    const ClaimTable& claims = cycle.cluster.claims;
    std::vector<ClaimId> taken;
    for (const ClaimUse& use : cycle.pod.claims) {
      if (use.is_ephemeral) continue;
      const Claim& claim = claims.at(use.claim);
      if (!claim.exists)
        return PreFilterStatus::unresolvable(
            quoting("persistentvolumeclaim ", cycle.cluster.strings.view(claim.name), " not found"));
      if (!claim.is_one_pod_only || claims.use_count(use.claim) <= 0) continue;
      if (std::find(taken.begin(), taken.end(), use.claim) == taken.end()) taken.push_back(use.claim);
    }
    cycle.one_pod_conflicts = static_cast<std::int32_t>(taken.size());
    return cycle.program.disks.empty() && cycle.one_pod_conflicts == 0 ? PreFilterStatus::skip()
                                                                       : PreFilterStatus::success();
  }

  void filter_unprepared(Cycle& cycle) const override {
    if (cycle.program.disks.empty()) return;
    NodeMask taken(cycle.cluster.rows());
    for (const InlineDisk& disk : cycle.program.disks) cycle.cluster.disks.add_conflicts(disk, taken);
    cycle.reject(id(), taken, Code::kUnschedulable, {kDiskReason});
  }

  void filter(Cycle& cycle) const override {
    filter_unprepared(cycle);
    if (cycle.one_pod_conflicts > 0) cycle.reject_all(id(), Code::kUnschedulable, {kClaimReason});
  }

  [[nodiscard]] std::unique_ptr<PodJudge> judge(Cycle& cycle) const override {
    return std::make_unique<RestrictionsJudge>(cycle, true);
  }

  [[nodiscard]] std::unique_ptr<PodJudge> judge_unprepared(Cycle& cycle) const override {
    return std::make_unique<RestrictionsJudge>(cycle, false);
  }
};

}  // namespace

const Plugin& volume_restrictions_plugin() {
  static const VolumeRestrictions plugin;
  return plugin;
}

}  // namespace volsched
