#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace volsched {

/// Row numbers in ascending order of the caller's comparison, in chunks so that an insertion moves at most kChunk
/// entries however many there are. Invariant: no chunk is empty; the order is strict over all chunks.
class SortedIds {
 public:
  static constexpr std::size_t kChunk = 512;

  template <class Less>
  void insert(std::uint32_t id, Less&& less) {
    if (chunks_.empty()) {
      chunks_.push_back({id});
      return;
    }
    // the last chunk that begins at or before the new entry
    auto chunk = std::upper_bound(chunks_.begin(), chunks_.end(), id,
                                  [&](std::uint32_t left, const Chunk& right) { return less(left, right.front()); });
    if (chunk != chunks_.begin()) --chunk;
    chunk->insert(std::lower_bound(chunk->begin(), chunk->end(), id, less), id);
    if (chunk->size() > kChunk) {
      Chunk upper(chunk->begin() + kChunk / 2, chunk->end());
      chunk->resize(kChunk / 2);
      chunks_.insert(chunk + 1, std::move(upper));
    }
  }

  /// `less` must order as it did when the id was inserted.
  template <class Less>
  bool erase(std::uint32_t id, Less&& less) {
    auto chunk = std::upper_bound(chunks_.begin(), chunks_.end(), id,
                                  [&](std::uint32_t left, const Chunk& right) { return less(left, right.front()); });
    if (chunk == chunks_.begin()) return false;
    --chunk;
    const auto at = std::lower_bound(chunk->begin(), chunk->end(), id, less);
    if (at == chunk->end() || *at != id) return false;
    chunk->erase(at);
    if (chunk->empty()) chunks_.erase(chunk);
    return true;
  }

  /// The first id that `is_before` does not hold for and `accept` takes, in order; ~0 when there is none.
  template <class IsBefore, class Accept>
  [[nodiscard]] std::uint32_t first_from(IsBefore&& is_before, Accept&& accept) const {
    auto chunk = std::partition_point(chunks_.begin(), chunks_.end(),
                                      [&](const Chunk& entries) { return is_before(entries.back()); });
    if (chunk == chunks_.end()) return 0xffffffff;
    auto at = std::partition_point(chunk->begin(), chunk->end(), is_before);
    while (true) {
      for (; at != chunk->end(); ++at) {
        if (accept(*at)) return *at;
      }
      if (++chunk == chunks_.end()) return 0xffffffff;
      at = chunk->begin();
    }
  }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Chunk& chunk : chunks_) {
      for (const std::uint32_t id : chunk) visit(id);
    }
  }

  [[nodiscard]] bool empty() const { return chunks_.empty(); }
  [[nodiscard]] std::size_t size() const {
    std::size_t total = 0;
    for (const Chunk& chunk : chunks_) total += chunk.size();
    return total;
  }
  [[nodiscard]] std::size_t bytes() const {
    std::size_t total = chunks_.capacity() * sizeof(Chunk);
    for (const Chunk& chunk : chunks_) total += chunk.capacity() * sizeof(std::uint32_t);
    return total;
  }
  template <class Less>
  [[nodiscard]] std::string validate(Less&& less) const {
    const std::uint32_t* before = nullptr;
    for (const Chunk& chunk : chunks_) {
      if (chunk.empty()) return "SortedIds: an empty chunk";
      if (chunk.size() > kChunk) return "SortedIds: a chunk of " + std::to_string(chunk.size());
      for (const std::uint32_t& id : chunk) {
        if (before != nullptr && !less(*before, id)) return "SortedIds: " + std::to_string(id) + " is out of order";
        before = &id;
      }
    }
    return {};
  }

 private:
  using Chunk = std::vector<std::uint32_t>;
  std::vector<Chunk> chunks_;
};

}  // namespace volsched
