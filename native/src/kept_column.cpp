#include "volsched/kept_column.hpp"

#include <atomic>

namespace volsched {

namespace {

/// Ids only tell columns apart, so it does not matter which engine takes the next one.
std::uint64_t next_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

KeptColumn::KeptColumn() : id_(next_id()) {}

void KeptColumn::restart(std::size_t rows) {
  id_ = next_id();
  values_.assign(rows, 0);
}

}  // namespace volsched
