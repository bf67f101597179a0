#include "volsched/plugin.hpp"

namespace volsched {

std::string_view code_name(Code code) {
  return code == Code::kUnschedulable ? "Unschedulable" : "UnschedulableAndUnresolvable";
}

namespace {

template <class Reasons>
void refuse(Cycle& cycle, PluginId plugin, const NodeMask& nodes, Code code, const Reasons& reasons) {
  if (!cycle.alive.intersects(nodes)) return;
  if (cycle.wants_reasons) {
    const std::vector<std::string> texts(reasons.begin(), reasons.end());
    cycle.rejected.push_back({std::string(plugin_name(plugin)), code, texts, nodes & cycle.alive});
  }
  cycle.alive -= nodes;
}

}  // namespace

void Cycle::reject(PluginId plugin, const NodeMask& nodes, Code code, std::initializer_list<std::string_view> reasons) {
  refuse(*this, plugin, nodes, code, reasons);
}

void Cycle::reject(PluginId plugin, const NodeMask& nodes, Code code, const std::vector<std::string>& reasons) {
  refuse(*this, plugin, nodes, code, reasons);
}

void Cycle::reject_all(PluginId plugin, Code code, std::initializer_list<std::string_view> reasons) {
  const NodeMask all = alive;
  refuse(*this, plugin, all, code, reasons);
}

void Cycle::fail(std::string_view plugin, const NodeMask& nodes, std::string text) {
  if (!alive.intersects(nodes)) return;
  failures.push_back({std::string(plugin), nodes & alive, std::move(text)});
  alive -= nodes;
}

void ValueClasses::assign(std::span<const std::int32_t> values) {
  classes.restart(values.size(), 1);
  for (std::size_t row = 0; row < values.size(); ++row) {
    const std::int64_t value = values[row];
    classes.put(static_cast<std::uint32_t>(row), {&value, 1});
  }
}

std::int64_t ValueClasses::greatest(std::span<const std::uint32_t> counts) const {
  std::int64_t most = 0;
  for (std::size_t at = 0; at < counts.size(); ++at) {
    if (counts[at] != 0) most = std::max(most, classes.signature(at)[0]);
  }
  return most;
}

std::span<const Plugin* const> all_plugins() {
  static const std::array<const Plugin*, kPluginCount> kPlugins{
      &node_name_plugin(),           &node_unschedulable_plugin(),  &taint_toleration_plugin(),
      &node_affinity_plugin(),       &node_ports_plugin(),          &node_resources_fit_plugin(),
      &volume_restrictions_plugin(), &node_volume_limits_plugin(),  &volume_binding_plugin(),
      &volume_zone_plugin(),         &pod_topology_spread_plugin(), &inter_pod_affinity_plugin(),
      &balanced_allocation_plugin(), &image_locality_plugin(),      &node_declared_features_plugin(),
  };
  return kPlugins;
}

const Plugin* find_plugin(std::string_view name) {
  for (const Plugin* plugin : all_plugins()) {
    if (plugin->name() == name) return plugin;
  }
  return nullptr;
}

std::string_view plugin_name(PluginId id) {
  return all_plugins()[static_cast<std::size_t>(id)]->name();
}

CountedColumns::CountedColumns(const Cycle& cycle, const std::vector<CountedResource>& resources, Processor processor) {
  const ResourceTable& table = cycle.cluster.resources;
  const PodProgram& program = cycle.program;
  const bool is_scored = processor == Processor::kScored;
  const auto& scalars = is_scored && program.has_fit_scalars ? program.fit_scalars : program.usage.scalars;
  for (const CountedResource& resource : resources) {
    Entry& entry = entries_.emplace_back();
    entry.weight = resource.weight;
    const auto take = [&](const ResourceTable::Column& column, std::int64_t asked) {
      entry.used = &column.requested;
      entry.offered = &column.allocatable;
      entry.asked = asked;
    };
    switch (resource.kind) {
      case CountedResource::Kind::kCpu:
        take(table.column(ResourceTable::kCpu), is_scored ? program.fit_milli_cpu : program.usage.milli_cpu);
        if (is_scored) entry.used = &table.scored_cpu();
        break;
      case CountedResource::Kind::kMemory:
        take(table.column(ResourceTable::kMemory), is_scored ? program.fit_memory_bytes : program.usage.memory_bytes);
        if (is_scored) entry.used = &table.scored_memory();
        break;
      case CountedResource::Kind::kEphemeral:
        take(table.column(ResourceTable::kEphemeral), program.usage.ephemeral_bytes);
        break;
      case CountedResource::Kind::kScalar: {
        const ResourceTable::Column* column = table.find_scalar(resource.name);
        std::int64_t asked = 0;
        for (const auto& [scalar, amount] : scalars) {
          if (table.scalar_column(scalar).name == resource.name) asked = amount;
        }
        if (column != nullptr && asked != 0) take(*column, asked);
        break;
      }
    }
  }
}

bool CountedColumns::read(std::size_t at, std::size_t row, CountedAmounts& amounts) const {
  const Entry& entry = entries_[at];
  if (entry.used == nullptr || (*entry.offered)[row] == 0) return false;
  amounts = {(*entry.used)[row], (*entry.offered)[row], entry.asked};
  return true;
}

}  // namespace volsched
