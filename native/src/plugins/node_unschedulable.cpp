// Cordoned nodes take only pods that tolerate the taint which stands for being cordoned. Source:
// spec/scheduling.md 8.2.

#include <algorithm>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

class NodeUnschedulable final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeUnschedulable; }
  [[nodiscard]] std::string_view name() const override { return "NodeUnschedulable"; }

  void filter(Cycle& cycle) const override {
    if (!cycle.alive.intersects(cycle.cluster.unschedulable())) return;
    const Taint taint{cycle.cluster.strings.find("node.kubernetes.io/unschedulable"), StringPool::kEmpty,
                      TaintEffect::kNoSchedule};
    const auto& tolerations = cycle.program.tolerations;
    if (std::any_of(tolerations.begin(), tolerations.end(),
                    [&](const Toleration& toleration) { return toleration.tolerates(taint); }))
      return;
    cycle.reject(id(), cycle.cluster.unschedulable(), Code::kUnresolvable, {"node(s) were unschedulable"});
  }
};

}  // namespace

const Plugin& node_unschedulable_plugin() {
  static const NodeUnschedulable plugin;
  return plugin;
}

}  // namespace volsched
