#include "volsched/exact_capacity.hpp"

#include <algorithm>

namespace volsched {

namespace {

bool are_grouped(const Cluster& cluster, ClassId left, ClassId right) {
  return left == right || share_storage(cluster.classes.at(left), cluster.classes.at(right));
}

std::int64_t asked_bytes(const Claim& claim) {
  return std::max<std::int64_t>(0, claim.request_bytes);
}

/// Bytes that the pod's own claims hold in a pool.
Int128 own_held(const Cycle& cycle, CapacityId pool) {
  Int128 bytes = 0;
  for (const ClaimId claim : cycle.volume_state.delayed) {
    const PoolHold* hold = cycle.cluster.hold_of(claim);
    if (hold != nullptr && std::find(hold->pools.begin(), hold->pools.end(), pool) != hold->pools.end())
      bytes += hold->bytes;
  }
  return bytes;
}

PackBin bin_of(const Cycle& cycle, CapacityId id) {
  const Pool& pool = cycle.cluster.capacities.at(id);
  PackBin bin;
  bin.has_room = pool.has_capacity;
  if (bin.has_room) bin.room = cycle.cluster.capacities.room(id) + own_held(cycle, id);
  bin.has_maximum = pool.has_maximum;
  bin.maximum = pool.maximum_bytes;
  return bin;
}

/// The pools in which a claim holds room already; empty when none of them serves it here.
std::vector<CapacityId> kept(const Cluster& cluster, ClaimId id, const std::vector<CapacityId>& reached) {
  std::vector<CapacityId> found;
  const PoolHold* hold = cluster.hold_of(id);
  if (hold == nullptr) return found;
  for (const CapacityId pool : reached) {
    if (std::find(hold->pools.begin(), hold->pools.end(), pool) != hold->pools.end()) found.push_back(pool);
  }
  return found;
}

/// Place the claims of one group; the answer is written into `fit`.
void place_group(Cycle& cycle, NodeId row, const std::vector<std::size_t>& group, VolumeState::JointFit& fit) {
  const Cluster& cluster = cycle.cluster;
  std::vector<std::vector<CapacityId>> choices;
  std::vector<CapacityId> pools;
  for (const std::size_t at : group) {
    const ClaimId id = fit.claims[at].claim;
    std::vector<CapacityId> reached =
        cluster.capacities.reach(cluster.claims.at(id).storage_class, row, cluster.strings);
    for (const CapacityId pool : reached) {
      pools.push_back(pool);
      for (const CapacityId sibling : cluster.capacities.siblings(pool, cluster.classes, cluster.strings)) {
        if (cluster.capacities.at(sibling).has_limit()) pools.push_back(sibling);
      }
    }
    std::vector<CapacityId> held = kept(cluster, id, reached);
    fit.claims[at].is_kept = !held.empty();
    choices.push_back(held.empty() ? std::move(reached) : std::move(held));
  }
  cluster.capacities.sort(pools, cluster.strings);
  pools.erase(std::unique(pools.begin(), pools.end()), pools.end());
  const auto position = [&](CapacityId pool) {
    return static_cast<std::uint32_t>(std::find(pools.begin(), pools.end(), pool) - pools.begin());
  };
  std::vector<PackBin> bins;
  for (const CapacityId pool : pools) {
    PackBin& bin = bins.emplace_back(bin_of(cycle, pool));
    for (const CapacityId sibling : cluster.capacities.siblings(pool, cluster.classes, cluster.strings)) {
      if (const std::uint32_t number = position(sibling); number < pools.size()) bin.siblings.push_back(number);
    }
  }
  std::vector<PackItem> items;
  for (std::size_t at = 0; at < group.size(); ++at) {
    PackItem& item = items.emplace_back(PackItem{asked_bytes(cluster.claims.at(fit.claims[group[at]].claim)), {}});
    for (const CapacityId pool : choices[at]) item.bins.push_back(position(pool));
  }
  const Packing packing = pack(items, bins, cycle.profile.capacity_steps_max);
  if (packing.verdict == PackVerdict::kUndecided && fit.verdict == PackVerdict::kFits)
    fit.verdict = PackVerdict::kUndecided;
  if (packing.verdict == PackVerdict::kLacks) fit.verdict = PackVerdict::kLacks;
  for (std::size_t at = 0; at < packing.bins.size(); ++at) {
    const std::uint32_t number = packing.bins[at];
    fit.claims[group[at]].pool = pools[number];
    fit.claims[group[at]].room = bins[number].has_room ? static_cast<std::int64_t>(bins[number].room) : 0;
  }
}

}  // namespace

bool draws_on_pools(const Cluster& cluster, ClaimId id) {
  const Claim& claim = cluster.claims.at(id);
  return claim.has_request && cluster.attach.tracks_capacity(cluster.classes.at(claim.storage_class).driver);
}

bool has_own_holds(const Cycle& cycle) {
  const auto& delayed = cycle.volume_state.delayed;
  return std::any_of(delayed.begin(), delayed.end(),
                     [&](ClaimId claim) { return cycle.cluster.hold_of(claim) != nullptr; });
}

bool needs_joint_fit(const Cycle& cycle) {
  const Cluster& cluster = cycle.cluster;
  const auto& delayed = cycle.volume_state.delayed;
  for (std::size_t at = 1; at < delayed.size(); ++at) {
    if (!draws_on_pools(cluster, delayed[at])) continue;
    for (std::size_t before = 0; before < at; ++before) {
      if (draws_on_pools(cluster, delayed[before]) && are_grouped(cluster, cluster.claims.at(delayed[at]).storage_class,
                                                                  cluster.claims.at(delayed[before]).storage_class))
        return true;
    }
  }
  return false;
}

bool fits_alone(const Cycle& cycle, ClaimId id, NodeId row) {
  const Cluster& cluster = cycle.cluster;
  const std::vector<CapacityId> reached =
      cluster.capacities.reach(cluster.claims.at(id).storage_class, row, cluster.strings);
  const std::vector<CapacityId> held = kept(cluster, id, reached);
  const std::vector<CapacityId>& choices = held.empty() ? reached : held;
  return std::any_of(choices.begin(), choices.end(), [&](CapacityId pool) {
    return bin_of(cycle, pool).takes_alone(asked_bytes(cluster.claims.at(id)));
  });
}

const VolumeState::JointFit& joint_fit(Cycle& cycle, NodeId row, std::span<const ClaimId> provisioned) {
  const Cluster& cluster = cycle.cluster;
  VolumeState& state = cycle.volume_state;
  // Nodes that see the same pools of every class get the same answer. Pools that share a storage have one topology, so
  // the classes of the claims tell it all.
  std::vector<std::uint32_t>& key = state.joint_key;
  key.clear();
  for (const ClaimId id : provisioned) {
    if (!draws_on_pools(cluster, id)) continue;
    key.push_back(id.value());
    key.push_back(cluster.capacities.profile_of(cluster.claims.at(id).storage_class, row).value());
  }
  const auto known = state.joint_fits.find(key);
  if (known != state.joint_fits.end()) return known->second;
  VolumeState::JointFit fit;
  std::vector<std::vector<std::size_t>> groups;
  for (const ClaimId id : provisioned) {
    if (!draws_on_pools(cluster, id) || fit.find(id) != nullptr) continue;
    const std::size_t at = fit.claims.size();
    fit.claims.push_back({id, {}, 0, false});
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const std::vector<std::size_t>& members) {
      return are_grouped(cluster, cluster.claims.at(id).storage_class,
                         cluster.claims.at(fit.claims[members.front()].claim).storage_class);
    });
    if (group == groups.end()) {
      groups.push_back({at});
    } else {
      group->push_back(at);
    }
  }
  for (const auto& group : groups) place_group(cycle, row, group, fit);
  return state.joint_fits.emplace(key, std::move(fit)).first->second;
}

}  // namespace volsched
