#include "volsched/resources.hpp"

#include "volsched/scoring.hpp"

namespace volsched {

ResourceTable::ResourceTable(StringPool& strings) {
  for (const char* name : {"cpu", "memory", "ephemeral-storage"}) columns_.push_back({strings.intern(name), {}, {}});
}

void ResourceTable::resize(std::size_t rows) {
  for (Column& column : columns_) {
    column.allocatable.resize(rows, 0);
    column.requested.resize(rows, 0);
  }
  scored_cpu_.resize(rows, 0);
  scored_memory_.resize(rows, 0);
  pod_count_.resize(rows, 0);
  pod_limit_.resize(rows, 0);
  log_.keep(rows);
}

std::uint32_t ResourceTable::scalar(StringId name) {
  const std::uint32_t known = scalar_ids_.find(name.value());
  if (known != FlatMap::kMissing) return known;
  const auto made = static_cast<std::uint32_t>(columns_.size() - kScalars);
  columns_.push_back(
      {name, std::vector<std::int64_t>(pod_count_.size(), 0), std::vector<std::int64_t>(pod_count_.size(), 0)});
  scalar_ids_.set(name.value(), made);
  return made;
}

const ResourceTable::Column* ResourceTable::find_scalar(StringId name) const {
  const std::uint32_t known = scalar_ids_.find(name.value());
  return known == FlatMap::kMissing ? nullptr : &columns_[kScalars + known];
}

void ResourceTable::set_allocatable(NodeId row, const Allocatable& allocatable) {
  const std::size_t at = row.index();
  for (std::size_t scalar = kScalars; scalar < columns_.size(); ++scalar) columns_[scalar].allocatable[at] = 0;
  columns_[kCpu].allocatable[at] = allocatable.milli_cpu;
  columns_[kMemory].allocatable[at] = allocatable.memory_bytes;
  columns_[kEphemeral].allocatable[at] = allocatable.ephemeral_bytes;
  pod_limit_[at] = allocatable.pods;
  for (const auto& [scalar, amount] : allocatable.scalars) columns_[kScalars + scalar].allocatable[at] = amount;
  log_.push(row.value());
}

void ResourceTable::apply(NodeId row, const Usage& usage, std::int64_t sign) {
  const std::size_t at = row.index();
  const auto change = [&](std::int64_t& total, std::int64_t amount) {
    total = sign > 0 ? wrapping_add(total, amount) : wrapping_sub(total, amount);
  };
  change(columns_[kCpu].requested[at], usage.milli_cpu);
  change(columns_[kMemory].requested[at], usage.memory_bytes);
  change(columns_[kEphemeral].requested[at], usage.ephemeral_bytes);
  change(scored_cpu_[at], usage.scored_milli_cpu);
  change(scored_memory_[at], usage.scored_memory_bytes);
  for (const auto& [scalar, amount] : usage.scalars) change(columns_[kScalars + scalar].requested[at], amount);
  pod_count_[at] += sign;
  log_.push(row.value());
}

std::size_t ResourceTable::bytes() const {
  return (columns_.size() * 2 + 4) * pod_count_.capacity() * sizeof(std::int64_t);
}

}  // namespace volsched
