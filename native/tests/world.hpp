#pragma once

// A cluster as lists of plain objects beside an engine that got the same objects one by one. From the lists an engine
// can be made afresh, and naive twins of plugins read them; the engine that lived through all changes must agree with
// both.

#include <memory>

#include "node_world.hpp"
#include "volsched/engine.hpp"

namespace volsched::test {

struct PodOnNode {
  ProgramText program = {};
  PodText pod = {};
};

class World {
 public:
  std::unique_ptr<Engine> engine = std::make_unique<Engine>(TieBreak::kName, 0, 100);

  std::map<std::string, NodeText> nodes;
  std::map<std::string, CsiNodeText> csi_nodes;
  std::map<std::string, CsiDriverText> drivers;
  std::map<std::string, AttachmentText> attachments;
  std::map<std::string, VolumeText> volumes;
  std::map<std::string, ClaimText> claims;  ///< by "namespace/name"
  std::map<std::string, ClassText> classes;
  std::map<std::string, CapacityText> capacities;
  std::map<std::string, PodOnNode> pods;  ///< placed ones

  [[nodiscard]] Cluster& cluster() { return engine->cluster; }
  [[nodiscard]] static std::string key_of(const std::string& space, const std::string& name) {
    return space + "/" + name;
  }

  void put(const NodeText& object) {
    cluster().put_node(object.row());
    nodes[object.name] = object;
  }
  void put(const CsiNodeText& object) {
    cluster().put_csi_node(object.row());
    csi_nodes[object.name] = object;
  }
  void put(const CsiDriverText& object) {
    cluster().put_csi_driver(object.row());
    drivers[object.name] = object;
  }
  void put(const AttachmentText& object) {
    cluster().put_attachment(object.row());
    attachments[object.name] = object;
  }
  void put(const VolumeText& object) {
    cluster().put_volume(object.row());
    volumes[object.name] = object;
  }
  void put(const ClaimText& object) {
    cluster().put_claim(object.row());
    claims[key_of(object.space, object.name)] = object;
  }
  void put(const ClassText& object) {
    cluster().put_class(object.row());
    classes[object.name] = object;
  }
  void put(const CapacityText& object) {
    cluster().put_capacity(object.row());
    capacities[key_of(object.space, object.name)] = object;
  }
  void put(const PodOnNode& object) {
    cluster().put_pod(object.program.row(), object.pod.row(), {});
    pods[key_of(object.pod.space, object.pod.name)] = object;
  }
  void remove_node(const std::string& name) {
    cluster().remove_node(name);
    nodes.erase(name);
  }
  void remove_csi_node(const std::string& name) {
    cluster().remove_csi_node(name);
    csi_nodes.erase(name);
  }
  void remove_driver(const std::string& name) {
    cluster().remove_csi_driver(name);
    drivers.erase(name);
  }
  void remove_attachment(const std::string& name) {
    cluster().remove_attachment(name);
    attachments.erase(name);
  }
  void remove_volume(const std::string& name) {
    cluster().remove_volume(name);
    volumes.erase(name);
  }
  void remove_claim(const std::string& space, const std::string& name) {
    cluster().remove_claim(space, name);
    claims.erase(key_of(space, name));
  }
  void remove_class(const std::string& name) {
    cluster().remove_class(name);
    classes.erase(name);
  }
  void remove_capacity(const std::string& space, const std::string& name) {
    cluster().remove_capacity(space, name);
    capacities.erase(key_of(space, name));
  }
  void remove_pod(const std::string& space, const std::string& name) {
    cluster().remove_pod(space, name);
    pods.erase(key_of(space, name));
  }

  /// An engine that gets the present objects in an order of its own.
  [[nodiscard]] std::unique_ptr<Engine> rebuilt() const {
    auto made = std::make_unique<Engine>(TieBreak::kName, 0, 100);
    Cluster& fresh = made->cluster;
    for (const auto& [key, object] : pods) fresh.put_pod(object.program.row(), object.pod.row(), {});
    for (const auto& [key, object] : attachments) fresh.put_attachment(object.row());
    for (const auto& [key, object] : claims) fresh.put_claim(object.row());
    for (const auto& [key, object] : capacities) fresh.put_capacity(object.row());
    for (const auto& [key, object] : volumes) fresh.put_volume(object.row());
    for (const auto& [key, object] : drivers) fresh.put_csi_driver(object.row());
    for (const auto& [key, object] : classes) fresh.put_class(object.row());
    for (const auto& [key, object] : csi_nodes) fresh.put_csi_node(object.row());
    for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) fresh.put_node(at->second.row());
    return made;
  }

