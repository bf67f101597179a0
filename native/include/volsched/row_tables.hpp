#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "volsched/batch.hpp"
#include "volsched/cluster.hpp"

namespace volsched {

/// A column of byte strings of one width, shorter ones filled up with zero bytes; with codes, the row's entry of
/// `values` is the code's. Points into memory of its owner.
struct ByteColumn {
  std::string_view values;
  std::size_t width = 1;
  std::string_view codes;  ///< empty = one value a row
  std::size_t code_bytes = 0;

  [[nodiscard]] std::size_t count() const {
    return code_bytes == 0 ? values.size() / width : codes.size() / code_bytes;
  }
  /// The entry of a row below count(). Raises Error for a code that names no value.
  [[nodiscard]] std::string_view text(std::size_t row) const;
};

/// A packed row (row_reader.hpp) with holes: literal bytes, and texts that a column fills in. A text may have something
/// fixed before and behind what the column says.
struct RowPattern {
  struct Hole {
    std::string before;  ///< literal bytes since the last hole
    std::uint32_t column = 0;
    std::string prefix;
    std::string suffix;
  };
  std::vector<Hole> holes;
  std::string rest;

  /// The row of one object, in `into`.
  void fill(std::span<const ByteColumn> columns, std::size_t row, std::string& into) const;
};

/// What becomes of an object.
enum class RowUse : std::uint8_t {
  kPut,      ///< it is taken in, replacing what was known of it
  kPending,  ///< a pod that is to be placed: it joins the batch
  kGone,     ///< a pod that has ended: nothing counts it any more
};

enum class RowKind : std::uint8_t {
  kNode,
  kPod,
  kVolume,
  kClaim,
  kClass,
  kCsiNode,
  kCsiDriver,
  kCapacity,
  kAttachment,
  kNamespace,
  kService,
  kController,
};

/// How the objects of a table that have one shape become rows: one pattern, or for pods three (program, instance,
/// usage).
struct RowShape {
  RowUse use = RowUse::kPut;  ///< other than kPut for pods only
  std::vector<RowPattern> rows;
};

/// Objects of one kind as shapes and columns, the way a columnar file has them (docs/columnar.md). Loading gives the
/// same rows to the same readers as objects do, so the cluster that comes of it is the same.
class RowTable {
 public:
  /// `shape_of`: by row, empty when there is one shape. Raises Error when columns differ in length or a shape refers to
  /// what is not there.
  RowTable(RowKind kind, std::size_t count, std::vector<RowShape> shapes, std::vector<std::uint32_t> shape_of,
           std::vector<ByteColumn> columns);

  [[nodiscard]] RowKind kind() const { return kind_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  /// Take one object in. `scratch` keeps its memory from row to row.
  void load(std::size_t row, Cluster& cluster, PodBatch& batch, std::array<std::string, 3>& scratch) const;

 private:
  RowKind kind_;
  std::size_t count_;
  std::vector<RowShape> shapes_;
  std::vector<std::uint32_t> shape_of_;
  std::vector<ByteColumn> columns_;
};

/// Take in the objects of several tables in the order in which `order` names them, each table's own in its order; one
/// table after the other when `order` is empty. Raises Error when `order` does not name each table as often as it has
/// objects.
void load_tables(std::span<const RowTable* const> tables, std::span<const std::uint32_t> order, Cluster& cluster,
                 PodBatch& batch);

}  // namespace volsched
