// Host ports are indexed by protocol and port, so only nodes that use one of the pod's ports are looked at.
// Source: spec/scheduling.md 8.5.

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

class NodePorts final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodePorts; }
  [[nodiscard]] std::string_view name() const override { return "NodePorts"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    return cycle.program.ports.empty() ? PreFilterStatus::skip() : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    NodeMask taken(cycle.cluster.rows());
    for (const HostPort& port : cycle.program.ports) cycle.cluster.ports.add_conflicts(port, taken);
    cycle.reject(id(), taken, Code::kUnschedulable, {"node(s) didn't have free ports for the requested pod ports"});
  }
};

}  // namespace

const Plugin& node_ports_plugin() {
  static const NodePorts plugin;
  return plugin;
}

}  // namespace volsched
