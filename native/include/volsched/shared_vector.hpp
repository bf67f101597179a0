#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace volsched {

/// A vector in chunks that copies share until one of them writes: a copy costs a pointer a chunk, the first write to a
/// shared chunk copies that chunk. Growing moves nothing, so a reference stays good until its chunk is written to while
/// it is shared; edit() and push_back() are the only ways to write. Copies may be used by different threads; one of
/// them by one thread at a time (docs/decisions/0011).
///
/// Invariant: elements past size() are as T{} makes them.
template <class T, std::size_t kChunkBytes = 4096>
class SharedVector {
 public:
  /// Elements of a chunk: a power of two, so that finding one is a shift and a mask.
  static constexpr std::size_t kChunk = std::bit_floor(std::max<std::size_t>(1, kChunkBytes / sizeof(T)));

  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = const T*;
    using reference = const T&;
    const_iterator() = default;
    const_iterator(const SharedVector* of, std::size_t at) : of_(of), at_(at) {}
    const T& operator*() const { return (*of_)[at_]; }
    const T* operator->() const { return &(*of_)[at_]; }
    const_iterator& operator++() {
      ++at_;
      return *this;
    }
    const_iterator operator++(int) {
      const_iterator old = *this;
      ++at_;
      return old;
    }
    bool operator==(const const_iterator&) const = default;

   private:
    const SharedVector* of_ = nullptr;
    std::size_t at_ = 0;
  };

  [[nodiscard]] const T& operator[](std::size_t at) const { return chunks_[at / kChunk]->items[at % kChunk]; }
  [[nodiscard]] const T& back() const { return (*this)[size_ - 1]; }
  /// The element for writing; good until the next copy of the vector is made.
  [[nodiscard]] T& edit(std::size_t at) { return own(at / kChunk).items[at % kChunk]; }
  T& emplace_back() {
    if (size_ == chunks_.size() * kChunk) chunks_.push_back(Link(new Chunk));
    return edit(size_++);
  }
  void push_back(T value) { emplace_back() = std::move(value); }
  /// Only ever grows.
  void grow_to(std::size_t size) {
    while (chunks_.size() * kChunk < size) chunks_.push_back(Link(new Chunk));
    if (size > size_) size_ = size;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const_iterator begin() const { return {this, 0}; }
  [[nodiscard]] const_iterator end() const { return {this, size_}; }
  /// Memory of the elements themselves, shared chunks included.
  [[nodiscard]] std::size_t bytes() const { return chunks_.capacity() * sizeof(Link) + chunks_.size() * sizeof(Chunk); }
  /// Chunks that a copy has too.
  [[nodiscard]] std::size_t shared_chunks() const {
    std::size_t count = 0;
    for (const Link& link : chunks_) count += link.is_shared() ? 1 : 0;
    return count;
  }

 private:
  struct Chunk {
    Chunk() = default;
    Chunk(const Chunk& other) { std::copy(std::begin(other.items), std::end(other.items), std::begin(items)); }
    Chunk& operator=(const Chunk&) = delete;
    ~Chunk() = default;
    std::atomic<std::uint32_t> owners{1};
    T items[kChunk]{};
  };
  /// One owner of a chunk. Letting go is a release and finding oneself alone an acquire: who writes has seen the last
  /// read of everybody who shared it.
  class Link {
   public:
    explicit Link(Chunk* chunk) : chunk_(chunk) {}
    Link(const Link& other) : chunk_(other.chunk_) { chunk_->owners.fetch_add(1, std::memory_order_relaxed); }
    Link(Link&& other) noexcept : chunk_(std::exchange(other.chunk_, nullptr)) {}
    Link& operator=(Link other) noexcept {
      std::swap(chunk_, other.chunk_);
      return *this;
    }
    ~Link() {
      if (chunk_ != nullptr && chunk_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete chunk_;
    }
    [[nodiscard]] bool is_shared() const { return chunk_->owners.load(std::memory_order_acquire) != 1; }
    Chunk* operator->() const { return chunk_; }
    Chunk& operator*() const { return *chunk_; }

   private:
    Chunk* chunk_;
  };

  Chunk& own(std::size_t at) {
    Link& link = chunks_[at];
    if (link.is_shared()) link = Link(new Chunk(*link));
    return *link;
  }

  std::vector<Link> chunks_;
  std::size_t size_ = 0;
};

}  // namespace volsched
