#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "holder.hpp"
#include "volsched/error.hpp"

namespace volsched::bindings {

namespace {

using namespace pybind11::literals;
using PyMask = py::array_t<bool, py::array::c_style>;

/// A decision on its way, for plugins in Python that stand between native ones.
struct Search {
  HeldDecision held;
  bool is_over = false;

  Engine& engine() {
    if (is_over) throw Error("this search is over");
    return *held.holder->engine;
  }
};

NodeMask to_mask(const Engine& engine, const Decision& decision, const PyMask& given, const char* what) {
  engine.check_nodes(decision);
  const auto& order = engine.cluster.order.list();
  if (given.ndim() != 1 || static_cast<std::size_t>(given.shape(0)) != order.size()) {
    throw Error(std::string(what) + " must be one-dimensional with one entry for each of the " +
                std::to_string(order.size()) + " nodes");
  }
  NodeMask mask(engine.cluster.rows());
  for (std::size_t at = 0; at < order.size(); ++at) {
    if (given.data()[at]) mask.set(order[at]);
  }
  return mask;
}

Code to_code(bool resolvable) {
  return resolvable ? Code::kUnschedulable : Code::kUnresolvable;
}

Search begun(const HolderPtr& holder, const py::bytes& program, const py::bytes& instance,
             const std::optional<std::vector<std::string>>& only, ProfilePtr profile) {
  const std::lock_guard lock(holder->mutex);
  Engine& engine = *holder->engine;
  std::vector<NodeId> rows;
  if (only) {
    for (const std::string& name : *only) rows.push_back(node_named(engine.cluster, name));
  }
  const ProgramPtr compiled = engine.cluster.program(view(program));
  auto pod = std::make_shared<const PodInstance>(engine.cluster.instance(view(instance)));
  return {{holder, engine.begin(compiled, std::move(pod), only ? &rows : nullptr, std::move(profile))}};
}

}  // namespace

void bind_search(py::module_& m) {
  py::class_<Search>(m, "Search", "A decision under way, step by step.")
      .def(py::init([](const HolderPtr& engine, const py::bytes& program, const py::bytes& instance,
                       const std::optional<std::vector<std::string>>& only,
                       const HeldProfile& profile) { return begun(engine, program, instance, only, profile.profile); }),
           "engine"_a, "program"_a, "instance"_a, "only"_a, "profile"_a)
      .def_property_readonly("generation", [](const Search& self) { return self.held.decision.generation; })
      .def("trial", [](Search& self) { return begun_trial(self.held); })
      .def(
          "pre_filter_at",
          [](Search& self, std::size_t place) {
            const std::lock_guard lock(self.held.holder->mutex);
            return self.engine().pre_filter_at(self.held.decision, place);
          },
          "place"_a)
      .def(
          "refuse",
          [](Search& self, const std::string& plugin, const std::string& reason, bool resolvable) {
            const std::lock_guard lock(self.held.holder->mutex);
            return self.engine().refuse(self.held.decision, plugin, to_code(resolvable), reason);
          },
          "plugin"_a, "reason"_a, "resolvable"_a)
      .def(
          "restrict",
          [](Search& self, const std::string& plugin, const PyMask& nodes) {
            const std::lock_guard lock(self.held.holder->mutex);
            Engine& engine = self.engine();
            return engine.restrict(self.held.decision, plugin, to_mask(engine, self.held.decision, nodes, "nodes"));
          },
          "plugin"_a, "nodes"_a.noconvert())
      .def("end_pre_filters",
           [](Search& self) {
             const std::lock_guard lock(self.held.holder->mutex);
             return self.engine().end_pre_filters(self.held.decision);
           })
      .def(
          "filter_at",
          [](Search& self, std::size_t place) {
            const std::lock_guard lock(self.held.holder->mutex);
            self.engine().filter_at(self.held.decision, place);
          },
          "place"_a)
      .def("alive",
           [](Search& self) {
             const std::lock_guard lock(self.held.holder->mutex);
             Engine& engine = self.engine();
             const NodeMask& alive = engine.alive(self.held.decision);
             const auto& order = engine.cluster.order.list();
             py::array_t<bool> mask(static_cast<py::ssize_t>(order.size()));
             bool* to = mask.mutable_data();
             for (const NodeId row : order) *to++ = alive.test(row);
             return mask;
           })
      .def(
          "reject",
          [](Search& self, const PyMask& keep, const std::string& plugin, const std::string& reason, bool resolvable) {
            const std::lock_guard lock(self.held.holder->mutex);
            Engine& engine = self.engine();
            engine.reject(self.held.decision, to_mask(engine, self.held.decision, keep, "keep"), plugin,
                          to_code(resolvable), reason);
          },
          "keep"_a.noconvert(), "plugin"_a, "reason"_a, "resolvable"_a)
      .def(
          "fail",
          [](Search& self, const std::string& plugin, const std::string& text) {
            const std::lock_guard lock(self.held.holder->mutex);
            self.engine().fail(self.held.decision, plugin, text);
          },
          "plugin"_a, "text"_a)
      .def(
          "refuse_on",
          [](Search& self, const std::string& node, const std::string& plugin, const std::vector<std::string>& reasons,
             bool resolvable) {
            const std::lock_guard lock(self.held.holder->mutex);
            Engine& engine = self.engine();
            engine.refuse_on(self.held.decision, node_named(engine.cluster, node), plugin,
                             {false, to_code(resolvable), reasons});
          },
          "node"_a, "plugin"_a, "reasons"_a, "resolvable"_a)
      .def(
          "fail_on",
          [](Search& self, const std::string& node, const std::string& text) {
            const std::lock_guard lock(self.held.holder->mutex);
            Engine& engine = self.engine();
            engine.refuse_on(self.held.decision, node_named(engine.cluster, node), {}, Refusal::failure(text));
          },
          "node"_a, "text"_a)
      .def(
          "visit",
          [](Search& self, bool takes_first) {
            const std::lock_guard lock(self.held.holder->mutex);
            self.engine().search(self.held.decision, takes_first);
          },
          "takes_first"_a)
      .def("end", [](Search& self) {
        self.is_over = true;
        return std::move(self.held);
      });
}

}  // namespace volsched::bindings
