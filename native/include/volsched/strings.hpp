#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "volsched/ids.hpp"

namespace volsched {

/// Interned text: equal text has the same id, so everything else compares numbers. All text lies in one buffer, so that
/// a copy of the cluster copies three vectors. Text is not given back; a fork that only keeps what it uses is the way
/// to compact it.
class StringPool {
 public:
  StringPool();

  StringId intern(std::string_view text);
  /// The id of text that is known, an invalid id otherwise.
  [[nodiscard]] StringId find(std::string_view text) const;
  /// Valid until the next intern().
  [[nodiscard]] std::string_view view(StringId id) const {
    return {chars_.data() + offsets_[id.index()], offsets_[id.index() + 1] - offsets_[id.index()]};
  }
  [[nodiscard]] std::string str(StringId id) const { return std::string(view(id)); }
  [[nodiscard]] std::size_t size() const { return offsets_.size() - 1; }
  [[nodiscard]] std::size_t bytes() const;

  /// The empty text.
  static constexpr StringId kEmpty{std::uint32_t{0}};

 private:
  [[nodiscard]] std::size_t slot_of(std::string_view text) const;
  void grow();

  std::vector<char> chars_;
  std::vector<std::uint64_t> offsets_{0};
  std::vector<std::uint32_t> slots_;  ///< open addressing; Id::kNone = free
};

}  // namespace volsched
