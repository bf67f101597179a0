#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "volsched/shared_vector.hpp"

namespace volsched {

/// 64-bit keys to 32-bit values, open addressing with linear probing. 16 bytes a slot, shared by copies until they are
/// written to. Invariant: at most 7/8 of the slots are used; a key is reachable from its home slot without a gap. The
/// key ~0 is not allowed.
class FlatMap {
 public:
  static constexpr std::uint32_t kMissing = 0xffffffff;

  [[nodiscard]] std::uint32_t find(std::uint64_t key) const;
  /// Set or replace.
  void set(std::uint64_t key, std::uint32_t value);
  /// Whether the key was there.
  bool erase(std::uint64_t key);
  [[nodiscard]] std::size_t size() const { return used_; }
  [[nodiscard]] std::size_t bytes() const { return slots_.bytes(); }
  /// Empty, or the first invariant broken.
  [[nodiscard]] std::string validate() const;

 private:
  struct Slot {
    std::uint64_t key = ~0ULL;
    std::uint32_t value = kMissing;
  };
  [[nodiscard]] std::size_t home(std::uint64_t key) const;
  void grow();

  SharedVector<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace volsched
