#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "volsched/ids.hpp"

namespace volsched {

/// Multiplication as Go does it on int64: wraps around.
[[nodiscard]] constexpr std::int64_t wrapping_mul(std::int64_t left, std::int64_t right) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(left) * static_cast<std::uint64_t>(right));
}
[[nodiscard]] constexpr std::int64_t wrapping_add(std::int64_t left, std::int64_t right) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(left) + static_cast<std::uint64_t>(right));
}
[[nodiscard]] constexpr std::int64_t wrapping_sub(std::int64_t left, std::int64_t right) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(left) - static_cast<std::uint64_t>(right));
}

/// A point of a piecewise linear function: percent used -> score 0..100.
struct ShapePoint {
  std::int64_t utilization = 0;
  std::int64_t score = 0;
};

/// VolumeBinding's default: an empty pool scores 100, a full one 0. Source: scheduling.md 1.2, 4.5.
inline constexpr std::array<ShapePoint, 2> kVolumeShape{{{0, 100}, {100, 0}}};

/// Source: pkg/scheduler/framework/plugins/helper/shape_score.go.
template <class Points>
[[nodiscard]] std::int64_t score_on_shape(const Points& shape, std::int64_t utilization) {
  for (std::size_t at = 0; at < shape.size(); ++at) {
    if (utilization > shape[at].utilization) continue;
    if (at == 0) return shape[0].score;
    const ShapePoint& from = shape[at - 1];
    return from.score + (shape[at].score - from.score) * (utilization - from.utilization) /
                            (shape[at].utilization - from.utilization);
  }
  return shape[shape.size() - 1].score;
}

/// What a node's volumes of one storage class add up to.
struct ClassFill {
  StringId storage_class;
  std::int64_t requested_bytes = 0;
  std::int64_t capacity_bytes = 0;
};

/// Fills by storage class of one node, in order of appearance; few, so a list. Source: volumebinding/scorer.go.
class ClassFills {
 public:
  ClassFill& at(StringId storage_class) {
    for (ClassFill& fill : fills_) {
      if (fill.storage_class == storage_class) return fill;
    }
    return fills_.emplace_back(ClassFill{storage_class, 0, 0});
  }
  void clear() { fills_.clear(); }
  [[nodiscard]] bool empty() const { return fills_.empty(); }
  [[nodiscard]] std::int32_t score() const { return score(kVolumeShape); }
  template <class Points>
  [[nodiscard]] std::int32_t score(const Points& shape) const {
    if (fills_.empty()) return 0;
    double sum = 0;
    for (const ClassFill& fill : fills_) {
      const bool is_full = fill.capacity_bytes == 0 || fill.requested_bytes > fill.capacity_bytes;
      const std::int64_t used = is_full ? 100 : wrapping_mul(fill.requested_bytes, 100) / fill.capacity_bytes;
      sum += static_cast<double>(score_on_shape(shape, used));
    }
    return static_cast<std::int32_t>(std::round(sum / static_cast<double>(fills_.size())));
  }

 private:
  std::vector<ClassFill> fills_;
};

}  // namespace volsched
