#include "volsched/node_mask.hpp"

#include <algorithm>
#include <cassert>

namespace volsched {

// The word loops below are compiled twice where the compiler and C library can pick at run time: x86-64-v3 has a
// popcount instruction and 256-bit registers, which is worth a factor of six on counting.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VOLSCHED_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define VOLSCHED_CLONES
#endif

namespace {

using Word = NodeMask::Word;

VOLSCHED_CLONES std::size_t count_words(const Word* words, std::size_t count) {
  std::size_t total = 0;
  for (std::size_t at = 0; at < count; ++at) total += static_cast<std::size_t>(std::popcount(words[at]));
  return total;
}

VOLSCHED_CLONES std::size_t count_common_words(const Word* left, const Word* right, std::size_t count) {
  std::size_t total = 0;
  for (std::size_t at = 0; at < count; ++at) total += static_cast<std::size_t>(std::popcount(left[at] & right[at]));
  return total;
}

VOLSCHED_CLONES void and_words(Word* to, const Word* from, std::size_t count) {
  for (std::size_t at = 0; at < count; ++at) to[at] &= from[at];
}

VOLSCHED_CLONES void or_words(Word* to, const Word* from, std::size_t count) {
  for (std::size_t at = 0; at < count; ++at) to[at] |= from[at];
}

VOLSCHED_CLONES void and_not_words(Word* to, const Word* from, std::size_t count) {
  for (std::size_t at = 0; at < count; ++at) to[at] &= ~from[at];
}

/// Words looked at before it is asked whether the answer is found: enough for wide registers, few enough to stop early.
constexpr std::size_t kStride = 16;

/// Whether combine(at) is not zero at some place.
template <class Combine>
[[gnu::always_inline]] inline bool any_word(std::size_t count, const Combine& combine) {
  std::size_t at = 0;
  for (; at + kStride <= count; at += kStride) {
    Word some = 0;
    for (std::size_t step = 0; step < kStride; ++step) some |= combine(at + step);
    if (some != 0) return true;
  }
  Word some = 0;
  for (; at < count; ++at) some |= combine(at);
  return some != 0;
}

VOLSCHED_CLONES bool any_common(const Word* left, const Word* right, std::size_t count) {
  return any_word(count, [=](std::size_t at) { return left[at] & right[at]; });
}

VOLSCHED_CLONES bool any_outside(const Word* left, const Word* right, std::size_t count) {
  return any_word(count, [=](std::size_t at) { return left[at] & ~right[at]; });
}

VOLSCHED_CLONES std::size_t find_difference(const Word* left, const Word* right, std::size_t from, std::size_t count) {
  std::size_t at = from;
  for (; at + kStride <= count; at += kStride) {
    Word some = 0;
    for (std::size_t step = 0; step < kStride; ++step) some |= left[at + step] ^ right[at + step];
    if (some != 0) break;
  }
  while (at < count && left[at] == right[at]) ++at;
  return at;
}

}  // namespace

void NodeMask::resize(std::size_t size) {
  words_.resize(word_count(size));
  if (size < size_ && size % kWordBits != 0) words_.back() &= (Word{1} << (size % kWordBits)) - 1;
  size_ = size;
}

void NodeMask::clear() {
  std::fill(words_.begin(), words_.end(), Word{0});
}

void NodeMask::fill() {
  std::fill(words_.begin(), words_.end(), ~Word{0});
  if (size_ % kWordBits != 0) words_.back() = (Word{1} << (size_ % kWordBits)) - 1;
}

std::size_t NodeMask::count() const {
  return count_words(words_.data(), words_.size());
}

bool NodeMask::any() const {
  return std::any_of(words_.begin(), words_.end(), [](Word word) { return word != 0; });
}

NodeId NodeMask::first() const {
  for (std::size_t at = 0; at < words_.size(); ++at) {
    if (words_[at] != 0) return NodeId(at * kWordBits + static_cast<std::size_t>(std::countr_zero(words_[at])));
  }
  return {};
}

NodeMask& NodeMask::operator&=(const NodeMask& other) {
  assert(size_ == other.size_);
  and_words(words_.data(), other.words_.data(), words_.size());
  return *this;
}

NodeMask& NodeMask::operator|=(const NodeMask& other) {
  assert(size_ == other.size_);
  or_words(words_.data(), other.words_.data(), words_.size());
  return *this;
}

NodeMask& NodeMask::operator-=(const NodeMask& other) {
  assert(size_ == other.size_);
  and_not_words(words_.data(), other.words_.data(), words_.size());
  return *this;
}

bool NodeMask::intersects(const NodeMask& other) const {
  assert(size_ == other.size_);
  return any_common(words_.data(), other.words_.data(), words_.size());
}

bool NodeMask::is_subset_of(const NodeMask& other) const {
  assert(size_ == other.size_);
  return !any_outside(words_.data(), other.words_.data(), words_.size());
}

bool NodeMask::has_one() const {
  std::size_t at = 0;
  while (at < words_.size() && words_[at] == 0) ++at;
  if (at == words_.size() || !std::has_single_bit(words_[at])) return false;
  return std::all_of(words_.begin() + static_cast<std::ptrdiff_t>(at) + 1, words_.end(),
                     [](Word word) { return word == 0; });
}

std::size_t NodeMask::difference(const NodeMask& other, std::size_t from) const {
  assert(size_ == other.size_);
  return find_difference(words_.data(), other.words_.data(), from, words_.size());
}

std::size_t NodeMask::count_common(const NodeMask& other) const {
  assert(size_ == other.size_);
  return count_common_words(words_.data(), other.words_.data(), words_.size());
}

std::string NodeMask::validate() const {
  if (words_.size() != word_count(size_))
    return "NodeMask: " + std::to_string(words_.size()) + " words for size " + std::to_string(size_);
  if (size_ % kWordBits != 0 && (words_.back() >> (size_ % kWordBits)) != 0)
    return "NodeMask: a bit past the size is set";
  return {};
}

void NodeSet::make_dense(std::size_t rows) {
  dense_ = NodeMask(rows);
  for (const std::uint32_t row : list_) dense_.set(NodeId(row));
  list_ = {};
  is_dense_ = true;
}

bool NodeSet::insert(NodeId row, std::size_t rows) {
  if (is_dense_) {
    if (dense_.size() < rows) dense_.resize(rows);
    if (dense_.test(row)) return false;
    dense_.set(row);
    ++count_;
    return true;
  }
  const auto at = std::lower_bound(list_.begin(), list_.end(), row.value());
  if (at != list_.end() && *at == row.value()) return false;
  list_.insert(at, row.value());
  ++count_;
  // A list entry is 32 times the size of a bit; the constant keeps tiny clusters from switching to and fro.
  if (count_ > rows / 32 + 16) make_dense(rows);
  return true;
}

bool NodeSet::erase(NodeId row) {
  if (is_dense_) {
    if (row.index() >= dense_.size() || !dense_.test(row)) return false;
    dense_.reset(row);
    --count_;
    if (count_ <= dense_.size() / 128) {
      std::vector<std::uint32_t> list;
      list.reserve(count_);
      dense_.for_each([&](NodeId member) { list.push_back(member.value()); });
      list_ = std::move(list);
      dense_ = NodeMask();
      is_dense_ = false;
    }
    return true;
  }
  const auto at = std::lower_bound(list_.begin(), list_.end(), row.value());
  if (at == list_.end() || *at != row.value()) return false;
  list_.erase(at);
  --count_;
  return true;
}

bool NodeSet::contains(NodeId row) const {
  if (is_dense_) return row.index() < dense_.size() && dense_.test(row);
  return std::binary_search(list_.begin(), list_.end(), row.value());
}

void NodeSet::add_to(NodeMask& target) const {
  if (is_dense_) {
    or_words(target.words().data(), dense_.words().data(), dense_.words().size());
  } else {
    for (const std::uint32_t row : list_) target.set(NodeId(row));
  }
}

void NodeSet::remove_from(NodeMask& target) const {
  if (is_dense_) {
    and_not_words(target.words().data(), dense_.words().data(), dense_.words().size());
  } else {
    for (const std::uint32_t row : list_) target.reset(NodeId(row));
  }
}

NodeMask NodeSet::within(const NodeMask& within) const {
  if (is_dense_) {
    NodeMask result = dense_;
    result.resize(within.size());
    return result &= within;
  }
  NodeMask result(within.size());
  for (const std::uint32_t row : list_) {
    if (within.test(NodeId(row))) result.set(NodeId(row));
  }
  return result;
}

NodeMask NodeSet::outside(const NodeMask& within) const {
  NodeMask result = within;
  remove_from(result);
  return result;
}

std::string NodeSet::validate() const {
  if (is_dense_) {
    if (dense_.count() != count_)
      return "NodeSet: count is " + std::to_string(count_) + ", members " + std::to_string(dense_.count());
    return dense_.validate();
  }
  if (list_.size() != count_)
    return "NodeSet: count is " + std::to_string(count_) + ", members " + std::to_string(list_.size());
  for (std::size_t at = 1; at < list_.size(); ++at) {
    if (list_[at - 1] >= list_[at]) return "NodeSet: the list is not ascending at " + std::to_string(at);
  }
  return {};
}

}  // namespace volsched
