// A pod that names its node is looked at there only. Pods that wait for a node name none; this is for pods given to the
// engine by hand. Source: spec/scheduling.md 8.1.

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

class NodeName final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeName; }
  [[nodiscard]] std::string_view name() const override { return "NodeName"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    return cycle.pod.node == StringPool::kEmpty ? PreFilterStatus::success()
                                                : PreFilterStatus::narrow({cycle.pod.node});
  }

  void filter(Cycle& cycle) const override {
    if (cycle.pod.node == StringPool::kEmpty) return;
    NodeMask others = cycle.alive;
    const NodeId row = cycle.cluster.find_node(cycle.pod.node);
    if (row.valid()) others.reset(row);
    cycle.reject(id(), others, Code::kUnresolvable, {"node(s) didn't match the requested node name"});
  }
};

}  // namespace

const Plugin& node_name_plugin() {
  static const NodeName plugin;
  return plugin;
}

}  // namespace volsched
