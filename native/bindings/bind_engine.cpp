#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "holder.hpp"
#include "volsched/error.hpp"

namespace volsched::bindings {

namespace {

using namespace pybind11::literals;

TieBreak to_tie_break(const std::string& name) {
  if (name == "first") return TieBreak::kFirst;
  if (name == "name") return TieBreak::kName;
  if (name == "random") return TieBreak::kRandom;
  if (name == "kube") return TieBreak::kKube;
  throw Error("tie_break must be first, name, random or kube, not \"" + name + "\"");
}

/// A read-only array in node order.
template <class Value>
py::array_t<Value> column_in_order(Engine& engine, const std::vector<Value>& by_row) {
  const std::vector<NodeId> order = engine.cluster.order.next();
  py::array_t<Value> made(static_cast<py::ssize_t>(order.size()));
  Value* to = made.mutable_data();
  for (const NodeId row : order) *to++ = by_row[row.index()];
  py::detail::array_proxy(made.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return made;
}

const ResourceTable::Column& resource_named(const Cluster& cluster, const std::string& name) {
  return cluster.resources.column(resource_index(cluster, name));
}

HeldDecision decide(const HolderPtr& holder, const py::bytes& program, const py::bytes& instance,
                    const std::optional<std::vector<std::string>>& only, const HeldProfile& given,
                    const PromisedRows& beside, bool choose) {
  HeldDecision held{holder, {}};
  const PromisedViews promised(beside);
  ProfilePtr profile = given.profile;
  const std::string_view program_row = view(program);
  const std::string_view instance_row = view(instance);
  const py::gil_scoped_release release;
  const std::lock_guard lock(holder->mutex);
  Engine& engine = *holder->engine;
  std::vector<NodeId> rows;
  if (only) {
    for (const std::string& name : *only) rows.push_back(node_named(engine.cluster, name));
  }
  const ProgramPtr compiled = engine.cluster.program(program_row);
  auto pod = std::make_shared<const PodInstance>(engine.cluster.instance(instance_row));
  const std::vector<NodeId>* restricted = only ? &rows : nullptr;
  const std::vector<Promise> promises = promised.read(engine.cluster);
  held.decision = choose ? engine.decide(compiled, std::move(pod), restricted, std::move(profile), promises)
                         : engine.filter(compiled, std::move(pod), restricted, std::move(profile), promises);
  return held;
}

using PutRow = void (Cluster::*)(std::string_view);
using RemoveNamed = void (Cluster::*)(std::string_view);
using RemoveInSpace = void (Cluster::*)(std::string_view, std::string_view);

template <PutRow kPut>
void put(Holder& holder, const py::bytes& row) {
  const std::lock_guard lock(holder.mutex);
  (holder.engine->cluster.*kPut)(view(row));
}

template <RemoveNamed kRemove>
void remove_named(Holder& holder, std::string_view /*space*/, std::string_view name) {
  const std::lock_guard lock(holder.mutex);
  (holder.engine->cluster.*kRemove)(name);
}

template <RemoveInSpace kRemove>
void remove_in_space(Holder& holder, std::string_view space, std::string_view name) {
  const std::lock_guard lock(holder.mutex);
  (holder.engine->cluster.*kRemove)(space, name);
}

template <OwnerKind kKind>
void remove_controller(Holder& holder, std::string_view space, std::string_view name) {
  const std::lock_guard lock(holder.mutex);
  holder.engine->cluster.remove_controller(kKind, space, name);
}

}  // namespace

std::size_t resource_index(const Cluster& cluster, const std::string& resource) {
  const ResourceTable& resources = cluster.resources;
  for (std::size_t at = 0; at < resources.column_count(); ++at) {
    if (cluster.strings.view(resources.column(at).name) == resource) return at;
  }
  throw Error("no node or pod has named the resource \"" + resource + "\"");
}

NodeId node_named(const Cluster& cluster, std::string_view name) {
  const NodeId row = cluster.find_node(name);
  if (!row.valid() || !cluster.node(row).exists) throw Error("there is no node \"" + std::string(name) + "\"");
  return row;
}

void bind_engine(py::module_& m) {
  py::class_<Holder, HolderPtr>(m, "Engine", "A cluster in columns and the default profile over it.")
      .def(py::init([](const std::string& tie_break, std::uint64_t seed, std::int32_t percentage) {
             return std::make_shared<Holder>(std::make_unique<Engine>(to_tie_break(tie_break), seed, percentage));
           }),
           "tie_break"_a, "seed"_a, "percentage_of_nodes_to_score"_a)
      .def("put_node", &put<&Cluster::put_node>, "row"_a)
      .def("put_volume", &put<&Cluster::put_volume>, "row"_a)
      .def("put_claim", &put<&Cluster::put_claim>, "row"_a)
      .def("put_class", &put<&Cluster::put_class>, "row"_a)
      .def("put_csi_node", &put<&Cluster::put_csi_node>, "row"_a)
      .def("put_csi_driver", &put<&Cluster::put_csi_driver>, "row"_a)
      .def("put_capacity", &put<&Cluster::put_capacity>, "row"_a)
      .def("put_attachment", &put<&Cluster::put_attachment>, "row"_a)
      .def("put_service", &put<&Cluster::put_service>, "row"_a)
      .def("put_controller", &put<&Cluster::put_controller>, "row"_a)
      .def("put_namespace", &put<&Cluster::put_namespace>, "row"_a)
      .def(
          "put_pod",
          [](Holder& self, const py::bytes& program, const py::bytes& instance, const py::bytes& usage) {
            const std::lock_guard lock(self.mutex);
            self.engine->cluster.put_pod(view(program), view(instance), view(usage));
          },
          "program"_a, "instance"_a, "usage"_a)
      .def("remove_node", &remove_named<&Cluster::remove_node>, "namespace"_a, "name"_a)
      .def("remove_volume", &remove_named<&Cluster::remove_volume>, "namespace"_a, "name"_a)
      .def("remove_class", &remove_named<&Cluster::remove_class>, "namespace"_a, "name"_a)
      .def("remove_csi_node", &remove_named<&Cluster::remove_csi_node>, "namespace"_a, "name"_a)
      .def("remove_csi_driver", &remove_named<&Cluster::remove_csi_driver>, "namespace"_a, "name"_a)
      .def("remove_attachment", &remove_named<&Cluster::remove_attachment>, "namespace"_a, "name"_a)
      .def("remove_namespace", &remove_named<&Cluster::remove_namespace>, "namespace"_a, "name"_a)
      .def("remove_service", &remove_in_space<&Cluster::remove_service>, "namespace"_a, "name"_a)
      .def("remove_replication_controller", &remove_controller<OwnerKind::kReplicationController>, "namespace"_a,
           "name"_a)
      .def("remove_replica_set", &remove_controller<OwnerKind::kReplicaSet>, "namespace"_a, "name"_a)
      .def("remove_stateful_set", &remove_controller<OwnerKind::kStatefulSet>, "namespace"_a, "name"_a)
      .def("remove_claim", &remove_in_space<&Cluster::remove_claim>, "namespace"_a, "name"_a)
      .def("remove_capacity", &remove_in_space<&Cluster::remove_capacity>, "namespace"_a, "name"_a)
      .def("remove_pod", &remove_in_space<&Cluster::remove_pod>, "namespace"_a, "name"_a)
      .def(
          "decide",
          [](const HolderPtr& self, const py::bytes& program, const py::bytes& instance,
             const std::optional<std::vector<std::string>>& only, const HeldProfile& profile,
             const PromisedRows& beside) { return decide(self, program, instance, only, profile, beside, true); },
          "program"_a, "instance"_a, "only"_a, "profile"_a, "beside"_a = PromisedRows{})
      .def(
          "filter",
          [](const HolderPtr& self, const py::bytes& program, const py::bytes& instance,
             const std::optional<std::vector<std::string>>& only,
             const HeldProfile& profile) { return decide(self, program, instance, only, profile, {}, false); },
          "program"_a, "instance"_a, "only"_a, "profile"_a)
      .def(
          "profile",
          [](Holder& self, const py::bytes& row) {
            const std::lock_guard lock(self.mutex);
            return HeldProfile{self.engine->cluster.profile(view(row))};
          },
          "row"_a)
      .def(
          "assume",
          [](const HolderPtr& self, const HeldDecision& held, const std::optional<std::string>& node) {
            if (held.holder != self) throw Error("the decision belongs to another engine");
            const std::lock_guard lock(self->mutex);
            Engine& engine = *self->engine;
            const NodeId row = node ? node_named(engine.cluster, *node) : held.decision.chosen;
            if (!row.valid()) throw Error("the decision chose no node; there is nothing to assume");
            engine.check_state(held.decision);
            HeldAssumption made{self,
                                {},
                                engine.cluster.strings.str(engine.cluster.node(row).name),
                                plan_to_python(engine.cluster, engine.plan(held.decision, row)),
                                false};
            made.state = engine.assume(held.decision, row);
            return made;
          },
          "decision"_a, "node"_a = py::none())
      .def(
          "forget",
          [](const HolderPtr& self, HeldAssumption& held) {
            if (held.holder != self) throw Error("the assumption belongs to another engine");
            if (held.is_forgotten) throw Error("the assumption is forgotten already");
            const std::lock_guard lock(self->mutex);
            self->engine->forget(held.state);
            held.is_forgotten = true;
          },
          "assumption"_a)
      .def("node_names",
           [](Holder& self) {
             const std::lock_guard lock(self.mutex);
             Cluster& cluster = self.engine->cluster;
             py::typing::List<py::str> names;
             for (const NodeId row : cluster.order.next()) names.append(name_of(cluster, row));
             return names;
           })
      .def_property_readonly("generation", [](const Holder& self) { return self.engine->cluster.generation(); })
      .def_property_readonly("node_generation",
                             [](const Holder& self) { return self.engine->cluster.node_generation(); })
      .def_property_readonly("node_count", [](const Holder& self) { return self.engine->cluster.node_count(); })
      .def_property_readonly("pod_count", [](const Holder& self) { return self.engine->cluster.pod_count(); })
      .def("resource_names",
           [](const Holder& self) {
             std::vector<std::string> names;
             const Cluster& cluster = self.engine->cluster;
             for (std::size_t at = 0; at < cluster.resources.column_count(); ++at)
               names.push_back(cluster.strings.str(cluster.resources.column(at).name));
             return names;
           })
      .def(
          "allocatable",
          [](Holder& self, const std::string& resource) {
            const std::lock_guard lock(self.mutex);
            return column_in_order(*self.engine, resource_named(self.engine->cluster, resource).allocatable);
          },
          "resource"_a)
      .def(
          "requested",
          [](Holder& self, const std::string& resource) {
            const std::lock_guard lock(self.mutex);
            return column_in_order(*self.engine, resource_named(self.engine->cluster, resource).requested);
          },
          "resource"_a)
      .def("pods_allocatable",
           [](Holder& self) {
             const std::lock_guard lock(self.mutex);
             return column_in_order(*self.engine, self.engine->cluster.resources.pod_limit());
           })
      .def("pods_counted",
           [](Holder& self) {
             const std::lock_guard lock(self.mutex);
             return column_in_order(*self.engine, self.engine->cluster.resources.pod_count());
           })
      .def(
          "label_values",
          [](Holder& self, const std::string& key) {
            const std::lock_guard lock(self.mutex);
            Cluster& cluster = self.engine->cluster;
            const StringId id = cluster.strings.find(key);
            py::typing::List<PyOptionalText> values;
            for (const NodeId row : cluster.order.next()) {
              const StringId value = id.valid() ? cluster.labels.value(row, id) : StringId();
              values.append(value.valid() ? py::object(to_python(cluster.strings.view(value)))
                                          : py::object(py::none()));
            }
            return values;
          },
          "key"_a)
      .def("fork",
           [](Holder& self) {
             const std::lock_guard lock(self.mutex);
             return std::make_shared<Holder>(self.engine->fork());
           })
      .def("digest",
           [](Holder& self) {
             const std::lock_guard lock(self.mutex);
             return self.engine->cluster.digest();
           })
      .def("validate",
           [](Holder& self) {
             const std::lock_guard lock(self.mutex);
             return self.engine->cluster.validate();
           })
      .def("bytes_used", [](const Holder& self) { return self.engine->cluster.bytes(); });
}

}  // namespace volsched::bindings
