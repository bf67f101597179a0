#include "volsched/strings.hpp"

#include <cstring>

#include "volsched/error.hpp"

namespace volsched {

namespace {

std::uint64_t hash_text(std::string_view text) {
  std::uint64_t hash = 0x9e3779b97f4a7c15ULL ^ text.size();
  const char* at = text.data();
  std::size_t left = text.size();
  while (left >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    hash = mix64(hash ^ word) + 0x9e3779b97f4a7c15ULL;
    at += 8;
    left -= 8;
  }
  std::uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);  // a view of nothing has no address
  return mix64(hash ^ tail ^ (static_cast<std::uint64_t>(left) << 56));
}

}  // namespace

StringPool::StringPool() : slots_(64, StringId::kNone) {
  intern("");
}

std::size_t StringPool::slot_of(std::string_view text) const {
  const std::size_t last = slots_.size() - 1;
  std::size_t at = hash_text(text) & last;
  while (slots_[at] != StringId::kNone && view(StringId(slots_[at])) != text) at = (at + 1) & last;
  return at;
}

StringId StringPool::find(std::string_view text) const {
  return StringId(slots_[slot_of(text)]);
}

StringId StringPool::intern(std::string_view text) {
  std::size_t at = slot_of(text);
  if (slots_[at] != StringId::kNone) return StringId(slots_[at]);
  if (size() >= 0x7ffffff0) throw Error("more than 2^31 different texts");
  if ((size() + 1) * 2 > slots_.size()) {
    grow();
    at = slot_of(text);
  }
  const StringId id(size());
  // `text` may point into our own buffer, which the insertion may move.
  const std::string copy(text);
  chars_.insert(chars_.end(), copy.begin(), copy.end());
  offsets_.push_back(chars_.size());
  slots_[at] = id.value();
  return id;
}

void StringPool::grow() {
  slots_.assign(slots_.size() * 2, StringId::kNone);
  for (std::size_t index = 0; index < size(); ++index) {
    slots_[slot_of(view(StringId(index)))] = static_cast<std::uint32_t>(index);
  }
}

std::size_t StringPool::bytes() const {
  return chars_.capacity() + offsets_.capacity() * sizeof(std::uint64_t) + slots_.capacity() * sizeof(std::uint32_t);
}

}  // namespace volsched
