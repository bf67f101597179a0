#pragma once

#include <cstdint>
#include <vector>

namespace volsched {

/// What has changed, in order, for caches that catch up when they are asked: each reader keeps a cursor. The log
/// forgets its older half when it is full; a reader that was further behind rebuilds, which costs no more than reading
/// a full log.
template <class Entry>
class BasicChangeLog {
 public:
  explicit BasicChangeLog(std::size_t limit = 4096) : limit_(limit) {}

  void push(Entry entry) {
    if (entries_.size() >= limit_) {
      const std::size_t dropped = entries_.size() / 2;
      entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(dropped));
      begin_ += dropped;
    }
    entries_.push_back(entry);
  }
  [[nodiscard]] std::uint64_t end() const { return begin_ + entries_.size(); }
  /// Keep at least this many entries; a rebuild should cost about as much as reading them.
  void keep(std::size_t limit) {
    if (limit > limit_) limit_ = limit;
  }

  /// Calls visit(entry) for what came after `cursor` and moves it to the end. False: the cursor is too old, nothing was
  /// visited.
  template <class Visit>
  [[nodiscard]] bool replay(std::uint64_t& cursor, Visit&& visit) const {
    const std::uint64_t from = cursor;
    cursor = end();
    if (from < begin_) return false;
    for (std::size_t at = static_cast<std::size_t>(from - begin_); at < entries_.size(); ++at) visit(entries_[at]);
    return true;
  }

 private:
  std::vector<Entry> entries_;
  std::uint64_t begin_ = 1;  ///< a cursor of 0 has never read anything
  std::size_t limit_;
};

using ChangeLog = BasicChangeLog<std::uint32_t>;

}  // namespace volsched
