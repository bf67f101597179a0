#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "volsched/amount.hpp"

namespace volsched {

/// Reads the packed form in which objects come from Python: little-endian integers, texts and lists with a 32-bit
/// length in front. Every read is checked against the end of the buffer; a row that is too short or too long raises
/// Error with its kind and offset.
class RowReader {
 public:
  RowReader(std::string_view kind, std::string_view bytes) : kind_(kind), bytes_(bytes) {}

  [[nodiscard]] std::uint8_t u8();
  [[nodiscard]] bool flag() { return u8() != 0; }
  [[nodiscard]] std::uint32_t u32();
  [[nodiscard]] std::int64_t i64();
  [[nodiscard]] Nanos nanos();
  /// Points into the buffer.
  [[nodiscard]] std::string_view text();
  /// A list's length. Each entry has at least one byte, so a length past the end is refused before anything is reserved
  /// for it.
  [[nodiscard]] std::uint32_t count();
  /// What has been read since `from`, an earlier position().
  [[nodiscard]] std::string_view since(std::size_t from) const { return bytes_.substr(from, at_ - from); }
  [[nodiscard]] std::size_t position() const { return at_; }
  /// Whether a list may follow: rows of some kinds end in one that is left out where it says nothing.
  [[nodiscard]] bool has_list() const { return bytes_.size() - at_ >= sizeof(std::uint32_t); }
  /// Everything must have been read.
  void finish() const;

 private:
  const char* take(std::size_t count);

  std::string_view kind_;
  std::string_view bytes_;
  std::size_t at_ = 0;
};

}  // namespace volsched
