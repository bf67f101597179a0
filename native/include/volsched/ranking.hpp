#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "volsched/ids.hpp"
#include "volsched/kept_column.hpp"
#include "volsched/node_mask.hpp"

namespace volsched {

/// Rows in a heap, the greatest key on top; four children a node. A row's key can be changed or taken out at any time.
/// Keys are distinct. Invariant: a parent's key is not less than its children's, and places_ says where each row is.
class RowHeap {
 public:
  static constexpr std::uint32_t kNowhere = 0xffffffff;
  struct Entry {
    std::int64_t key = 0;
    std::uint32_t row = 0;
  };

  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] const Entry& top() const { return entries_.front(); }
  [[nodiscard]] bool contains(std::uint32_t row) const { return places_[row] != kNowhere; }
  /// Exactly these rows.
  void assign(std::vector<Entry> entries, std::size_t rows);
  /// Put a row in, or change its key.
  void put(std::uint32_t row, std::int64_t key);
  void erase(std::uint32_t row);
  [[nodiscard]] std::size_t bytes() const { return entries_.capacity() * sizeof(Entry) + places_.capacity() * 4; }
  [[nodiscard]] std::string validate() const;

 private:
  static constexpr std::size_t kChildren = 4;
  void settle(std::size_t at, Entry entry) {
    entries_[at] = entry;
    places_[entry.row] = static_cast<std::uint32_t>(at);
  }
  void rise(std::size_t at, Entry entry);
  void sink(std::size_t at, Entry entry);

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> places_;  ///< by row
};

/// The nodes that fit, best total first, for pods whose totals are made of the same kept columns. Asked again, it
/// follows the columns' logs and the difference between two masks, so a decision costs what has changed since the last
/// one. The best is the node of the greatest total; of several, the one of the lowest rank.
class Ranking {
 public:
  struct Part {
    const KeptColumn* column = nullptr;
    std::int32_t weight = 0;
  };

  /// `feasible` has a member. `rank` by row, all different; another `rank_version` means other ranks.
  NodeId best(const NodeMask& feasible, std::span<const Part> parts, std::span<const std::uint32_t> rank,
              std::uint64_t rank_version);
  /// Whether it was built on these columns.
  [[nodiscard]] bool follows(std::span<const Part> parts) const;
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const { return heap_.validate(); }

 private:
  struct Source {
    std::uint64_t column = 0;  ///< its id
    std::uint64_t cursor = 0;
    std::int32_t weight = 0;
  };
  void rebuild(const NodeMask& feasible, std::span<const Part> parts, std::span<const std::uint32_t> rank);

  std::vector<Source> sources_;
  std::uint64_t rank_version_ = ~0ULL;
  NodeMask feasible_;
  RowHeap heap_;
};

}  // namespace volsched
