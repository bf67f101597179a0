#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "holder.hpp"
#include "volsched/error.hpp"

namespace volsched::bindings {

namespace {

using namespace pybind11::literals;

PyRejection rejection_to_python(const Rejected& rejected) {
  py::tuple reasons(rejected.reasons.size());
  for (std::size_t at = 0; at < rejected.reasons.size(); ++at) reasons[at] = to_python(rejected.reasons[at]);
  return PyRejection(py::make_tuple(rejected.plugin, to_python(code_name(rejected.code)), reasons));
}

/// The decision's plugin scores, checked.
std::vector<PluginScores> scores_of(HeldDecision& held) {
  ScoreFailure failure;
  auto parts = held.holder->engine->scores(held.decision, failure);
  if (!failure.text.empty()) throw Error(failure.text);
  return parts;
}

/// One entry a node, in node order.
template <class Value>
const Value* checked_array(const py::array_t<Value, py::array::c_style>& array, std::size_t nodes, const char* what) {
  if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != nodes) {
    throw Error(std::string(what) + " must be one-dimensional with one entry for each of the " + std::to_string(nodes) +
                " nodes");
  }
  return array.data();
}

void narrow(HeldDecision& self, const py::array_t<bool, py::array::c_style>& keep, const std::string& plugin,
            const std::string& reason, bool resolvable) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  engine.check_nodes(self.decision);
  const auto& order = engine.cluster.order.list();
  const bool* kept = checked_array(keep, order.size(), "keep");
  NodeMask mask(engine.cluster.rows());
  for (std::size_t at = 0; at < order.size(); ++at) {
    if (kept[at]) mask.set(order[at]);
  }
  engine.narrow(self.decision, mask, plugin, resolvable ? Code::kUnschedulable : Code::kUnresolvable, reason);
}

void add_scores(HeldDecision& self, const std::string& plugin, std::int32_t weight,
                const py::array_t<std::int64_t, py::array::c_style>& scores) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  engine.check_state(self.decision);
  const auto& order = engine.cluster.order.list();
  const std::int64_t* given = checked_array(scores, order.size(), "scores");
  ExtraScores extra{plugin, std::vector<std::int64_t>(engine.cluster.rows(), 0)};
  for (std::size_t at = 0; at < order.size(); ++at) {
    if (!self.decision.feasible.test(order[at])) continue;
    extra.by_row[order[at].index()] = given[at] * weight;
  }
  self.decision.extra.push_back(std::move(extra));
}

py::array_t<bool> feasible_mask(HeldDecision& self) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  engine.check_nodes(self.decision);
  const auto& order = engine.cluster.order.list();
  py::array_t<bool> mask(static_cast<py::ssize_t>(order.size()));
  bool* to = mask.mutable_data();
  for (const NodeId row : order) *to++ = self.decision.feasible.test(row);
  return mask;
}

py::array_t<std::int64_t> total_column(HeldDecision& self) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  const auto parts = scores_of(self);
  const auto& totals = engine.totals(self.decision, parts);
  const auto& order = engine.cluster.order.list();
  py::array_t<std::int64_t> column(static_cast<py::ssize_t>(order.size()));
  std::int64_t* to = column.mutable_data();
  for (const NodeId row : order) *to++ = self.decision.feasible.test(row) ? totals[row.index()] : -1;
  return column;
}

py::typing::Dict<py::str, PyRejection> rejected(HeldDecision& self) {
  const std::lock_guard lock(self.holder->mutex);
  const Engine& engine = *self.holder->engine;
  engine.check_nodes(self.decision);
  py::typing::Dict<py::str, PyRejection> result;
  for (const Rejected& group : self.decision.rejected) {
    const PyRejection rejection = rejection_to_python(group);
    group.nodes.for_each([&](NodeId row) { result[name_of(engine.cluster, row)] = rejection; });
  }
  return result;
}

using PyScores = py::typing::Dict<py::str, py::int_>;

py::typing::Dict<py::str, PyScores> scores(HeldDecision& self) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  const auto parts = scores_of(self);
  py::typing::Dict<py::str, PyScores> result;
  for (const NodeId row : engine.feasible(self.decision)) {
    PyScores by_plugin;
    for (const PluginScores& part : parts)
      by_plugin[to_python(part.plugin->name())] = part.weight * part.column.at(row);
    for (const ExtraScores& extra : self.decision.extra) by_plugin[to_python(extra.plugin)] = extra.by_row[row.index()];
    result[name_of(engine.cluster, row)] = by_plugin;
  }
  return result;
}

PyScores totals(HeldDecision& self) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  const auto parts = scores_of(self);
  const auto& by_row = engine.totals(self.decision, parts);
  PyScores result;
  for (const NodeId row : engine.feasible(self.decision)) result[name_of(engine.cluster, row)] = by_row[row.index()];
  return result;
}

