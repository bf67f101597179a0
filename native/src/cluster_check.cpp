// What tests ask of a Cluster: a digest of its state and a check of its invariants.

#include <algorithm>

#include "volsched/cluster.hpp"

namespace volsched {

std::string Cluster::digest() {
  refresh_attachments();
  std::vector<std::string> lines;
  const auto name = [&](StringId id) { return id.valid() ? strings.str(id) : std::string("-"); };
  const auto number = [](std::int64_t value) { return std::string(" ").append(std::to_string(value)); };
  const auto held_text = [&](const PoolHold& hold) {
    std::string text = " holds";
    text += number(hold.bytes);
    for (const CapacityId pool : hold.pools) text.append(" ").append(pool_key(pool));
    return text;
  };
  for (std::size_t at = 0; at < nodes_.size(); ++at) {
    const NodeRow& node = nodes_[at];
    const NodeId row(at);
    if (!node.exists && !node.has_csi_node && node.pods.empty() && node.attachments.empty()) continue;
    std::string line = "node " + name(node.name) + (node.exists ? " exists" : " ghost") +
                       (unschedulable_.test(row) ? " cordoned" : "");
    std::vector<std::string> parts;
    for (const Label& label : labels.of(row)) parts.push_back(name(label.key) + "=" + name(label.value));
    for (const TaintId taint : taints.of(row)) {
      parts.push_back("taint " + name(taints.at(taint).key) + "=" + name(taints.at(taint).value) +
                      number(static_cast<int>(taints.at(taint).effect)));
    }
    for (std::size_t column = 0; column < resources.column_count(); ++column) {
      const auto& values = resources.column(column);
      if (values.allocatable[at] != 0 || values.requested[at] != 0) {
        parts.push_back(name(values.name) + number(values.allocatable[at]) + number(values.requested[at]));
      }
    }
    for (std::size_t driver = 0; driver < attach.driver_count(); ++driver) {
      const DriverId id(driver);
      if (attach.count(row, id) != 0 || attach.limit(row, id) != AttachTable::kNoLimit) {
        parts.push_back("attached " + name(attach.driver_name(id)) + number(attach.count(row, id)) +
                        number(attach.limit(row, id)));
      }
    }
    std::sort(parts.begin(), parts.end());
    for (const std::string& part : parts) line += ", " + part;
    line += ", scored" + number(resources.scored_cpu()[at]) + number(resources.scored_memory()[at]) + ", pods" +
            number(resources.pod_count()[at]) + number(resources.pod_limit()[at]);
    lines.push_back(std::move(line));
  }
  for (const PodRow& pod : pods_) {
    if (pod.exists)
      lines.push_back("pod " + name(pod.instance.space) + "/" + name(pod.instance.name) + " on " +
                      name(nodes_[pod.row.index()].name));
  }
  for (std::size_t at = 0; at < claims.size(); ++at) {
    const ClaimId id(at);
    const Claim& claim = claims.at(id);
    if (!claim.exists && claims.use_count(id) == 0 && claims.users(id).empty()) continue;
    std::string line = "claim " + claim_key(id) + (claim.exists ? " exists" : "") + " uses" +
                       number(claims.use_count(id)) + " users" +
                       number(static_cast<std::int64_t>(claims.users(id).size()));
    if (claim.volume.valid()) line += " volume " + name(volumes.at(claim.volume).name);
    if (claim.has_selected_node) line += " selected " + name(claim.selected_node);
    if (const PoolHold* hold = hold_of(id)) line += held_text(*hold);
    lines.push_back(std::move(line));
  }
  for (std::size_t at = 0; at < volumes.size(); ++at) {
    const Volume& volume = volumes.at(VolumeId(at));
    if (!volume.exists) continue;
    std::string line = "volume " + name(volume.name) + " " + name(volume.phase);
    if (volume.claim.valid()) line += " for " + claim_key(volume.claim) + " " + name(volume.claim_uid);
    const auto hold = volume_holds_.find(static_cast<std::uint32_t>(at));
    if (hold != volume_holds_.end()) line += held_text(hold->second);
    lines.push_back(std::move(line));
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

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
  return {};
}

std::vector<std::pair<std::string, std::size_t>> Cluster::bytes() const {
  std::size_t pods = pods_.capacity() * sizeof(PodRow) + pod_ids_.bytes();
  for (const PodRow& pod : pods_) pods += pod.instance.claims.capacity() * sizeof(ClaimUse);
  std::size_t node_rows = nodes_.capacity() * sizeof(NodeRow) + node_ids_.bytes();
  for (const NodeRow& node : nodes_)
    node_rows += node.pods.capacity() * sizeof(PodId) + node.csi_drivers.capacity() * sizeof(DriverId);
  return {{"text", strings.bytes()},        {"labels", labels.bytes() + label_sets.bytes()},
          {"selectors", selectors.bytes()}, {"resources", resources.bytes()},
          {"volumes", volumes.bytes()},     {"capacities", capacities.bytes()},
          {"claims", claims.bytes()},       {"attachments", attach.bytes()},
          {"pods", pods + kinds.bytes()},   {"nodes", node_rows}};
}

}  // namespace volsched
