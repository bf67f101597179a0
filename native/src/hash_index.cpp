#include "volsched/hash_index.hpp"

namespace volsched {

void HashIndex::add(std::uint64_t hash, std::uint32_t row) {
  std::uint64_t key = first(hash);
  for (std::uint32_t other = rows_.find(key); other != kMissing && other != kGone; other = rows_.find(key))
    key = next(key);
  rows_.set(key, row);
}

void HashIndex::remove(std::uint64_t hash, std::uint32_t row) {
  std::uint64_t key = first(hash);
  while (rows_.find(key) != row) key = next(key);
  if (rows_.find(next(key)) != kMissing) {
    rows_.set(key, kGone);
    return;
  }
  do {
    rows_.erase(key);
    key = key == 0 ? ~0ULL - 1 : key - 1;
  } while (rows_.find(key) == kGone);
}

}  // namespace volsched
