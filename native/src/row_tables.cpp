#include "volsched/row_tables.hpp"

#include <algorithm>
#include <cstring>

#include "volsched/error.hpp"

namespace volsched {

namespace {

void append_length(std::string& to, std::size_t length) {
  const auto written = static_cast<std::uint32_t>(length);
  std::array<char, sizeof written> bytes{};
  std::memcpy(bytes.data(), &written, sizeof written);
  to.append(bytes.data(), bytes.size());
}

using PutRow = void (Cluster::*)(std::string_view);

/// By RowKind; pods are not among them.
PutRow reader_of(RowKind kind) {
  switch (kind) {
    case RowKind::kNode:
      return &Cluster::put_node;
    case RowKind::kVolume:
      return &Cluster::put_volume;
    case RowKind::kClaim:
      return &Cluster::put_claim;
    case RowKind::kClass:
      return &Cluster::put_class;
    case RowKind::kCsiNode:
      return &Cluster::put_csi_node;
    case RowKind::kCsiDriver:
      return &Cluster::put_csi_driver;
    case RowKind::kCapacity:
      return &Cluster::put_capacity;
    case RowKind::kAttachment:
      return &Cluster::put_attachment;
    case RowKind::kNamespace:
      return &Cluster::put_namespace;
    case RowKind::kService:
      return &Cluster::put_service;
    case RowKind::kController:
      return &Cluster::put_controller;
    case RowKind::kPod:
      break;
  }
  throw Error("pods have rows of their own");
}

}  // namespace

std::string_view ByteColumn::text(std::size_t row) const {
  std::size_t at = row;
  if (code_bytes != 0) {
    std::uint32_t code = 0;
    std::memcpy(&code, codes.data() + row * code_bytes, code_bytes);
    at = code;
  }
  if (at >= values.size() / width)
    throw Error("row " + std::to_string(row) + " of a column has code " + std::to_string(at) +
                ", which names none of its " + std::to_string(values.size() / width) + " values");
  const std::string_view entry = values.substr(at * width, width);
  return entry.substr(0, entry.find('\0'));
}

void RowPattern::fill(std::span<const ByteColumn> columns, std::size_t row, std::string& into) const {
  into.clear();
  for (const Hole& hole : holes) {
    const std::string_view text = columns[hole.column].text(row);
    into += hole.before;
    append_length(into, hole.prefix.size() + text.size() + hole.suffix.size());
    into += hole.prefix;
    into += text;
    into += hole.suffix;
  }
  into += rest;
}

RowTable::RowTable(RowKind kind, std::size_t count, std::vector<RowShape> shapes, std::vector<std::uint32_t> shape_of,
                   std::vector<ByteColumn> columns)
    : kind_(kind),
      count_(count),
      shapes_(std::move(shapes)),
      shape_of_(std::move(shape_of)),
      columns_(std::move(columns)) {
  for (const ByteColumn& column : columns_) {
    if (column.width == 0 || column.code_bytes > sizeof(std::uint32_t) || column.code_bytes == 3)
      throw Error("a column has entries of " + std::to_string(column.width) + " bytes and codes of " +
                  std::to_string(column.code_bytes));
    if (column.count() < count_)
      throw Error("a column has " + std::to_string(column.count()) + " rows; its table has " + std::to_string(count_));
  }
  if (count_ > 0 && shapes_.empty()) throw Error("a table has rows and no shape");
  if (!shape_of_.empty() && shape_of_.size() != count_)
    throw Error("a table has " + std::to_string(count_) + " rows and shapes for " + std::to_string(shape_of_.size()));
  for (const std::uint32_t shape : shape_of_) {
    if (shape >= shapes_.size()) throw Error("a row has shape " + std::to_string(shape) + ", which its table lacks");
  }
  const std::size_t rows = kind_ == RowKind::kPod ? 3 : 1;
  for (const RowShape& shape : shapes_) {
    if (shape.rows.size() != rows || (shape.use != RowUse::kPut && kind_ != RowKind::kPod))
      throw Error("a shape has " + std::to_string(shape.rows.size()) + " rows where its kind has " +
                  std::to_string(rows));
    for (const RowPattern& pattern : shape.rows) {
      for (const RowPattern::Hole& hole : pattern.holes) {
        if (hole.column >= columns_.size())
          throw Error("a shape refers to column " + std::to_string(hole.column) + ", which its table lacks");
      }
    }
  }
}

void RowTable::load(std::size_t row, Cluster& cluster, PodBatch& batch, std::array<std::string, 3>& scratch) const {
  const RowShape& shape = shapes_[shape_of_.empty() ? 0 : shape_of_[row]];
  for (std::size_t at = 0; at < shape.rows.size(); ++at) shape.rows[at].fill(columns_, row, scratch[at]);
  if (kind_ != RowKind::kPod) {
    (cluster.*reader_of(kind_))(scratch[0]);
  } else if (shape.use == RowUse::kPending) {
    batch.add(cluster.program(scratch[0]), cluster.instance(scratch[1]), cluster.strings);
  } else if (shape.use == RowUse::kGone) {
    const PodInstance pod = cluster.instance(scratch[1]);
    cluster.remove_pod(cluster.strings.str(pod.space), cluster.strings.str(pod.name));
  } else {
    cluster.put_pod(scratch[0], scratch[1], scratch[2]);
  }
}

void load_tables(std::span<const RowTable* const> tables, std::span<const std::uint32_t> order, Cluster& cluster,
                 PodBatch& batch) {
  std::array<std::string, 3> scratch;
  if (order.empty()) {
    for (const RowTable* table : tables) {
      for (std::size_t row = 0; row < table->count(); ++row) table->load(row, cluster, batch, scratch);
    }
    return;
  }
  std::vector<std::size_t> wanted(tables.size());
  for (const std::uint32_t table : order) {
    if (table >= tables.size()) throw Error("an order names table " + std::to_string(table) + ", which is not there");
    ++wanted[table];
  }
  for (std::size_t at = 0; at < tables.size(); ++at) {
    if (wanted[at] != tables[at]->count())
      throw Error("an order names table " + std::to_string(at) + " " + std::to_string(wanted[at]) + " times; it has " +
                  std::to_string(tables[at]->count()) + " rows");
  }
  std::vector<std::size_t> next(tables.size());
  for (const std::uint32_t table : order) tables[table]->load(next[table]++, cluster, batch, scratch);
}

}  // namespace volsched
