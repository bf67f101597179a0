#include "volsched/ranking.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace volsched {

// RowHeaps
// ---------------------------------------------------------------------------------------------------------------------

void RowHeaps::clear(std::size_t rows) {
  heaps_.clear();
  heap_of_.assign(rows, kNowhere);
  places_.assign(rows, kNowhere);
}

RowHeaps::Heap& RowHeaps::heap_at(std::uint32_t heap) {
  if (heap >= heaps_.size()) heaps_.resize(heap + 1);
  return heaps_[heap];
}

void RowHeaps::append(std::uint32_t heap, Entry entry) {
  Heap& entries = heap_at(heap);
  entries.push_back(entry);
  heap_of_[entry.row] = heap;
}

void RowHeaps::settle() {
  for (Heap& heap : heaps_) {
    for (std::size_t at = 0; at < heap.size(); ++at) places_[heap[at].row] = static_cast<std::uint32_t>(at);
    if (heap.size() < 2) continue;
    for (std::size_t at = (heap.size() - 2) / kChildren + 1; at-- > 0;) sink(heap, at, heap[at]);
  }
}

void RowHeaps::rise(Heap& heap, std::size_t at, Entry entry) {
  while (at > 0) {
    const std::size_t parent = (at - 1) / kChildren;
    if (heap[parent].key >= entry.key) break;
    set(heap, at, heap[parent]);
    at = parent;
  }
  set(heap, at, entry);
}

void RowHeaps::sink(Heap& heap, std::size_t at, Entry entry) {
  const std::size_t size = heap.size();
  while (true) {
    const std::size_t first = at * kChildren + 1;
    if (first >= size) break;
    const std::size_t end = std::min(first + kChildren, size);
    std::size_t greatest = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (heap[child].key > heap[greatest].key) greatest = child;
    }
    if (heap[greatest].key <= entry.key) break;
    set(heap, at, heap[greatest]);
    at = greatest;
  }
  set(heap, at, entry);
}

void RowHeaps::put(std::uint32_t row, std::uint32_t heap, std::int64_t key) {
  if (heap_of_[row] != heap) {
    erase(row);
    Heap& entries = heap_at(heap);
    heap_of_[row] = heap;
    entries.push_back({key, row});
    rise(entries, entries.size() - 1, {key, row});
    return;
  }
  Heap& entries = heaps_[heap];
  const std::size_t at = places_[row];
  if (key > entries[at].key) {
    rise(entries, at, {key, row});
  } else if (key < entries[at].key) {
    sink(entries, at, {key, row});
  }
}

void RowHeaps::erase(std::uint32_t row) {
  if (heap_of_[row] == kNowhere) return;
  Heap& heap = heaps_[heap_of_[row]];
  const std::size_t at = places_[row];
  heap_of_[row] = kNowhere;
  places_[row] = kNowhere;
  const Entry last = heap.back();
  heap.pop_back();
  if (at == heap.size()) return;
  if (at > 0 && heap[(at - 1) / kChildren].key < last.key) {
    rise(heap, at, last);
  } else {
    sink(heap, at, last);
  }
}

std::size_t RowHeaps::bytes() const {
  std::size_t total = (heap_of_.capacity() + places_.capacity()) * sizeof(std::uint32_t);
  for (const Heap& heap : heaps_) total += heap.capacity() * sizeof(Entry);
  return total;
}

std::string RowHeaps::validate() const {
  std::size_t entries = 0;
  for (std::size_t id = 0; id < heaps_.size(); ++id) {
    const Heap& heap = heaps_[id];
    entries += heap.size();
    for (std::size_t at = 0; at < heap.size(); ++at) {
      if (at > 0 && heap[(at - 1) / kChildren].key < heap[at].key)
        return "RowHeaps: the entry at " + std::to_string(at) + " is greater than its parent";
      if (places_[heap[at].row] != at || heap_of_[heap[at].row] != id)
        return "RowHeaps: row " + std::to_string(heap[at].row) + " is lost";
    }
  }
  const auto placed =
      std::count_if(heap_of_.begin(), heap_of_.end(), [](std::uint32_t heap) { return heap != kNowhere; });
  return static_cast<std::size_t>(placed) == entries ? "" : "RowHeaps: a row has a place that is not its own";
}

// Ranking
// ---------------------------------------------------------------------------------------------------------------------

namespace {

constexpr std::int64_t kTotalUnit = std::int64_t{1} << 32;
/// Combinations whose last row has left stay; from here on they are swept out.
constexpr std::size_t kCombinationsMax = 4096;
constexpr std::size_t kClassBits = 12;
static_assert(RowClasses::kClassesMax < (1U << kClassBits) && kClassBits * Ranking::kClassPartsMax < 64);

}  // namespace

/// Greater for greater sums of the columns, among equal ones for lower ranks.
std::int64_t Ranking::View::key_of(std::uint32_t row) const {
  std::int64_t total = 0;
  for (const Part& part : parts) total += std::int64_t{part.weight} * (*part.column)[row];
  return total * kTotalUnit + (kTotalUnit - 1 - rank[row]);
}

bool Ranking::follows(std::span<const Part> parts, std::span<const ClassPart> class_parts) const {
  return std::equal(parts.begin(), parts.end(), columns_.begin(), columns_.end(),
                    [](const Part& part, const Source& source) {
                      return part.column->id() == source.id && part.weight == source.weight;
                    }) &&
         std::equal(class_parts.begin(), class_parts.end(), classes_.begin(), classes_.end(),
                    [](const ClassPart& part, const Source& source) {
                      return part.classes->id() == source.id && part.weight == source.weight;
                    });
}

