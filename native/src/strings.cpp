#include "volsched/strings.hpp"

#include <algorithm>
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

StringPool::StringPool() {
  slots_.grow_to(64);
  intern("");
}

std::size_t StringPool::slot_of(std::string_view text, std::uint64_t hash) const {
  const std::size_t last = slots_.size() - 1;
  std::size_t at = hash & last;
  for (;; at = (at + 1) & last) {
    const Slot slot = slots_[at];
    if (slot.id == StringId::kNone || (slot.tag == tag_of(hash) && view(StringId(slot.id)) == text)) return at;
  }
}

StringId StringPool::find(std::string_view text) const {
  return StringId(slots_[slot_of(text, hash_text(text))].id);
}

StringId StringPool::intern(std::string_view text) {
  const std::uint64_t hash = hash_text(text);
  std::size_t at = slot_of(text, hash);
  if (slots_[at].id != StringId::kNone) return StringId(slots_[at].id);
  if (size() >= 0x7ffffff0) throw Error("more than 2^31 different texts");
  if ((size() + 1) * 4 > slots_.size() * 3) {
    grow();
    at = slot_of(text, hash);
  }
  const StringId id(size());
  places_.push_back(keep(text));
  slots_.edit(at) = {id.value(), tag_of(hash)};
  return id;
}

StringPool::Place StringPool::keep(std::string_view text) {
  const std::size_t left = blocks_.size() * kBlockBytes - used_;
  // A block that a copy has too ends where it is: the copy may go on there.
  if (text.size() > left || blocks_.empty() || blocks_.back().use_count() > 1) {
    used_ = blocks_.size() * kBlockBytes;
    const std::size_t wanted = std::max<std::size_t>(1, (text.size() + kBlockBytes - 1) / kBlockBytes);
    if (used_ + wanted * kBlockBytes > std::size_t{1} << 32) throw Error("more than 4 GiB of different texts");
    const std::shared_ptr<char[]> made(new char[wanted * kBlockBytes]);
    for (std::size_t block = 0; block < wanted; ++block) {
      blocks_.emplace_back(made, made.get() + block * kBlockBytes);
    }
  }
  const Place place{static_cast<std::uint32_t>(used_), static_cast<std::uint32_t>(text.size())};
  char* to = blocks_[used_ / kBlockBytes].get() + used_ % kBlockBytes;
  if (!text.empty()) std::memcpy(to, text.data(), text.size());
  used_ += text.size();
  return place;
}

void StringPool::grow() {
  SharedVector<Slot> old;
  old.grow_to(slots_.size() * 2);
  std::swap(old, slots_);
  const std::size_t last = slots_.size() - 1;
  for (std::size_t index = 0; index < size(); ++index) {
    const std::uint64_t hash = hash_text(view(StringId(index)));
    std::size_t at = hash & last;
    while (slots_[at].id != StringId::kNone) at = (at + 1) & last;
    slots_.edit(at) = {static_cast<std::uint32_t>(index), tag_of(hash)};
  }
}

std::size_t StringPool::bytes() const {
  return blocks_.size() * (kBlockBytes + sizeof(std::shared_ptr<char[]>)) + places_.bytes() + slots_.bytes();
}

}  // namespace volsched
