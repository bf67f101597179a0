#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "volsched/change_log.hpp"
#include "volsched/flat_map.hpp"

namespace volsched {

/// Rows sorted into classes that a plugin scores alike whatever it scores: each class has a signature, the numbers that
/// decide about its rows. What compares nodes with each other is then worked out once a class, never once a node, and a
/// row that changes its class is told by the log. The id is kept while the log tells everything.
class RowClasses {
 public:
  /// More classes than this are no gain over looking at every row.
  static constexpr std::size_t kClassesMax = 512;

  RowClasses();

  /// Begin anew; `width` is the length of every signature. Rows are in no class until they are put into one.
  void restart(std::size_t rows, std::size_t width);
  void put(std::uint32_t row, std::span<const std::int64_t> signature);

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] std::uint32_t of(std::size_t row) const { return of_row_[row]; }
  /// Classes so far; one may have lost its last row.
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] bool is_crowded() const { return count_ > kClassesMax; }
  [[nodiscard]] std::span<const std::int64_t> signature(std::size_t id) const {
    return {signatures_.data() + id * width_, width_};
  }
  [[nodiscard]] const ChangeLog& moved() const { return moved_; }

 private:
  std::uint32_t intern(std::span<const std::int64_t> signature);

  std::uint64_t id_;
  std::size_t width_ = 0;
  std::size_t count_ = 0;
  std::vector<std::uint32_t> of_row_;
  std::vector<std::int64_t> signatures_;  ///< [class * width + at]
  std::vector<std::uint32_t> next_;       ///< next class whose signature has the same hash
  FlatMap by_hash_;
  ChangeLog moved_;
};

}  // namespace volsched
