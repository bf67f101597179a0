#include "volsched/row_reader.hpp"

#include <bit>
#include <cstring>

#include "volsched/error.hpp"

namespace volsched {

static_assert(std::endian::native == std::endian::little, "rows are packed in little-endian order");

const char* RowReader::take(std::size_t count) {
  if (bytes_.size() - at_ < count) {
    throw Error("malformed " + std::string(kind_) + " row: " + std::to_string(count) + " bytes wanted at offset " +
                std::to_string(at_) + " of " + std::to_string(bytes_.size()));
  }
  const char* from = bytes_.data() + at_;
  at_ += count;
  return from;
}

std::uint8_t RowReader::u8() {
  return static_cast<std::uint8_t>(*take(1));
}

std::uint32_t RowReader::u32() {
  std::uint32_t value = 0;
  std::memcpy(&value, take(sizeof value), sizeof value);
  return value;
}

std::int64_t RowReader::i64() {
  std::int64_t value = 0;
  std::memcpy(&value, take(sizeof value), sizeof value);
  return value;
}

Nanos RowReader::nanos() {
  Nanos value = 0;
  std::memcpy(&value, take(sizeof value), sizeof value);
  return value;
}

std::string_view RowReader::text() {
  const std::uint32_t length = u32();
  return {take(length), length};
}

std::uint32_t RowReader::count() {
  const std::uint32_t length = u32();
  if (length > bytes_.size() - at_) {
    throw Error("malformed " + std::string(kind_) + " row: a list of " + std::to_string(length) +
                " entries at offset " + std::to_string(at_));
  }
  return length;
}

void RowReader::finish() const {
  if (at_ != bytes_.size()) {
    throw Error("malformed " + std::string(kind_) + " row: " + std::to_string(bytes_.size() - at_) +
                " bytes left over");
  }
}

}  // namespace volsched
