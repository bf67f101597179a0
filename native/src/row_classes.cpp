#include "volsched/row_classes.hpp"

#include <algorithm>

#include "volsched/ids.hpp"
#include "volsched/kept_column.hpp"

namespace volsched {

namespace {

constexpr std::uint32_t kNoClass = 0xffffffff;

}  // namespace

RowClasses::RowClasses() : id_(next_column_id()) {}

void RowClasses::restart(std::size_t rows, std::size_t width) {
  id_ = next_column_id();
  width_ = width;
  count_ = 0;
  of_row_.assign(rows, kNoClass);
  signatures_.clear();
  next_.clear();
  by_hash_ = FlatMap();
}

std::uint32_t RowClasses::intern(std::span<const std::int64_t> signature) {
  std::uint64_t hash = 0;
  for (const std::int64_t number : signature) hash = mix64(hash ^ static_cast<std::uint64_t>(number));
  hash >>= 1;  // ~0 is no key
  const std::uint32_t first = by_hash_.find(hash);
  for (std::uint32_t known = first; known != FlatMap::kMissing; known = next_[known]) {
    const std::span<const std::int64_t> other = this->signature(known);
    if (std::equal(signature.begin(), signature.end(), other.begin())) return known;
  }
  const auto made = static_cast<std::uint32_t>(count_++);
  signatures_.insert(signatures_.end(), signature.begin(), signature.end());
  next_.push_back(first);
  by_hash_.set(hash, made);
  return made;
}

void RowClasses::put(std::uint32_t row, std::span<const std::int64_t> signature) {
  const std::uint32_t found = intern(signature);
  if (of_row_[row] == found) return;
  of_row_[row] = found;
  moved_.push(row);
}

}  // namespace volsched
