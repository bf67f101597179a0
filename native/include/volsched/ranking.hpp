#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/kept_column.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/row_classes.hpp"

namespace volsched {

/// Rows in several heaps, a row in one of them or none, the greatest key on top; four children a node. A row's key and
/// heap can be changed at any time. Keys are distinct. Invariant: a parent's key is not less than its children's;
/// heap_of_ and places_ say where each row is.
class RowHeaps {
 public:
  static constexpr std::uint32_t kNowhere = 0xffffffff;
  struct Entry {
    std::int64_t key = 0;
    std::uint32_t row = 0;
  };

  void clear(std::size_t rows);
  /// Append without order; settle() has to be called before anything else.
  void append(std::uint32_t heap, Entry entry);
  void settle();

  [[nodiscard]] std::size_t count() const { return heaps_.size(); }
  [[nodiscard]] std::size_t size(std::size_t heap) const { return heaps_[heap].size(); }
  [[nodiscard]] const Entry& top(std::size_t heap) const { return heaps_[heap].front(); }
  /// The heap a row is in, kNowhere for none.
  [[nodiscard]] std::uint32_t heap_of(std::uint32_t row) const { return heap_of_[row]; }
  /// Put a row in, change its key, or move it.
  void put(std::uint32_t row, std::uint32_t heap, std::int64_t key);
  void erase(std::uint32_t row);
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const;

 private:
  static constexpr std::size_t kChildren = 4;
  using Heap = std::vector<Entry>;
  Heap& heap_at(std::uint32_t heap);
  void set(Heap& heap, std::size_t at, Entry entry) {
    heap[at] = entry;
    places_[entry.row] = static_cast<std::uint32_t>(at);
  }
  void rise(Heap& heap, std::size_t at, Entry entry);
  void sink(Heap& heap, std::size_t at, Entry entry);

  std::vector<Heap> heaps_;
  std::vector<std::uint32_t> heap_of_;  ///< by row
  std::vector<std::uint32_t> places_;   ///< by row: within its heap
};

/// The nodes that fit, best total first, for pods whose totals are made of the same parts: kept columns, which give
/// each node a score of its own, and classes, whose scores compare nodes with each other and are worked out anew each
/// time. Asked again, it follows their logs and the difference between two masks, so a decision costs what has changed
/// since the last one and a step for each class. The best is the node of the greatest total; of several, the one of the
/// lowest rank.
class Ranking {
 public:
  /// Fills in the score of every class that has a count; counts of nodes that fit, by class.
  using ClassScores = std::function<void(std::span<const std::uint32_t> counts, std::vector<std::int32_t>& scores)>;
  struct Part {
    const KeptColumn* column = nullptr;
    std::int32_t weight = 0;
  };
  struct ClassPart {
    const RowClasses* classes = nullptr;
    std::int32_t weight = 0;
    ClassScores scores;
  };
  static constexpr std::size_t kClassPartsMax = 5;

  /// `feasible` has a member. `rank` by row, all different; another `rank_version` means other ranks.
  NodeId best(const NodeMask& feasible, std::span<const Part> parts, std::span<const ClassPart> class_parts,
              std::span<const std::uint32_t> rank, std::uint64_t rank_version);
  /// Whether it was built on these parts.
  [[nodiscard]] bool follows(std::span<const Part> parts, std::span<const ClassPart> class_parts) const;
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const { return heaps_.validate(); }

 private:
  struct Source {
    std::uint64_t id = 0;
    std::uint64_t cursor = 0;
    std::int32_t weight = 0;
  };
  using Combination = std::array<std::uint32_t, kClassPartsMax>;  ///< a class of each part
  struct View {
    const NodeMask& feasible;
    std::span<const Part> parts;
    std::span<const ClassPart> class_parts;
    std::span<const std::uint32_t> rank;
    [[nodiscard]] std::int64_t key_of(std::uint32_t row) const;
  };
  enum class Touch : std::uint8_t { kNone, kRescored, kMoved };
  void rebuild(const View& view);
  /// A row of the ranking has another key, or is in another class as well.
  void touch(std::uint32_t row, Touch how);
  /// Whether it could follow.
  bool follow(const View& view);
  std::uint32_t combination_of(const View& view, std::uint32_t row);
  NodeId best_of_all(const View& view);

  std::vector<Source> columns_;
  std::vector<Source> classes_;
  std::uint64_t rank_version_ = ~0ULL;
  NodeMask feasible_;
  RowHeaps heaps_;                         ///< one a combination
  std::vector<Combination> combinations_;  ///< by heap
  FlatMap combination_ids_;
  std::vector<std::uint32_t> touched_;                             ///< scratch: rows to be put anew
  std::vector<Touch> touches_;                                     ///< scratch, by row: all kNone between two calls
  std::array<std::vector<std::uint32_t>, kClassPartsMax> counts_;  ///< scratch
  std::array<std::vector<std::int32_t>, kClassPartsMax> scores_;   ///< scratch
};

}  // namespace volsched
