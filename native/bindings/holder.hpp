#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <mutex>

#include "volsched/engine.hpp"

namespace volsched::bindings {

namespace py = pybind11;

/// An engine with the lock that keeps its callers apart. Whoever decides gives up the interpreter first and takes the lock then, and never
/// needs the interpreter while it has the lock; so taking the lock with the interpreter held cannot deadlock.
struct Holder {
  explicit Holder(std::unique_ptr<Engine> made) : engine(std::move(made)) {}
  std::mutex mutex;
  std::unique_ptr<Engine> engine;
};
using HolderPtr = std::shared_ptr<Holder>;

/// A decision and the engine it belongs to.
struct HeldDecision {
  HolderPtr holder;
  Decision decision;
};

/// An assumption and the engine it belongs to.
struct HeldAssumption {
  HolderPtr holder;
  AssumedState state;
  std::string node;
  py::object plan;
  bool is_forgotten = false;
};

inline py::str to_python(std::string_view text) { return {text.data(), text.size()}; }
inline py::str name_of(const Cluster& cluster, NodeId row) { return to_python(cluster.strings.view(cluster.node(row).name)); }
NodeId node_named(const Cluster& cluster, std::string_view name);
/// ((claim, volume)…), ((claim, pool or None)…)
py::tuple plan_to_python(const Cluster& cluster, const Plan& plan);

void bind_errors(py::module_& m);
void bind_engine(py::module_& m);
void bind_decision(py::module_& m);

}  // namespace volsched::bindings
