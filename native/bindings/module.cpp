// volsched.engine._core: the native engine. What the calls mean is documented on their Python side, volsched.engine.

#include "holder.hpp"
#include "volsched/error.hpp"

namespace volsched::bindings {

void bind_errors(py::module_& m) {
  static_cast<void>(m);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Error& problem) {
      const py::object type = py::module_::import("volsched.errors").attr("EngineError");
      py::set_error(type, problem.what());
    }
  });
}

PYBIND11_MODULE(_core, m) {
  m.doc() = "The native scheduling engine: rows in, decisions out.";
  bind_errors(m);
  bind_decision(m);
  bind_engine(m);
  bind_trial(m);
  bind_search(m);
  bind_batch(m);
  bind_tables(m);
}

}  // namespace volsched::bindings
