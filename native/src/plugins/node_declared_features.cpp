// Kubelet features that the pod's spec implies have to be declared by the node. Source: spec/scheduling.md 1.1.

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

class NodeDeclaredFeatures final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kNodeDeclaredFeatures; }
  [[nodiscard]] std::string_view name() const override { return "NodeDeclaredFeatures"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    return cycle.program.features.empty() ? PreFilterStatus::skip() : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    NodeMask lacking(cycle.cluster.rows());
    for (const StringId feature : cycle.program.features) {
      const NodeSet* with = cycle.cluster.features.nodes(feature);
      lacking |= with == nullptr ? cycle.alive : with->outside(cycle.alive);
    }
    cycle.reject(id(), lacking, Code::kUnresolvable, {"node(s) didn't match Pod's required features"});
  }
};

}  // namespace

const Plugin& node_declared_features_plugin() {
  static const NodeDeclaredFeatures plugin;
  return plugin;
}

}  // namespace volsched
