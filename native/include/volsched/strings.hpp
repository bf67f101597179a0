#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "volsched/ids.hpp"
#include "volsched/shared_vector.hpp"

namespace volsched {

/// Interned text: equal text has the same id, so everything else compares numbers. Text lies in blocks that are never
/// moved or written to again, so copies share them. Text is not given back; a cluster that is loaded anew is the way to
/// compact it.
class StringPool {
 public:
  StringPool();

  StringId intern(std::string_view text);
  /// The id of text that is known, an invalid id otherwise.
  [[nodiscard]] StringId find(std::string_view text) const;
  /// Valid as long as the pool or a copy of it.
  [[nodiscard]] std::string_view view(StringId id) const {
    const Place place = places_[id.index()];
    return {blocks_[place.at / kBlockBytes].get() + place.at % kBlockBytes, place.length};
  }
  [[nodiscard]] std::string str(StringId id) const { return std::string(view(id)); }
  [[nodiscard]] std::size_t size() const { return places_.size(); }
  [[nodiscard]] std::size_t bytes() const;

  /// The empty text.
  static constexpr StringId kEmpty{std::uint32_t{0}};

 private:
  static constexpr std::size_t kBlockBytes = std::size_t{1} << 16;
  /// Where a text lies: `at` counts through all blocks.
  struct Place {
    std::uint32_t at = 0;
    std::uint32_t length = 0;
  };
  /// A slot of the table: an id, and some of its text's hash, so that another text is told apart without being looked
  /// at.
  struct Slot {
    std::uint32_t id = StringId::kNone;
    std::uint32_t tag = 0;
  };
  [[nodiscard]] std::size_t slot_of(std::string_view text, std::uint64_t hash) const;
  [[nodiscard]] static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }
  [[nodiscard]] Place keep(std::string_view text);
  void grow();

  std::vector<std::shared_ptr<char[]>> blocks_;
  std::size_t used_ = 0;  ///< where the next text begins, counted through all blocks
  SharedVector<Place> places_;
  SharedVector<Slot> slots_;  ///< open addressing; no id = free
};

}  // namespace volsched
