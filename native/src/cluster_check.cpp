// What tests ask of a Cluster: whether its invariants hold; and how much memory it takes.

#include <algorithm>

#include "volsched/cluster.hpp"

namespace volsched {

std::string Cluster::validate() {
  refresh_attachments();
  for (auto problem :
       {labels.validate(), selectors.validate(labels, strings), order.validate(), attach.validate(),
        volumes.validate(selectors, label_sets, strings, rows()), capacities.validate(selectors, strings, rows()),
        node_ids_.validate(), pod_ids_.validate(), unschedulable_.validate(), kinds.validate()}) {
    if (!problem.empty()) return problem;
  }
  std::vector<Int128> held(capacities.size(), 0);
  for (const Holds* holds : {&claim_holds_, &volume_holds_}) {
    for (const auto& [holder, hold] : *holds) {
      for (const CapacityId pool : hold.pools) held[pool.index()] += hold.bytes;
    }
  }
  for (std::size_t pool = 0; pool < held.size(); ++pool) {
    if (held[pool] != capacities.held(CapacityId(pool)))
      return "Cluster: what is held in pool " + pool_key(CapacityId(pool)) + " is not the sum of its holders";
  }
  std::vector<std::int64_t> pods_on(nodes_.size(), 0);
  std::vector<std::int64_t> cpu_on(nodes_.size(), 0);
  for (std::size_t id = 0; id < pods_.size(); ++id) {
    const PodRow& pod = pods_[id];
    if (!pod.exists) continue;
    ++pods_on[pod.row.index()];
    cpu_on[pod.row.index()] += pod.used().milli_cpu;
    const auto& listed = nodes_[pod.row.index()].pods;
    if (std::find(listed.begin(), listed.end(), PodId(id)) == listed.end())
      return "Cluster: pod " + std::to_string(id) + " is not listed by its node";
  }
  for (std::size_t row = 0; row < nodes_.size(); ++row) {
    if (nodes_[row].exists != labels.live().test(NodeId(row)))
      return "Cluster: row " + std::to_string(row) + " is live without a node or the reverse";
    if (pods_on[row] != resources.pod_count()[row] ||
        cpu_on[row] != resources.column(ResourceTable::kCpu).requested[row]) {
      return "Cluster: the sums of row " + std::to_string(row) + " are not those of its pods";
    }
  }
  std::vector<std::vector<ClaimId>> claims_of(claims_of_volume_.size());
  for (std::size_t at = 0; at < claims.size(); ++at) {
    const VolumeId volume = claims.at(ClaimId(at)).volume;
    if (!volume.valid()) continue;
    if (volume.index() >= claims_of.size()) return "Cluster: a claim is not listed by its volume";
    claims_of[volume.index()].push_back(ClaimId(at));
  }
  for (std::size_t at = 0; at < claims_of.size(); ++at) {
    std::vector<ClaimId> listed = claims_of_volume_[at];
    std::sort(listed.begin(), listed.end());
    if (listed != claims_of[at]) return "Cluster: volume " + std::to_string(at) + " lists other claims than name it";
  }
  return {};
}

std::vector<std::pair<std::string, std::size_t>> Cluster::bytes() const {
  std::size_t pods = pods_.bytes() + pod_ids_.bytes();
  for (const PodRow& pod : pods_) pods += pod.instance.claims.capacity() * sizeof(ClaimUse);
  std::size_t node_rows = nodes_.bytes() + node_ids_.bytes();
  for (const NodeRow& node : nodes_)
    node_rows += node.pods.capacity() * sizeof(PodId) + node.csi_drivers.capacity() * sizeof(DriverId);
  return {{"text", strings.bytes()},        {"labels", labels.bytes() + label_sets.bytes()},
          {"selectors", selectors.bytes()}, {"resources", resources.bytes()},
          {"volumes", volumes.bytes()},     {"capacities", capacities.bytes()},
          {"claims", claims.bytes()},       {"attachments", attach.bytes()},
          {"pods", pods + kinds.bytes()},   {"nodes", node_rows}};
}

}  // namespace volsched
