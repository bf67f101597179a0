#include <pybind11/stl.h>

#include <algorithm>
#include <unordered_map>

#include "holder.hpp"
#include "volsched/error.hpp"
#include "volsched/text.hpp"

namespace volsched::bindings {

namespace {

using namespace pybind11::literals;

using PodName = std::pair<std::string, std::string>;  ///< namespace, name
using PyVerdict = py::typing::Optional<py::typing::Union<py::str, PyRejection>>;
using PyEmptied = py::typing::Tuple<py::int_, PyVerdict>;
using Eviction = std::tuple<std::string, std::vector<PodName>, std::vector<GuestRows>>;

const PodRow& pod_on(const Cluster& cluster, NodeId row, const PodName& name) {
  const StringId space = cluster.strings.find(name.first);
  const StringId own = cluster.strings.find(name.second);
  const PodId id = space.valid() && own.valid() ? cluster.find_pod(space, own) : PodId();
  if (!id.valid() || cluster.pod(id).row != row) {
    throw Error("pod \"" + name.first + "/" + name.second + "\" is not counted on node \"" +
                cluster.strings.str(cluster.node(row).name) + "\"");
  }
  return cluster.pod(id);
}

/// Verdicts as Python objects; equal ones are one object.
class Verdicts {
 public:
  PyVerdict of(const std::optional<Trial::Verdict>& verdict) {
    if (!verdict) return PyVerdict(py::none());
    const Refusal& refusal = verdict->refusal;
    std::string key(verdict->plugin);
    key += refusal.is_failure ? "\x01" : code_name(refusal.code);
    for (const std::string& reason : refusal.reasons) key += "\x01" + reason;
    const auto [known, is_new] = known_.try_emplace(std::move(key), py::none());
    if (is_new) known->second = made(*verdict);
    return PyVerdict(known->second);
  }

 private:
  static py::object made(const Trial::Verdict& verdict) {
    const Refusal& refusal = verdict.refusal;
    if (refusal.is_failure)
      return py::str(quoting("running ", verdict.plugin, " filter plugin: ") + refusal.reasons.front());
    py::tuple reasons(refusal.reasons.size());
    for (std::size_t at = 0; at < refusal.reasons.size(); ++at) reasons[at] = to_python(refusal.reasons[at]);
    return py::make_tuple(to_python(verdict.plugin), to_python(code_name(refusal.code)), reasons);
  }

