#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "volsched/change_log.hpp"

namespace volsched {

/// A number that no column or sorting into classes has had. It only tells them apart, so it does not matter which
/// engine takes the next one.
std::uint64_t next_column_id();

/// A score by row that a plugin or an index keeps from pod to pod, with a log of the rows whose score changed: what is
/// built on it follows the log instead of reading the column. The id is the column's own as long as the log tells
/// everything; after restart() it is another, so a reader that knows an id knows whether it can follow.
class KeptColumn {
 public:
  KeptColumn();

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] const std::int32_t* data() const { return values_.data(); }
  [[nodiscard]] std::int32_t operator[](std::size_t row) const { return values_[row]; }
  [[nodiscard]] const ChangeLog& changed() const { return changed_; }
  [[nodiscard]] std::size_t bytes() const { return values_.capacity() * sizeof(std::int32_t); }

  /// New rows score 0.
  void resize(std::size_t rows) { values_.resize(rows, 0); }
  void set(std::size_t row, std::int32_t value) {
    if (values_[row] == value) return;
    values_[row] = value;
    changed_.push(static_cast<std::uint32_t>(row));
  }
  /// All of it is to be written anew, with write().
  void restart(std::size_t rows);
  void write(std::size_t row, std::int32_t value) { values_[row] = value; }

 private:
  std::uint64_t id_;
  std::vector<std::int32_t> values_;
  ChangeLog changed_;
};

}  // namespace volsched
