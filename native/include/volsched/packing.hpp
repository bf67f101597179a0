#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "volsched/amount.hpp"

namespace volsched {

/// What has to be placed. bins: positions of the bins it may go into, ascending.
struct PackItem {
  std::int64_t bytes = 0;
  std::vector<std::uint32_t> bins;
  bool operator==(const PackItem&) const = default;
};

/// Where it may be placed. siblings: positions of the bins that lose the same bytes.
struct PackBin {
  bool has_room = false;  ///< otherwise the room is not known, and so without limit
  Int128 room = 0;
  bool has_maximum = false;
  std::int64_t maximum = 0;  ///< the largest item
  std::vector<std::uint32_t> siblings;

  [[nodiscard]] bool takes_alone(std::int64_t bytes) const {
    return (!has_maximum || bytes <= maximum) && (!has_room || bytes <= room);
  }
};

enum class PackVerdict : std::uint8_t { kFits, kLacks, kUndecided };

/// bins: the bin of each item, when they fit.
struct Packing {
  PackVerdict verdict = PackVerdict::kLacks;
  std::vector<std::uint32_t> bins;
  std::uint32_t steps = 0;
};

/// The first way to place all items, in lexical order: the first item in the earliest bin for which the rest can still
/// be placed, and so on. Counts the placements it tries and gives up after `steps_max`. The rules, and the cuts that
/// keep the search short, are those of volsched/rules/packing.py, step for step, so that both give up on the same
/// questions.
[[nodiscard]] Packing pack(std::span<const PackItem> items, std::span<const PackBin> bins, std::uint32_t steps_max);

}  // namespace volsched
