#include "volsched/kept_column.hpp"

#include <atomic>

namespace volsched {

std::uint64_t next_column_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

KeptColumn::KeptColumn() : id_(next_column_id()) {}

void KeptColumn::restart(std::size_t rows) {
  id_ = next_column_id();
  values_.assign(rows, 0);
  invalid_.clear();
}

}  // namespace volsched