std::vector<std::string> best(HeldDecision& self) {
  const std::lock_guard lock(self.holder->mutex);
  Engine& engine = *self.holder->engine;
  std::vector<std::string> names;
  if (self.decision.feasible.none()) return names;
  const auto parts = scores_of(self);
  const auto& by_row = engine.totals(self.decision, parts);
  std::int32_t most = by_row[self.decision.feasible.first().index()];
  self.decision.feasible.for_each([&](NodeId row) { most = std::max(most, by_row[row.index()]); });
  self.decision.feasible.for_each([&](NodeId row) {
    if (by_row[row.index()] == most) names.push_back(engine.cluster.strings.str(engine.cluster.node(row).name));
  });
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> rejecting_plugins(const HeldDecision& self) {
  std::vector<std::string> names = self.decision.narrowing;
  if (self.decision.is_refused && !self.decision.refusal.plugin.empty()) names.push_back(self.decision.refusal.plugin);
  for (const Rejected& group : self.decision.rejected) names.push_back(group.plugin);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace

PyPlan plan_to_python(const Cluster& cluster, const Plan& plan) {
  py::tuple bind(plan.bind.size());
  for (std::size_t at = 0; at < plan.bind.size(); ++at) {
    const BindStep& step = plan.bind[at];
    bind[at] = py::make_tuple(cluster.claim_key(step.claim),
                              to_python(cluster.strings.view(cluster.volumes.at(step.volume).name)));
  }
  py::tuple provision(plan.provision.size());
  for (std::size_t at = 0; at < plan.provision.size(); ++at) {
    const BindStep& step = plan.provision[at];
    py::object pool = py::none();
    if (step.capacity.valid()) {
      const Pool& vouching = cluster.capacities.at(step.capacity);
      pool = py::str(cluster.strings.str(vouching.space) + "/" + cluster.strings.str(vouching.name));
    }
    provision[at] = py::make_tuple(cluster.claim_key(step.claim), pool);
  }
  return PyPlan(py::make_tuple(bind, provision));
}

void bind_decision(py::module_& m) {
  py::class_<HeldProfile>(m, "Profile", "Which plugins run at which point, compiled against one engine and its forks.");
  m.def(
      "default_profile", [] { return HeldProfile{default_profile()}; },
      "Upstream's default profile; good for every engine.");

  py::class_<HeldDecision>(m, "Decision", "What a cycle came to.")
      .def_property_readonly("node",
                             [](HeldDecision& self) -> PyOptionalText {
                               if (!self.decision.chosen.valid()) return py::none();
                               const std::lock_guard lock(self.holder->mutex);
                               self.holder->engine->check_nodes(self.decision);
                               return name_of(self.holder->engine->cluster, self.decision.chosen);
                             })
      .def_property_readonly("error",
                             [](const HeldDecision& self) -> PyOptionalText {
                               return self.decision.error.empty() ? py::object(py::none())
                                                                  : py::object(to_python(self.decision.error));
                             })
      .def_property_readonly("prefilter",
                             [](const HeldDecision& self) -> py::typing::Optional<PyRejection> {
                               return self.decision.is_refused ? py::object(rejection_to_python(self.decision.refusal))
                                                               : py::object(py::none());
                             })
      .def_property_readonly("absent",
                             [](const HeldDecision& self) -> py::typing::Optional<PyRejection> {
                               if (self.decision.narrowing.empty() || self.decision.is_refused) return py::none();
                               return rejection_to_python({"", Code::kUnresolvable, {self.decision.absent_reason}, {}});
                             })
      .def_property_readonly("generation", [](const HeldDecision& self) { return self.decision.generation; })
      .def_property_readonly("feasible_count", [](const HeldDecision& self) { return self.decision.feasible.count(); })
      .def("feasible",
           [](HeldDecision& self) {
             const std::lock_guard lock(self.holder->mutex);
             Engine& engine = *self.holder->engine;
             py::typing::List<py::str> names;
             for (const NodeId row : engine.feasible(self.decision)) names.append(name_of(engine.cluster, row));
             return names;
           })
      .def("rejected", &rejected)
      .def("scores", &scores)
      .def("totals", &totals)
      .def("best", &best)
      .def(
          "volumes",
          [](HeldDecision& self, const std::string& node) {
            const std::lock_guard lock(self.holder->mutex);
            Engine& engine = *self.holder->engine;
            engine.check_state(self.decision);
            const NodeId row = node_named(engine.cluster, node);
            if (!self.decision.feasible.test(row))
              throw Error("node " + node + " is not feasible in this decision; it has no volume plan");
            return plan_to_python(engine.cluster, engine.plan(self.decision, row));
          },
          "node"_a)
      .def("message", [](HeldDecision& self) { return self.holder->engine->message(self.decision); })
      .def("rejecting_plugins", &rejecting_plugins)
      .def("feasible_mask", &feasible_mask)
      .def("total_column", &total_column)
      .def("narrow", &narrow, "keep"_a.noconvert(), "plugin"_a, "reason"_a, "resolvable"_a)
      .def("score_failure",
           [](HeldDecision& self) -> py::typing::Optional<py::typing::Tuple<py::bool_, py::int_, py::str>> {
             const std::lock_guard lock(self.holder->mutex);
             ScoreFailure failure;
             static_cast<void>(self.holder->engine->scores(self.decision, failure));
             if (failure.text.empty()) return py::none();
             return py::make_tuple(failure.in_score, failure.at, to_python(failure.text));
           })
      .def(
          "fail", [](HeldDecision& self, const std::string& text) { self.decision.error = text; }, "text"_a)
      .def("add_scores", &add_scores, "plugin"_a, "weight"_a, "scores"_a.noconvert())
      .def("choose", [](HeldDecision& self) {
        const std::lock_guard lock(self.holder->mutex);
        self.holder->engine->choose(self.decision);
      });

  py::class_<HeldAssumption>(m, "Assumption", "A pod counted before the API server knows.")
      .def_readonly("node", &HeldAssumption::node)
      .def_property_readonly("plan", [](const HeldAssumption& self) { return self.plan; });
}

}  // namespace volsched::bindings
