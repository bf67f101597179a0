#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "holder.hpp"
#include "volsched/error.hpp"

namespace volsched::bindings {

namespace {

using namespace pybind11::literals;

/// What came of a batch, and the node names of that time.
struct HeldOutcome {
  HolderPtr holder;
  std::shared_ptr<PodBatch> batch;
  ProfilePtr profile;
  BatchOutcome outcome;
  std::uint64_t node_generation = 0;
  std::vector<bool> forgotten;

  [[nodiscard]] std::size_t checked(std::size_t at) const {
    if (at >= outcome.nodes.size())
      throw Error("pod " + std::to_string(at) + " of the batch has not been tried; " +
                  std::to_string(outcome.nodes.size()) + " have");
    return at;
  }
};

/// Pods that differ from a template in name, uid and the claims of its volumes. One list a volume of the template that
/// stands for a claim, in volume order; uids may be left out where no volume is ephemeral: names stand for them.
void repeat(HeldBatch& self, const py::bytes& program, const py::bytes& instance, const std::vector<std::string>& names,
            const std::vector<std::string>& uids, const std::vector<std::vector<std::string>>& claims) {
  const std::lock_guard lock(self.holder->mutex);
  Cluster& cluster = self.holder->engine->cluster;
  const ProgramPtr compiled = cluster.program(view(program));
  const PodInstance pattern = cluster.instance(view(instance));
  if (!uids.empty() && uids.size() != names.size())
    throw Error(std::to_string(uids.size()) + " uids are given for " + std::to_string(names.size()) + " pods");
  if (claims.size() != pattern.claims.size())
    throw Error("claims are given for " + std::to_string(claims.size()) + " volumes; the template has " +
                std::to_string(pattern.claims.size()) + " that stand for a claim");
  for (const auto& column : claims) {
    if (column.size() != names.size())
      throw Error(std::to_string(column.size()) + " claims are given for " + std::to_string(names.size()) + " pods");
  }
  self.batch->reserve(self.batch->size() + names.size());
  for (std::size_t at = 0; at < names.size(); ++at) {
    PodInstance pod = pattern;
    pod.name = cluster.strings.intern(names[at]);
    pod.uid = uids.empty() ? pod.name : cluster.strings.intern(uids[at]);
    for (std::size_t volume = 0; volume < claims.size(); ++volume)
      pod.claims[volume].claim = cluster.claims.slot(pod.space, cluster.strings.intern(claims[volume][at]));
    self.batch->add(compiled, std::move(pod), cluster.strings);
  }
}

/// The cluster, while it has the nodes that the batch was placed on: their order is that of the last decision.
const Cluster& cluster_of(const HeldOutcome& self) {
  const Cluster& cluster = self.holder->engine->cluster;
  if (cluster.node_generation() != self.node_generation)
    throw Error("a node came or went since the batch was placed; read where its pods went before");
  return cluster;
}

py::typing::List<py::str> node_names(HeldOutcome& self) {
  const std::lock_guard lock(self.holder->mutex);
  const Cluster& cluster = cluster_of(self);
  py::typing::List<py::str> names;
  for (const NodeId row : self.outcome.nodes.empty() ? cluster.order.next() : cluster.order.list())
    names.append(name_of(cluster, row));
  return names;
}

py::array_t<std::int32_t> node_indices(HeldOutcome& self) {
  const std::lock_guard lock(self.holder->mutex);
  const auto& positions = cluster_of(self).order.positions();
  py::array_t<std::int32_t> result(static_cast<py::ssize_t>(self.outcome.nodes.size()));
  std::int32_t* written = result.mutable_data();
  for (std::size_t at = 0; at < self.outcome.nodes.size(); ++at) {
    const NodeId row = self.outcome.nodes[at];
    written[at] = row.valid() ? static_cast<std::int32_t>(positions[row.index()]) : -1;
  }
  result.attr("flags").attr("writeable") = false;
  return result;
}

PyPlan plan_of(HeldOutcome& self, std::size_t given) {
  const std::lock_guard lock(self.holder->mutex);
  const std::size_t at = self.checked(given);
  Plan plan;
  for (std::size_t step = at == 0 ? 0 : self.outcome.steps_end[at - 1]; step < self.outcome.steps_end[at]; ++step) {
    const BindStep& taken = self.outcome.steps[step];
    (taken.volume.valid() ? plan.bind : plan.provision).push_back(taken);
  }
  return plan_to_python(self.holder->engine->cluster, plan);
}

}  // namespace

void bind_batch(py::module_& m) {
  py::class_<HeldBatch>(m, "PodBatch", "Pending pods, compiled for one engine.")
      .def(py::init([](const HolderPtr& engine) { return HeldBatch{engine, std::make_shared<PodBatch>()}; }),
           "engine"_a)
      .def(
          "add",
          [](HeldBatch& self, const py::bytes& program, const py::bytes& instance) {
            const std::lock_guard lock(self.holder->mutex);
            Cluster& cluster = self.holder->engine->cluster;
            self.batch->add(cluster.program(view(program)), cluster.instance(view(instance)), cluster.strings);
          },
          "program"_a, "instance"_a)
      .def("repeat", &repeat, "program"_a, "instance"_a, "names"_a, "uids"_a, "claims"_a)
      .def(
          "name",
          [](const HeldBatch& self, std::size_t at) -> py::typing::Tuple<py::str, py::str> {
            const std::lock_guard lock(self.holder->mutex);
            if (at >= self.batch->size()) throw Error("the batch has no pod " + std::to_string(at));
            const StringPool& strings = self.holder->engine->cluster.strings;
            const PodInstance& pod = self.batch->pod(at);
            return py::make_tuple(to_python(strings.view(pod.space)), to_python(strings.view(pod.name)));
          },
          "pod"_a)
      .def_property_readonly("program_count", [](const HeldBatch& self) { return self.batch->program_count(); })
      .def_property_readonly("bytes_used", [](const HeldBatch& self) { return self.batch->bytes(); })
      .def("__len__", [](const HeldBatch& self) { return self.batch->size(); });

  py::class_<HeldOutcome>(m, "BatchOutcome", "What came of the pods of a batch.")
      .def(py::init([](const HolderPtr& engine, const HeldBatch& batch, const HeldProfile& profile) {
             if (batch.holder != engine) throw Error("the batch belongs to another engine");
             const std::lock_guard lock(batch.holder->mutex);
             return HeldOutcome{
                 batch.holder, batch.batch, profile.profile, {}, batch.holder->engine->cluster.node_generation(), {}};
           }),
           "engine"_a, "batch"_a, "profile"_a)
      .def(
          "advance",
          [](HeldOutcome& self, std::size_t count) {
            const py::gil_scoped_release release;
            const std::lock_guard lock(self.holder->mutex);
            Engine& engine = *self.holder->engine;
            if (engine.cluster.node_generation() != self.node_generation)
              throw Error("a node came or went since the batch was begun; begin again with what is left of it");
            engine.schedule_many(*self.batch, self.profile, self.outcome.nodes.size(), count, self.outcome);
            self.forgotten.resize(self.outcome.nodes.size(), false);
          },
          "count"_a, "Place the next pods.")
      .def("__len__", [](const HeldOutcome& self) { return self.outcome.nodes.size(); })
      .def_property_readonly("refused_count", [](const HeldOutcome& self) { return self.outcome.refusals.size(); })
      .def("node_names", &node_names)
      .def("node_indices", &node_indices)
      .def("refusals",
           [](const HeldOutcome& self) {
             py::typing::List<py::typing::Tuple<py::int_, py::bool_, py::str>> found;
             for (const BatchOutcome::Refusal& refusal : self.outcome.refusals)
               found.append(py::make_tuple(refusal.pod, refusal.is_error, to_python(refusal.text)));
             return found;
           })
      .def("plan", &plan_of, "pod"_a)
      .def(
          "forget",
          [](HeldOutcome& self, std::size_t given) {
            const std::lock_guard lock(self.holder->mutex);
            const std::size_t at = self.checked(given);
            if (!self.outcome.nodes[at].valid()) throw Error("the pod was not placed; there is nothing to forget");
            if (self.forgotten[at]) throw Error("the assumption is forgotten already");
            self.holder->engine->forget(self.outcome.assumptions[at]);
            self.forgotten[at] = true;
          },
          "pod"_a);
}

}  // namespace volsched::bindings