std::uint32_t Ranking::combination_of(const View& view, std::uint32_t row) {
  if (view.class_parts.empty()) return 0;
  Combination classes{};
  std::uint64_t key = 0;
  for (std::size_t at = 0; at < view.class_parts.size(); ++at) {
    classes[at] = view.class_parts[at].classes->of(row);
    key = (key << kClassBits) | classes[at];
  }
  std::uint32_t known = combination_ids_.find(key);
  if (known == FlatMap::kMissing) {
    known = static_cast<std::uint32_t>(combinations_.size());
    combinations_.push_back(classes);
    combination_ids_.set(key, known);
  }
  return known;
}

void Ranking::rebuild(const View& view) {
  columns_.clear();
  classes_.clear();
  for (const Part& part : view.parts)
    columns_.push_back({part.column->id(), part.column->changed().end(), part.weight});
  for (const ClassPart& part : view.class_parts)
    classes_.push_back({part.classes->id(), part.classes->moved().end(), part.weight});
  feasible_ = view.feasible;
  heaps_.clear(feasible_.size());
  touches_.assign(feasible_.size(), Touch::kNone);
  combinations_.clear();
  combination_ids_ = FlatMap();
  feasible_.for_each([&](NodeId id) {
    const std::uint32_t row = id.value();
    heaps_.append(combination_of(view, row), {view.key_of(row), row});
  });
  heaps_.settle();
}

void Ranking::touch(std::uint32_t row, Touch how) {
  if (heaps_.heap_of(row) == RowHeaps::kNowhere) return;
  if (touches_[row] == Touch::kNone) touched_.push_back(row);
  touches_[row] = std::max(touches_[row], how);
}

bool Ranking::follow(const View& view) {
  if (combinations_.size() > kCombinationsMax) return false;
  // A node that took a pod is in the logs of several columns; it is put in its place once.
  bool caught_up = true;
  for (std::size_t at = 0; at < classes_.size(); ++at) {
    const auto moved = [&](std::uint32_t row) { touch(row, Touch::kMoved); };
    caught_up = view.class_parts[at].classes->moved().replay(classes_[at].cursor, moved) && caught_up;
  }
  for (std::size_t at = 0; at < columns_.size(); ++at) {
    const auto rescored = [&](std::uint32_t row) { touch(row, Touch::kRescored); };
    caught_up = view.parts[at].column->changed().replay(columns_[at].cursor, rescored) && caught_up;
  }
  for (const std::uint32_t row : touched_) {
    const bool has_moved = touches_[row] == Touch::kMoved;
    touches_[row] = Touch::kNone;
    if (caught_up) heaps_.put(row, has_moved ? combination_of(view, row) : heaps_.heap_of(row), view.key_of(row));
  }
  touched_.clear();
  if (!caught_up) return false;
  const auto now = view.feasible.words();
  const std::span<NodeMask::Word> before = feasible_.words();
  for (std::size_t at = view.feasible.difference(feasible_, 0); at < now.size();
       at = view.feasible.difference(feasible_, at + 1)) {
    for (std::uint64_t word = now[at] ^ before[at]; word != 0; word &= word - 1) {
      const auto bit = static_cast<std::uint32_t>(std::countr_zero(word));
      const auto row = static_cast<std::uint32_t>(at * NodeMask::kWordBits) + bit;
      if (((now[at] >> bit) & 1U) != 0) {
        heaps_.put(row, combination_of(view, row), view.key_of(row));
      } else {
        heaps_.erase(row);
      }
    }
    before[at] = now[at];
  }
  return true;
}

NodeId Ranking::best_of_all(const View& view) {
  if (view.class_parts.empty()) return NodeId(heaps_.top(0).row);
  for (std::size_t part = 0; part < view.class_parts.size(); ++part) {
    counts_[part].assign(view.class_parts[part].classes->count(), 0);
    scores_[part].assign(view.class_parts[part].classes->count(), 0);
  }
  for (std::size_t heap = 0; heap < heaps_.count(); ++heap) {
    const auto rows = static_cast<std::uint32_t>(heaps_.size(heap));
    for (std::size_t part = 0; rows != 0 && part < view.class_parts.size(); ++part)
      counts_[part][combinations_[heap][part]] += rows;
  }
  for (std::size_t part = 0; part < view.class_parts.size(); ++part)
    view.class_parts[part].scores(counts_[part], scores_[part]);
  NodeId best;
  std::int64_t best_key = 0;
  for (std::size_t heap = 0; heap < heaps_.count(); ++heap) {
    if (heaps_.size(heap) == 0) continue;
    std::int64_t total = 0;
    for (std::size_t part = 0; part < view.class_parts.size(); ++part)
      total += std::int64_t{view.class_parts[part].weight} * scores_[part][combinations_[heap][part]];
    const RowHeaps::Entry& top = heaps_.top(heap);
    const std::int64_t key = top.key + total * kTotalUnit;
    if (best.valid() && key <= best_key) continue;
    best = NodeId(top.row);
    best_key = key;
  }
  return best;
}

NodeId Ranking::best(const NodeMask& feasible, std::span<const Part> parts, std::span<const ClassPart> class_parts,
                     std::span<const std::uint32_t> rank, std::uint64_t rank_version) {
  const View view{feasible, parts, class_parts, rank};
  const bool is_known =
      feasible_.size() == feasible.size() && rank_version_ == rank_version && follows(parts, class_parts);
  rank_version_ = rank_version;
  if (!is_known || !follow(view)) rebuild(view);
  return best_of_all(view);
}

std::size_t Ranking::bytes() const {
  return (columns_.capacity() + classes_.capacity()) * sizeof(Source) + feasible_.bytes() + heaps_.bytes() +
         touched_.capacity() * sizeof(std::uint32_t) + touches_.capacity() * sizeof(Touch) +
         combinations_.capacity() * sizeof(Combination) + combination_ids_.bytes();
}

}  // namespace volsched
