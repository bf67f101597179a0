#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "volsched/ids.hpp"

namespace volsched {

/// A set of nodes, one bit per row. Invariant: bits at or past size() are zero, so that whole words can be counted and
/// combined. Two masks that meet in an operation have the same size.
class NodeMask {
 public:
  using Word = std::uint64_t;
  static constexpr std::size_t kWordBits = 64;

  NodeMask() = default;
  explicit NodeMask(std::size_t size) : words_(word_count(size)), size_(size) {}

  [[nodiscard]] static constexpr std::size_t word_count(std::size_t size) { return (size + kWordBits - 1) / kWordBits; }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// New rows are not members.
  void resize(std::size_t size);
  void clear();
  /// Every row is a member.
  void fill();

  [[nodiscard]] bool test(NodeId row) const {
    return (words_[row.index() / kWordBits] >> (row.index() % kWordBits)) & 1U;
  }
  void set(NodeId row) { words_[row.index() / kWordBits] |= bit(row); }
  void reset(NodeId row) { words_[row.index() / kWordBits] &= ~bit(row); }
  void assign(NodeId row, bool member) { member ? set(row) : reset(row); }

  [[nodiscard]] std::size_t count() const;
  [[nodiscard]] bool any() const;
  [[nodiscard]] bool none() const { return !any(); }
  /// Whether there is exactly one member.
  [[nodiscard]] bool has_one() const;
  /// The lowest member, an invalid id when there is none.
  [[nodiscard]] NodeId first() const;

  NodeMask& operator&=(const NodeMask& other);
  NodeMask& operator|=(const NodeMask& other);
  /// Remove the members of `other`.
  NodeMask& operator-=(const NodeMask& other);
  friend NodeMask operator&(NodeMask left, const NodeMask& right) { return left &= right; }
  friend NodeMask operator|(NodeMask left, const NodeMask& right) { return left |= right; }
  friend NodeMask operator-(NodeMask left, const NodeMask& right) { return left -= right; }
  bool operator==(const NodeMask&) const = default;

  [[nodiscard]] bool intersects(const NodeMask& other) const;
  [[nodiscard]] bool is_subset_of(const NodeMask& other) const;
  [[nodiscard]] std::size_t count_common(const NodeMask& other) const;
  /// The first word at or after `from` that differs, word_count(size()) when none does.
  [[nodiscard]] std::size_t difference(const NodeMask& other, std::size_t from) const;

  /// Calls visit(NodeId) for every member, lowest first.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t at = 0; at < words_.size(); ++at) {
      for (Word word = words_[at]; word != 0; word &= word - 1) {
        visit(NodeId(at * kWordBits + static_cast<std::size_t>(std::countr_zero(word))));
      }
    }
  }

  [[nodiscard]] std::span<const Word> words() const { return words_; }
  [[nodiscard]] std::span<Word> words() { return words_; }
  [[nodiscard]] std::size_t bytes() const { return words_.capacity() * sizeof(Word); }
  [[nodiscard]] std::string validate() const;

 private:
  [[nodiscard]] static Word bit(NodeId row) { return Word{1} << (row.index() % kWordBits); }

  std::vector<Word> words_;
  std::size_t size_ = 0;
};

/// A set of nodes that is a sorted list while it is small and a mask when it is not, so that the hundred thousand
/// values of a hostname label cost bytes instead of kilobytes each. Invariant: the list is strictly ascending; count()
/// is the number of members.
class NodeSet {
 public:
  /// Whether the row was new. `rows` is the number of rows of the cluster, at least row + 1.
  bool insert(NodeId row, std::size_t rows);
  /// Whether the row was a member.
  bool erase(NodeId row);
  [[nodiscard]] bool contains(NodeId row) const;
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }

  /// target |= this. `target` covers every member.
  void add_to(NodeMask& target) const;
  /// target -= this.
  void remove_from(NodeMask& target) const;
  /// result = within & this, result has the size of `within`.
  [[nodiscard]] NodeMask within(const NodeMask& within) const;
  /// result = within - this.
  [[nodiscard]] NodeMask outside(const NodeMask& within) const;

  template <class Visit>
  void for_each(Visit&& visit) const {
    if (is_dense_) {
      dense_.for_each(visit);
    } else {
      for (const std::uint32_t row : list_) visit(NodeId(row));
    }
  }

  [[nodiscard]] std::size_t bytes() const { return list_.capacity() * sizeof(std::uint32_t) + dense_.bytes(); }
  [[nodiscard]] std::string validate() const;

 private:
  void make_dense(std::size_t rows);

  std::vector<std::uint32_t> list_;
  NodeMask dense_;
  std::size_t count_ = 0;
  bool is_dense_ = false;
};

}  // namespace volsched
