#include "volsched/ranking.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace volsched {

// RowHeap
// ---------------------------------------------------------------------------------------------------------------------

void RowHeap::assign(std::vector<Entry> entries, std::size_t rows) {
  entries_ = std::move(entries);
  places_.assign(rows, kNowhere);
  for (std::size_t at = 0; at < entries_.size(); ++at) places_[entries_[at].row] = static_cast<std::uint32_t>(at);
  if (entries_.size() < 2) return;
  for (std::size_t at = (entries_.size() - 2) / kChildren + 1; at-- > 0;) sink(at, entries_[at]);
}

void RowHeap::rise(std::size_t at, Entry entry) {
  while (at > 0) {
    const std::size_t parent = (at - 1) / kChildren;
    if (entries_[parent].key >= entry.key) break;
    settle(at, entries_[parent]);
    at = parent;
  }
  settle(at, entry);
}

void RowHeap::sink(std::size_t at, Entry entry) {
  const std::size_t size = entries_.size();
  while (true) {
    const std::size_t first = at * kChildren + 1;
    if (first >= size) break;
    const std::size_t end = std::min(first + kChildren, size);
    std::size_t greatest = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (entries_[child].key > entries_[greatest].key) greatest = child;
    }
    if (entries_[greatest].key <= entry.key) break;
    settle(at, entries_[greatest]);
    at = greatest;
  }
  settle(at, entry);
}

void RowHeap::put(std::uint32_t row, std::int64_t key) {
  std::size_t at = places_[row];
  if (at == kNowhere) {
    at = entries_.size();
    entries_.push_back({key, row});
    rise(at, {key, row});
  } else if (key > entries_[at].key) {
    rise(at, {key, row});
  } else {
    sink(at, {key, row});
  }
}

void RowHeap::erase(std::uint32_t row) {
  const std::size_t at = places_[row];
  if (at == kNowhere) return;
  places_[row] = kNowhere;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (at == entries_.size()) return;
  if (at > 0 && entries_[(at - 1) / kChildren].key < last.key) {
    rise(at, last);
  } else {
    sink(at, last);
  }
}

std::string RowHeap::validate() const {
  for (std::size_t at = 0; at < entries_.size(); ++at) {
    if (at > 0 && entries_[(at - 1) / kChildren].key < entries_[at].key)
      return "RowHeap: the entry at " + std::to_string(at) + " is greater than its parent";
    if (places_[entries_[at].row] != at) return "RowHeap: row " + std::to_string(entries_[at].row) + " is lost";
  }
  const auto placed =
      std::count_if(places_.begin(), places_.end(), [](std::uint32_t place) { return place != kNowhere; });
  return static_cast<std::size_t>(placed) == entries_.size() ? "" : "RowHeap: a row has a place that is not its own";
}

// Ranking
// ---------------------------------------------------------------------------------------------------------------------

namespace {

/// Greater for greater totals, among equal ones for lower ranks.
std::int64_t key_of(std::uint32_t row, std::span<const Ranking::Part> parts, std::span<const std::uint32_t> rank) {
  std::int64_t total = 0;
  for (const Ranking::Part& part : parts) total += std::int64_t{part.weight} * (*part.column)[row];
  return total * (std::int64_t{1} << 32) + (0xffffffffLL - rank[row]);
}

}  // namespace

bool Ranking::follows(std::span<const Part> parts) const {
  return std::equal(parts.begin(), parts.end(), sources_.begin(), sources_.end(),
                    [](const Part& part, const Source& source) {
                      return part.column->id() == source.column && part.weight == source.weight;
                    });
}

void Ranking::rebuild(const NodeMask& feasible, std::span<const Part> parts, std::span<const std::uint32_t> rank) {
  std::vector<RowHeap::Entry> entries;
  entries.reserve(feasible.count());
  feasible.for_each([&](NodeId row) { entries.push_back({key_of(row.value(), parts, rank), row.value()}); });
  heap_.assign(std::move(entries), feasible.size());
  feasible_ = feasible;
}

NodeId Ranking::best(const NodeMask& feasible, std::span<const Part> parts, std::span<const std::uint32_t> rank,
                     std::uint64_t rank_version) {
  const bool is_known = feasible_.size() == feasible.size() && rank_version_ == rank_version && follows(parts);
  if (!is_known) {
    sources_.clear();
    for (const Part& part : parts) sources_.push_back({part.column->id(), part.column->changed().end(), part.weight});
    rank_version_ = rank_version;
    rebuild(feasible, parts, rank);
    return NodeId(heap_.top().row);
  }
  bool caught_up = true;
  for (std::size_t at = 0; at < parts.size(); ++at) {
    const auto refresh = [&](std::uint32_t row) {
      if (heap_.contains(row)) heap_.put(row, key_of(row, parts, rank));
    };
    caught_up = parts[at].column->changed().replay(sources_[at].cursor, refresh) && caught_up;
  }
  if (!caught_up) {
    rebuild(feasible, parts, rank);
    return NodeId(heap_.top().row);
  }
  const auto now = feasible.words();
  const std::span<NodeMask::Word> before = feasible_.words();
  for (std::size_t at = 0; at < now.size(); ++at) {
    for (std::uint64_t word = now[at] ^ before[at]; word != 0; word &= word - 1) {
      const auto bit = static_cast<std::uint32_t>(std::countr_zero(word));
      const auto row = static_cast<std::uint32_t>(at * NodeMask::kWordBits) + bit;
      if (((now[at] >> bit) & 1U) != 0) {
        heap_.put(row, key_of(row, parts, rank));
      } else {
        heap_.erase(row);
      }
    }
    before[at] = now[at];
  }
  return NodeId(heap_.top().row);
}

std::size_t Ranking::bytes() const {
  return sources_.capacity() * sizeof(Source) + feasible_.bytes() + heap_.bytes();
}

}  // namespace volsched
