// Host ports are indexed by protocol and port, so only nodes that use one of the pod's ports are looked at.
// Source: spec/scheduling.md 8.5.

#include <algorithm>
#include <vector>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

constexpr const char* kReason = "node(s) didn't have free ports for the requested pod ports";

/// A node's ports are a set upstream: a pod that goes frees its ports, even if another pod, bound by hand, has the
/// same ones.
class PortJudge final : public PodJudge {
 public:
  explicit PortJudge(const Cycle& cycle) : ports_(cycle.cluster.ports), wanted_(cycle.program.ports) {}

  void enter(NodeId /*row*/) override { freed_.clear(); }

  void count(const PodRow& pod, std::int32_t change) override {
    for (const HostPort& port : pod.program->ports) {
      if (change < 0) {
        freed_.push_back(port);
      } else {
        std::erase(freed_, port);
      }
    }
  }

  void mark() override { marked_ = freed_; }
  void rewind() override { freed_ = marked_; }

  [[nodiscard]] std::optional<Refusal> judge(const TriedNode& node) const override {
    for (const PodRow* pod : node.pods) {
      for (const HostPort& used : pod->program->ports) {
        if (std::find(freed_.begin(), freed_.end(), used) != freed_.end()) continue;
        for (const HostPort& port : wanted_) {
          if (ports_.conflict(port, used)) return Refusal::of(Code::kUnschedulable, kReason);
        }
      }
    }
    return std::nullopt;
  }

 private:
  const PortTable& ports_;
  const std::vector<HostPort>& wanted_;
  std::vector<HostPort> freed_;
  std::vector<HostPort> marked_;
};

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
    cycle.reject(id(), taken, Code::kUnschedulable, {kReason});
  }

  [[nodiscard]] std::unique_ptr<PodJudge> judge(Cycle& cycle) const override {
    return std::make_unique<PortJudge>(cycle);
  }
};

}  // namespace

const Plugin& node_ports_plugin() {
  static const NodePorts plugin;
  return plugin;
}

}  // namespace volsched
