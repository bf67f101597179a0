#include "volsched/flat_map.hpp"

#include "volsched/ids.hpp"

namespace volsched {

std::size_t FlatMap::home(std::uint64_t key) const {
  return mix64(key) & (slots_.size() - 1);
}

std::uint32_t FlatMap::find(std::uint64_t key) const {
  if (slots_.empty()) return kMissing;
  for (std::size_t at = home(key);; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].key == key) return slots_[at].value;
    if (slots_[at].key == ~0ULL) return kMissing;
  }
}

void FlatMap::set(std::uint64_t key, std::uint32_t value) {
  if (used_ * 8 >= slots_.size() * 7) grow();
  for (std::size_t at = home(key);; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].key == key) {
      slots_.edit(at).value = value;
      return;
    }
    if (slots_[at].key == ~0ULL) {
      slots_.edit(at) = {key, value};
      ++used_;
      return;
    }
  }
}

bool FlatMap::erase(std::uint64_t key) {
  if (slots_.empty()) return false;
  const std::size_t last = slots_.size() - 1;
  std::size_t at = home(key);
  while (slots_[at].key != key) {
    if (slots_[at].key == ~0ULL) return false;
    at = (at + 1) & last;
  }
  // Close the gap: move back every later entry of the run whose home is not between the gap and itself.
  std::size_t gap = at;
  for (std::size_t next = (gap + 1) & last; slots_[next].key != ~0ULL; next = (next + 1) & last) {
    const std::size_t distance_home = (next - home(slots_[next].key)) & last;
    const std::size_t distance_gap = (next - gap) & last;
    if (distance_home >= distance_gap) {
      slots_.edit(gap) = Slot(slots_[next]);  // a copy first: the two may be of one chunk
      gap = next;
    }
  }
  slots_.edit(gap) = Slot{};
  --used_;
  return true;
}

void FlatMap::grow() {
  SharedVector<Slot> old;
  old.grow_to(slots_.empty() ? 16 : slots_.size() * 2);
  std::swap(old, slots_);
  for (const Slot& slot : old) {
    if (slot.key == ~0ULL) continue;
    std::size_t at = home(slot.key);
    while (slots_[at].key != ~0ULL) at = (at + 1) & (slots_.size() - 1);
    slots_.edit(at) = slot;
  }
}

std::string FlatMap::validate() const {
  std::size_t seen = 0;
  for (const Slot& slot : slots_) {
    if (slot.key == ~0ULL) continue;
    ++seen;
    if (find(slot.key) != slot.value)
      return "FlatMap: key " + std::to_string(slot.key) + " is not reachable from its home";
  }
  if (seen != used_) return "FlatMap: counts " + std::to_string(used_) + " entries, holds " + std::to_string(seen);
  return {};
}

}  // namespace volsched
