#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "volsched/change_log.hpp"
#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// What a pod takes from a node: cpu in thousandths, bytes, scalars by column. Source: spec/scheduling.md 3.2 to 3.4.
struct Usage {
  std::int64_t milli_cpu = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t ephemeral_bytes = 0;
  std::int64_t scored_milli_cpu = 0;  ///< with the defaults for containers that name nothing
  std::int64_t scored_memory_bytes = 0;
  std::vector<std::pair<std::uint32_t, std::int64_t>> scalars;  ///< (scalar column, amount), by resource name
  bool operator==(const Usage&) const = default;
};

/// What nodes offer and what their pods take, one column a resource, by node row. Columns of rows without a node hold
/// zero allocatable.
class ResourceTable {
 public:
  struct Column {
    StringId name;
    std::vector<std::int64_t> allocatable;
    std::vector<std::int64_t> requested;
  };
  struct Allocatable {
    std::int64_t milli_cpu = 0;
    std::int64_t memory_bytes = 0;
    std::int64_t ephemeral_bytes = 0;
    std::int64_t pods = 0;
    std::vector<std::pair<std::uint32_t, std::int64_t>> scalars;
  };
  static constexpr std::size_t kCpu = 0;
  static constexpr std::size_t kMemory = 1;
  static constexpr std::size_t kEphemeral = 2;
  static constexpr std::size_t kScalars = 3;  ///< scalar column n is column kScalars + n

  explicit ResourceTable(StringPool& strings);

  void resize(std::size_t rows);
  [[nodiscard]] std::uint32_t scalar(StringId name);
  /// The column of a scalar that some node or pod has named, nullptr for others.
  [[nodiscard]] const Column* find_scalar(StringId name) const;
  [[nodiscard]] std::size_t column_count() const { return columns_.size(); }
  [[nodiscard]] const Column& column(std::size_t index) const { return columns_[index]; }
  [[nodiscard]] const Column& scalar_column(std::uint32_t scalar) const { return columns_[kScalars + scalar]; }

  void set_allocatable(NodeId row, const Allocatable& allocatable);
  void add(NodeId row, const Usage& usage) { apply(row, usage, 1); }
  void subtract(NodeId row, const Usage& usage) { apply(row, usage, -1); }
  /// The node was changed in a way that leaves its numbers alone.
  void touch(NodeId row) { log_.push(row.value()); }

  [[nodiscard]] const std::vector<std::int64_t>& scored_cpu() const { return scored_cpu_; }
  [[nodiscard]] const std::vector<std::int64_t>& scored_memory() const { return scored_memory_; }
  [[nodiscard]] const std::vector<std::int64_t>& pod_count() const { return pod_count_; }
  [[nodiscard]] const std::vector<std::int64_t>& pod_limit() const { return pod_limit_; }
  /// Rows whose numbers changed.
  [[nodiscard]] const ChangeLog& log() const { return log_; }
  [[nodiscard]] std::size_t bytes() const;

 private:
  void apply(NodeId row, const Usage& usage, std::int64_t sign);

  std::vector<Column> columns_;
  FlatMap scalar_ids_;
  std::vector<std::int64_t> scored_cpu_;
  std::vector<std::int64_t> scored_memory_;
  std::vector<std::int64_t> pod_count_;
  std::vector<std::int64_t> pod_limit_;
  ChangeLog log_;
};

}  // namespace volsched