  Decision decide(const PodOnNode& pending) { return decide(*engine, pending); }
  static Decision decide(Engine& with, const PodOnNode& pending, const std::vector<NodeId>* only = nullptr) {
    const ProgramPtr program = with.cluster.program(pending.program.row());
    return with.decide(program, std::make_shared<const PodInstance>(with.cluster.instance(pending.pod.row())), only);
  }
  [[nodiscard]] std::string name_of(NodeId row) {
    return row.valid() ? cluster().strings.str(cluster().node(row).name) : std::string();
  }
  [[nodiscard]] NodeId row_of(const std::string& name) { return cluster().find_node(std::string_view(name)); }
};

/// What happened to one node.
struct NodeVerdict {
  std::string plugin = {};  ///< empty: feasible
  Code code = Code::kUnschedulable;
  Texts reasons = {};
  bool operator==(const NodeVerdict&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const NodeVerdict& verdict) {
  out << (verdict.plugin.empty() ? "feasible" : verdict.plugin) << " " << code_name(verdict.code);
  for (const std::string& reason : verdict.reasons) out << ", " << reason;
  return out;
}

/// A decision by names, for engines whose rows differ.
struct PlainDecision {
  std::string error = {};
  std::optional<NodeVerdict> refusal = {};
  std::map<std::string, NodeVerdict> verdicts = {};
  std::map<std::string, std::map<std::string, std::int32_t>> scores = {};  ///< node -> plugin -> weighted
  using Steps = std::vector<std::pair<std::string, std::string>>;
  std::map<std::string, Steps> bind = {};       ///< node -> claim, volume in the plan's order
  std::map<std::string, Steps> provision = {};  ///< node -> claim, pool or nothing
  std::string chosen = {};
  std::string message = {};
  bool operator==(const PlainDecision&) const = default;
};

inline PlainDecision plain(Engine& engine, const Decision& decision) {
  PlainDecision made;
  Cluster& cluster = engine.cluster;
  const auto name = [&](NodeId row) { return cluster.strings.str(cluster.node(row).name); };
  made.error = decision.error;
  made.message = engine.message(decision);
  if (decision.is_refused)
    made.refusal = NodeVerdict{decision.refusal.plugin, decision.refusal.code, decision.refusal.reasons};
  for (const Rejected& group : decision.rejected) {
    group.nodes.for_each([&](NodeId row) {
      EXPECT_TRUE(made.verdicts.emplace(name(row), NodeVerdict{group.plugin, group.code, group.reasons}).second)
          << "refused once";
    });
  }
  if (!decision.error.empty() || decision.is_refused) return made;
  std::string error;
  const auto parts = engine.scores(decision, error);
  EXPECT_EQ(error, "");
  decision.feasible.for_each([&](NodeId row) {
    EXPECT_TRUE(made.verdicts.emplace(name(row), NodeVerdict{}).second) << "feasible and refused";
    for (const PluginScores& part : parts)
      made.scores[name(row)][std::string(part.plugin->name())] = part.weight * part.column.at(row);
  });
  decision.feasible.for_each([&](NodeId row) {
    const Plan plan = engine.plan(decision, row);
    for (const BindStep& step : plan.bind) {
      made.bind[name(row)].emplace_back(cluster.claim_key(step.claim),
                                        cluster.strings.str(cluster.volumes.at(step.volume).name));
    }
    for (const BindStep& step : plan.provision) {
      std::string pool;
      if (step.capacity.valid()) {
        const Pool& of = cluster.capacities.at(step.capacity);
        pool = cluster.strings.str(of.space) + "/" + cluster.strings.str(of.name);
      }
      made.provision[name(row)].emplace_back(cluster.claim_key(step.claim), pool);
    }
  });
  if (decision.chosen.valid()) made.chosen = name(decision.chosen);
  return made;
}

inline void expect_equal(const PlainDecision& left, const PlainDecision& right) {
  EXPECT_EQ(left.error, right.error);
  EXPECT_EQ(left.refusal, right.refusal);
  EXPECT_EQ(left.verdicts, right.verdicts);
  EXPECT_EQ(left.scores, right.scores);
  EXPECT_EQ(left.bind, right.bind);
  EXPECT_EQ(left.provision, right.provision);
  EXPECT_EQ(left.chosen, right.chosen);
  EXPECT_EQ(left.message, right.message);
}

}  // namespace volsched::test
