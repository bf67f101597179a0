#pragma once

#include <cstdint>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"

namespace volsched {

/// Row numbers by the hash of what the rows hold; the caller compares. Rows of one hash stand at keys that follow from
/// it one after the other, without a gap. A row number is below kGone. Shares memory with its copies as FlatMap does.
class HashIndex {
 public:
  static constexpr std::uint32_t kMissing = FlatMap::kMissing;

  /// The row with this hash that `equals` takes, kMissing when there is none.
  template <class Equals>
  [[nodiscard]] std::uint32_t find(std::uint64_t hash, Equals&& equals) const {
    for (std::uint64_t key = first(hash);; key = next(key)) {
      const std::uint32_t row = rows_.find(key);
      if (row == kMissing || (row != kGone && equals(row))) return row;
    }
  }
  void add(std::uint64_t hash, std::uint32_t row);
  /// The row is there.
  void remove(std::uint64_t hash, std::uint32_t row);
  [[nodiscard]] std::size_t bytes() const { return rows_.bytes(); }

 private:
  static constexpr std::uint32_t kGone = kMissing - 1;  ///< keeps together what stands around it

  // ~0 is no key of a FlatMap; the walk through keys is a permutation of the others.
  [[nodiscard]] static std::uint64_t first(std::uint64_t hash) { return hash == ~0ULL ? 0 : hash; }
  [[nodiscard]] static std::uint64_t next(std::uint64_t key) { return first(key + 1); }

  FlatMap rows_;
};

}  // namespace volsched