  std::unordered_map<std::string, py::object> known_;
};

py::typing::List<PyEmptied> emptied(HeldTrial& self, const std::vector<std::string>& nodes, std::int64_t below,
                                    const PromisedRows& beside) {
  std::vector<Trial::Emptied> answers;
  const PromisedViews views(beside);
  {
    const py::gil_scoped_release release;
    const std::lock_guard lock(self.holder->mutex);
    Cluster& cluster = self.cluster();
    const std::vector<Promise> promises = views.read(cluster);
    for (const std::string& name : nodes) {
      const NodeId row = node_named(cluster, name);
      const auto promise =
          std::find_if(promises.begin(), promises.end(), [&](const Promise& one) { return one.row == row; });
      answers.push_back(promise == promises.end() ? self.trial->emptied(row, below, {})
                                                  : self.trial->emptied(row, below, promise->pods));
    }
  }
  Verdicts verdicts;
  py::typing::List<PyEmptied> result;
  for (const Trial::Emptied& answer : answers)
    result.append(py::make_tuple(answer.removed, verdicts.of(answer.verdict)));
  return result;
}

py::typing::List<ManyOf<py::int_>> needed(HeldTrial& self, const std::vector<Eviction>& evictions) {
  std::vector<std::vector<std::size_t>> answers;
  PromisedRows beside;
  for (const auto& [node, victims, guests] : evictions) beside.emplace_back(node, guests);
  const PromisedViews views(beside);
  {
    const py::gil_scoped_release release;
    const std::lock_guard lock(self.holder->mutex);
    Cluster& cluster = self.cluster();
    for (std::size_t at = 0; at < evictions.size(); ++at) {
      const auto& [node, names, guests] = evictions[at];
      const NodeId row = node_named(cluster, node);
      std::vector<const PodRow*> victims;
      for (const PodName& name : names) victims.push_back(&pod_on(cluster, row, name));
      answers.push_back(self.trial->needed(row, victims, views.read_pods(cluster, at, row)));
    }
  }
  py::typing::List<ManyOf<py::int_>> result;
  for (const auto& places : answers) {
    py::tuple made(places.size());
    for (std::size_t at = 0; at < places.size(); ++at) made[at] = places[at];
    result.append(made);
  }
  return result;
}

}  // namespace

Cluster& HeldTrial::cluster() {
  Cluster& of = holder->engine->cluster;
  if (of.generation() != generation) {
    throw Error("the cluster has changed since this trial began (generation " + std::to_string(generation) + ", now " +
                std::to_string(of.generation()) + "); decide again");
  }
  return of;
}

HeldTrial begun_trial(const HeldDecision& held) {
  const std::lock_guard lock(held.holder->mutex);
  Engine& engine = *held.holder->engine;
  return {held.holder, engine.cluster.generation(), engine.trial(held.decision, engine.cluster.live()), {}};
}

PromisedViews::PromisedViews(const PromisedRows& rows) {
  for (const auto& [node, guests] : rows) {
    One& one = all_.emplace_back();
    one.node = node;
    for (const auto& [program, instance, usage] : guests)
      one.pods.push_back({view(program), view(instance), view(usage)});
  }
}

std::vector<PodRow> PromisedViews::read_pods(Cluster& cluster, std::size_t at, NodeId row) const {
  std::vector<PodRow> pods;
  for (const auto& [program, instance, usage] : all_[at].pods)
    pods.push_back(cluster.guest(program, instance, usage, row));
  return pods;
}

std::vector<Promise> PromisedViews::read(Cluster& cluster) const {
  std::vector<Promise> promises;
  for (std::size_t at = 0; at < all_.size(); ++at) {
    const NodeId row = cluster.find_node(all_[at].node);
    if (row.valid() && cluster.live().test(row)) promises.push_back({row, read_pods(cluster, at, row)});
  }
  return promises;
}

void bind_trial(py::module_& m) {
  py::class_<HeldTrial>(m, "Trial", "What-if questions about one decision's pod, node by node.")
      .def(py::init([](const HolderPtr& engine, const HeldDecision& decision) {
             if (decision.holder != engine) throw Error("the decision belongs to another engine");
             return begun_trial(decision);
           }),
           "engine"_a, "decision"_a)
      .def("emptied", &emptied, "nodes"_a, "below"_a, "beside"_a)
      .def("needed", &needed, "evictions"_a)
      .def(
          "enter",
          [](HeldTrial& self, const std::string& node) {
            const std::lock_guard lock(self.holder->mutex);
            Cluster& cluster = self.cluster();
            self.guests.clear();
            self.trial->enter(node_named(cluster, node));
          },
          "node"_a)
      .def(
          "remove",
          [](HeldTrial& self, const std::string& space, const std::string& name) {
            const std::lock_guard lock(self.holder->mutex);
            const NodeId row = self.trial->node().row;
            self.trial->remove(pod_on(self.cluster(), row, {space, name}));
          },
          "namespace"_a, "name"_a)
      .def(
          "give_back",
          [](HeldTrial& self, const std::string& space, const std::string& name) {
            const std::lock_guard lock(self.holder->mutex);
            const NodeId row = self.trial->node().row;
            self.trial->add(pod_on(self.cluster(), row, {space, name}));
          },
          "namespace"_a, "name"_a)
      .def(
          "add_guest",
          [](HeldTrial& self, const py::bytes& program, const py::bytes& instance, const py::bytes& usage) {
            const std::lock_guard lock(self.holder->mutex);
            Cluster& cluster = self.cluster();
            const NodeId row = self.trial->node().row;
            if (self.guests.empty()) self.trial->mark();
            self.guests.push_back(cluster.guest(view(program), view(instance), view(usage), row));
            self.trial->add(self.guests.back());
          },
          "program"_a, "instance"_a, "usage"_a)
      .def("remove_guests",
           [](HeldTrial& self) {
             const std::lock_guard lock(self.holder->mutex);
             static_cast<void>(self.cluster());
             for (const PodRow& guest : self.guests) self.trial->remove(guest);
             if (!self.guests.empty()) self.trial->rewind();
             self.guests.clear();
           })
      .def("verdict",
           [](HeldTrial& self) -> py::typing::Optional<py::typing::Tuple<py::str, PyVerdict>> {
             const std::lock_guard lock(self.holder->mutex);
             static_cast<void>(self.cluster());
             const auto verdict = self.trial->verdict();
             if (!verdict) return py::none();
             return py::make_tuple(to_python(verdict->plugin), Verdicts().of(verdict));
           })
      .def(
          "requested_here",
          [](HeldTrial& self, const std::string& resource) {
            const std::lock_guard lock(self.holder->mutex);
            return self.trial->requested(resource_index(self.cluster(), resource));
          },
          "resource"_a)
      .def("pods_here", [](HeldTrial& self) {
        const std::lock_guard lock(self.holder->mutex);
        static_cast<void>(self.cluster());
        return self.trial->node().pods.size();
      });
}

}  // namespace volsched::bindings
