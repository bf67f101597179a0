#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "holder.hpp"
#include "volsched/error.hpp"
#include "volsched/row_tables.hpp"

namespace volsched::bindings {

namespace {

using namespace pybind11::literals;

/// Bytes before a hole, its column, what is fixed in its text before and behind.
using GivenHole = std::tuple<py::bytes, std::uint32_t, py::bytes, py::bytes>;
/// Holes, and the bytes after the last.
using GivenPattern = std::pair<std::vector<GivenHole>, py::bytes>;
/// Its RowUse, its rows.
using GivenShape = std::pair<std::uint8_t, std::vector<GivenPattern>>;

/// A table and the arrays its columns point into.
struct HeldTable {
  std::vector<py::array> owners;
  std::unique_ptr<RowTable> table;
};

std::string_view bytes_of(const py::array& array) {
  return {static_cast<const char*>(array.data()), static_cast<std::size_t>(array.nbytes())};
}

void check_plain(const py::array& array) {
  if (array.ndim() != 1 || (array.flags() & py::array::c_style) == 0)
    throw Error("a column is a contiguous array of one dimension");
}

RowPattern pattern_of(const GivenPattern& given) {
  RowPattern made;
  for (const auto& [before, column, prefix, suffix] : given.first)
    made.holes.push_back({std::string(view(before)), column, std::string(view(prefix)), std::string(view(suffix))});
  made.rest = std::string(view(given.second));
  return made;
}

using Numbers = py::array_t<std::uint32_t, py::array::c_style>;

std::vector<std::uint32_t> copied(const Numbers& numbers) {
  return {numbers.data(), numbers.data() + numbers.size()};
}

HeldTable table_of(std::uint8_t kind, std::size_t count, const std::vector<GivenShape>& shapes, const Numbers& shape_of,
                   const std::vector<std::pair<py::array, std::optional<py::array>>>& columns) {
  if (kind > static_cast<std::uint8_t>(RowKind::kController)) throw Error("no kind has number " + std::to_string(kind));
  HeldTable held;
  std::vector<RowShape> made;
  for (const auto& [use, rows] : shapes) {
    if (use > static_cast<std::uint8_t>(RowUse::kGone))
      throw Error("no use of a row has number " + std::to_string(use));
    RowShape& shape = made.emplace_back();
    shape.use = static_cast<RowUse>(use);
    for (const GivenPattern& row : rows) shape.rows.push_back(pattern_of(row));
  }
  std::vector<ByteColumn> views;
  for (const auto& [values, codes] : columns) {
    check_plain(values);
    held.owners.push_back(values);
    ByteColumn column{bytes_of(values), static_cast<std::size_t>(values.itemsize()), {}, 0};
    if (codes) {
      check_plain(*codes);
      held.owners.push_back(*codes);
      column.codes = bytes_of(*codes);
      column.code_bytes = static_cast<std::size_t>(codes->itemsize());
    }
    views.push_back(column);
  }
  held.table = std::make_unique<RowTable>(static_cast<RowKind>(kind), count, std::move(made), copied(shape_of),
                                          std::move(views));
  return held;
}

void load_tables_into(const HeldBatch& batch, const std::vector<const HeldTable*>& held, const Numbers& numbers) {
  const std::vector<std::uint32_t> order = copied(numbers);
  std::vector<const RowTable*> tables;
  for (const HeldTable* one : held) tables.push_back(one->table.get());
  const py::gil_scoped_release release;
  const std::lock_guard lock(batch.holder->mutex);
  load_tables(tables, order, batch.holder->engine->cluster, *batch.batch);
}

}  // namespace

void bind_tables(py::module_& m) {
  py::class_<HeldTable>(m, "RowTable", "Objects of one kind as shapes and columns.")
      .def(py::init(&table_of), "kind"_a, "count"_a, "shapes"_a, "shape_of"_a, "columns"_a)
      .def("__len__", [](const HeldTable& self) { return self.table->count(); });
  m.def("load_tables", &load_tables_into, "batch"_a, "tables"_a, "order"_a,
        "Take the objects of tables of one kind into the batch's engine; pending pods join the batch.");
}

}  // namespace volsched::bindings
