#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "volsched/change_log.hpp"

namespace volsched {

/// A number that no column or sorting into classes has had. It only tells them apart, so it does not matter which
/// engine takes the next one.
std::uint64_t next_column_id();

inline constexpr std::int64_t kScoreMax = 100;

/// A score by row that a plugin or an index keeps from pod to pod, with a log of the rows whose score changed: what is
/// built on it follows the log instead of reading the column. The id is the column's own as long as the log tells
/// everything; after restart() it is another, so a reader that knows an id knows whether it can follow.
///
/// Amounts near the ends of 64 bits wrap and can take a score out of 0..100, which fails a cycle that comes to it; such
/// scores are set aside, in full, and are 0 in the column.
class KeptColumn {
 public:
  using Invalid = std::unordered_map<std::uint32_t, std::int64_t>;  ///< row -> score; nearly always empty

  KeptColumn();

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] const std::int32_t* data() const { return values_.data(); }
  [[nodiscard]] std::int32_t operator[](std::size_t row) const { return values_[row]; }
  [[nodiscard]] const ChangeLog& changed() const { return changed_; }
  [[nodiscard]] const Invalid& invalid() const { return invalid_; }
  [[nodiscard]] std::size_t bytes() const { return values_.capacity() * sizeof(std::int32_t); }

  /// New rows score 0.
  void resize(std::size_t rows) { values_.resize(rows, 0); }
  void set(std::size_t row, std::int64_t score) {
    const std::int32_t value = checked(row, score);
    if (values_[row] == value) return;
    values_[row] = value;
    changed_.push(static_cast<std::uint32_t>(row));
  }
  /// All of it is to be written anew, with write().
  void restart(std::size_t rows);
  void write(std::size_t row, std::int64_t score) { values_[row] = checked(row, score); }

 private:
  std::int32_t checked(std::size_t row, std::int64_t score) {
    if (score >= 0 && score <= kScoreMax) [[likely]] {
      if (!invalid_.empty()) invalid_.erase(static_cast<std::uint32_t>(row));
      return static_cast<std::int32_t>(score);
    }
    invalid_[static_cast<std::uint32_t>(row)] = score;
    return 0;
  }

  std::uint64_t id_;
  std::vector<std::int32_t> values_;
  ChangeLog changed_;
  Invalid invalid_;
};

}  // namespace volsched
