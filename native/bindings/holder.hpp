#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <array>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "volsched/batch.hpp"
#include "volsched/engine.hpp"

namespace volsched::bindings {

namespace py = pybind11;

// What goes to Python, with precise types for the .pyi file. Names are built as Python objects, not as C++ strings
// first.
template <class Item>
using ManyOf = py::typing::Tuple<Item, py::ellipsis>;
using PyOptionalText = py::typing::Optional<py::str>;
using PyRejection = py::typing::Tuple<py::str, py::str, ManyOf<py::str>>;  ///< plugin, code, reasons
using PyProvision = py::typing::Tuple<py::str, PyOptionalText, ManyOf<py::str>>;
/// (claim, volume)…, (claim, pool or None, pools in which it holds room)…
using PyPlan = py::typing::Tuple<ManyOf<py::typing::Tuple<py::str, py::str>>, ManyOf<PyProvision>>;

/// An engine with the lock that keeps its callers apart. Whoever decides gives up the interpreter first and takes the
/// lock then, and never needs the interpreter while it has the lock; so taking the lock with the interpreter held
/// cannot deadlock.
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

/// A profile and the engine it was compiled for. Its forks know the same names by the same numbers.
struct HeldProfile {
  ProfilePtr profile;
};

/// An assumption and the engine it belongs to.
struct HeldAssumption {
  HolderPtr holder;
  AssumedState state;
  std::string node;
  PyPlan plan;
  bool is_forgotten = false;
};

/// Pods compiled for one engine.
struct HeldBatch {
  HolderPtr holder;
  std::shared_ptr<PodBatch> batch;
};

/// A trial with the engine and generation it belongs to. Guests of a node that is tried step by step stay here.
struct HeldTrial {
  HolderPtr holder;
  std::uint64_t generation = 0;
  std::unique_ptr<Trial> trial;
  std::deque<PodRow> guests;

  /// Raises Error once the cluster has changed.
  Cluster& cluster();
};

inline py::str to_python(std::string_view text) {
  return {text.data(), text.size()};
}
inline py::str name_of(const Cluster& cluster, NodeId row) {
  return to_python(cluster.strings.view(cluster.node(row).name));
}
inline std::string_view view(const py::bytes& bytes) {
  return {PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}
NodeId node_named(const Cluster& cluster, std::string_view name);
/// Raises Error when no node or pod has named the resource.
std::size_t resource_index(const Cluster& cluster, const std::string& resource);

/// Pods by node that are promised it: program, instance and usage row of each.
using GuestRows = std::tuple<py::bytes, py::bytes, py::bytes>;
using PromisedRows = std::vector<std::pair<std::string, std::vector<GuestRows>>>;

/// The same for reading without the interpreter, while the rows live.
class PromisedViews {
 public:
  explicit PromisedViews(const PromisedRows& rows);
  /// Nodes that are not there are left out.
  [[nodiscard]] std::vector<Promise> read(Cluster& cluster) const;
  [[nodiscard]] std::vector<PodRow> read_pods(Cluster& cluster, std::size_t at, NodeId row) const;

 private:
  struct One {
    std::string node;
    std::vector<std::array<std::string_view, 3>> pods;
  };
  std::vector<One> all_;
};

PyPlan plan_to_python(const Cluster& cluster, const Plan& plan);

HeldTrial begun_trial(const HeldDecision& held);

void bind_errors(py::module_& m);
void bind_engine(py::module_& m);
void bind_decision(py::module_& m);
void bind_search(py::module_& m);
void bind_batch(py::module_& m);
void bind_tables(py::module_& m);
void bind_trial(py::module_& m);

}  // namespace volsched::bindings
