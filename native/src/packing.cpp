#include "volsched/packing.hpp"

#include <algorithm>

namespace volsched {

namespace {

constexpr std::uint32_t kNone = 0xffffffff;

bool contains(const std::vector<std::uint32_t>& ascending, std::uint32_t value) {
  return std::binary_search(ascending.begin(), ascending.end(), value);
}

/// What can be told without a search: every item fits somewhere alone, and all of them are no more than there is room.
bool may_fit(std::span<const PackItem> items, std::span<const PackBin> bins) {
  std::vector<bool> used(bins.size(), false);
  Int128 asked = 0;
  for (const PackItem& item : items) {
    if (std::none_of(item.bins.begin(), item.bins.end(),
                     [&](std::uint32_t number) { return bins[number].takes_alone(item.bytes); }))
      return false;
    for (const std::uint32_t number : item.bins) used[number] = true;
    asked += item.bytes;
  }
  Int128 room = 0;
  for (std::size_t number = 0; number < bins.size(); ++number) {
    if (!used[number]) continue;
    if (!bins[number].has_room || !bins[number].siblings.empty()) return true;
    room += std::max<Int128>(0, bins[number].room);
  }
  return asked <= room;
}

class Search {
 public:
  Search(std::span<const PackItem> items, std::span<const PackBin> bins)
      : items_(items), bins_(bins), load_(bins.size(), 0), count_(bins.size(), 0), tried_(1) {}

  Packing run(std::uint32_t steps_max) {
    std::uint32_t steps = 0;
    while (chosen_.size() < items_.size()) {
      const std::uint32_t number = next_bin();
      if (number != kNone) {
        if (steps == steps_max) return {PackVerdict::kUndecided, {}, steps};
        ++steps;
        tried_.back().push_back(number);
        tried_.emplace_back();
        add(number);
      } else if (!chosen_.empty()) {
        tried_.pop_back();
        take_back();
      } else {
        return {PackVerdict::kLacks, {}, steps};
      }
    }
    return {PackVerdict::kFits, chosen_, steps};
  }

 private:
  /// Where the next item is tried next.
  [[nodiscard]] std::uint32_t next_bin() const {
    const std::size_t at = chosen_.size();
    const PackItem& item = items_[at];
    const std::vector<std::uint32_t>& tried = tried_.back();
    std::uint32_t first = 0;
    if (!tried.empty()) {
      first = tried.back() + 1;
    } else if (at > 0 && item == items_[at - 1]) {
      first = chosen_.back();
    }
    for (const std::uint32_t number : item.bins) {
      const auto is_alike = [&](std::uint32_t other) { return alike(number, other, at); };
      if (number >= first && takes(number, item.bytes) && std::none_of(tried.begin(), tried.end(), is_alike))
        return number;
    }
    return kNone;
  }

  /// Whether a bin takes an item, and the bins that lose the same bytes still hold what was put into them.
  [[nodiscard]] bool takes(std::uint32_t number, std::int64_t bytes) const {
    const PackBin& bin = bins_[number];
    if (bin.has_maximum && bytes > bin.maximum) return false;
    const auto holds = [&](std::uint32_t other) {
      return !bins_[other].has_room || load_[other] + bytes <= bins_[other].room;
    };
    return holds(number) && std::all_of(bin.siblings.begin(), bin.siblings.end(),
                                        [&](std::uint32_t other) { return count_[other] == 0 || holds(other); });
  }

  /// Whether the items from `at` on cannot tell two bins apart.
  [[nodiscard]] bool alike(std::uint32_t left, std::uint32_t right, std::size_t at) const {
    const PackBin& one = bins_[left];
    const PackBin& other = bins_[right];
    if (!one.siblings.empty() || !other.siblings.empty() || one.has_maximum != other.has_maximum ||
        (one.has_maximum && one.maximum != other.maximum) || one.has_room != other.has_room)
      return false;
    if (one.has_room && one.room - load_[left] != other.room - load_[right]) return false;
    return std::all_of(items_.begin() + static_cast<std::ptrdiff_t>(at), items_.end(),
                       [&](const PackItem& item) { return contains(item.bins, left) == contains(item.bins, right); });
  }

  void add(std::uint32_t number) {
    change(number, items_[chosen_.size()].bytes);
    ++count_[number];
    chosen_.push_back(number);
  }

  void take_back() {
    const std::uint32_t number = chosen_.back();
    chosen_.pop_back();
    change(number, -Int128{items_[chosen_.size()].bytes});
    --count_[number];
  }

  void change(std::uint32_t number, Int128 bytes) {
    load_[number] += bytes;
    for (const std::uint32_t other : bins_[number].siblings) load_[other] += bytes;
  }

  std::span<const PackItem> items_;
  std::span<const PackBin> bins_;
  std::vector<Int128> load_;                       ///< bytes of this packing, siblings' included
  std::vector<std::uint32_t> count_;               ///< items placed in the bin itself
  std::vector<std::uint32_t> chosen_;              ///< bins of the items placed so far
  std::vector<std::vector<std::uint32_t>> tried_;  ///< for each of them and the next item: bins it was in or is in
};

}  // namespace

Packing pack(std::span<const PackItem> items, std::span<const PackBin> bins, std::uint32_t steps_max) {
  if (!may_fit(items, bins)) return {};
  return Search(items, bins).run(steps_max);
}

}  // namespace volsched
