#pragma once

#include <span>

#include "volsched/plugin.hpp"

namespace volsched {

// VolumeBinding's exact capacity: all claims of a pod against all pools of a node, with what others hold in them left
// out. The rules in plain words are volsched/rules/exact_capacity.py; docs/decisions/0009 says why.

/// Whether provisioning a claim is a question of free storage.
[[nodiscard]] bool draws_on_pools(const Cluster& cluster, ClaimId id);
/// Whether a claim of the pod, without a volume yet, holds room from an earlier attempt.
[[nodiscard]] bool has_own_holds(const Cycle& cycle);
/// Whether claims of the pod could get in each other's way, so that asking for each alone does not decide.
[[nodiscard]] bool needs_joint_fit(const Cycle& cycle);
/// Whether some pool of the node has room for the claim, the pod's other claims aside.
[[nodiscard]] bool fits_alone(const Cycle& cycle, ClaimId id, NodeId row);
/// A pool for each claim that draws on one, beside the others. A claim that comes twice is one volume.
const VolumeState::JointFit& joint_fit(Cycle& cycle, NodeId row, std::span<const ClaimId> provisioned);

}  // namespace volsched
