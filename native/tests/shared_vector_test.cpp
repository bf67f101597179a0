// SharedVector against std::vector: copies that share and then part, however they are written to.

#include "volsched/shared_vector.hpp"

#include <thread>

#include "support.hpp"

namespace volsched::test {
namespace {

/// Counts itself, so that a chunk that is lost or freed twice shows.
struct Counted {
  static inline int alive = 0;
  Counted() { ++alive; }
  Counted(const Counted& other) : value(other.value) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
  int value = 0;
};

using Small = SharedVector<std::uint32_t, 16>;  // four elements a chunk

TEST(SharedVectorTest, CopiesShareUntilTheyAreWrittenTo) {
  static_assert(Small::kChunk == 4);
  Small left;
  for (std::uint32_t at = 0; at < 10; ++at) left.push_back(at);
  EXPECT_EQ(left.shared_chunks(), 0U);
  Small right = left;
  EXPECT_EQ(left.shared_chunks(), 3U);
  right.edit(5) = 50;
  EXPECT_EQ(left[5], 5U);
  EXPECT_EQ(right[5], 50U);
  EXPECT_EQ(right[4], 4U);
  EXPECT_EQ(left.shared_chunks(), 2U);
  left.push_back(10);  // into the chunk that both end in
  EXPECT_EQ(left.size(), 11U);
  EXPECT_EQ(right.size(), 10U);
  right.push_back(11);
  EXPECT_EQ(left[10], 10U);
  EXPECT_EQ(right[10], 11U);
}

TEST(SharedVectorTest, WhatIsNewIsEmptyAlsoAfterACopy) {
  Small left;
  left.push_back(7);
  const Small right = left;
  left.edit(0) = 9;
  left.grow_to(9);
  for (std::size_t at = 1; at < 9; ++at) EXPECT_EQ(left[at], 0U);
  left.grow_to(2);
  EXPECT_EQ(left.size(), 9U);
  EXPECT_EQ(right.size(), 1U);
  EXPECT_EQ(right[0], 7U);
}

TEST(SharedVectorTest, AReferenceStaysGoodWhileOthersAreAdded) {
  Small vector;
  vector.push_back(1);
  std::uint32_t& first = vector.edit(0);
  for (std::uint32_t at = 0; at < 1000; ++at) vector.push_back(at);
  first = 5;
  EXPECT_EQ(vector[0], 5U);
}

TEST(SharedVectorTest, EqualsVectorsThatAreCopied) {
  Dice dice(11);
  {
    std::vector<SharedVector<Counted, 64>> shared(1);
    std::vector<std::vector<int>> twins(1);
    for (int step = 0; step < 20000; ++step) {
      const std::size_t which = dice.below(shared.size());
      const int value = static_cast<int>(dice.below(1000));
      switch (dice.below(12)) {
        case 0:
          if (shared.size() < 8) {
            shared.push_back(shared[which]);
            twins.push_back(twins[which]);
          }
          break;
        case 1:
          if (shared.size() > 1) {
            shared.erase(shared.begin() + static_cast<std::ptrdiff_t>(which));
            twins.erase(twins.begin() + static_cast<std::ptrdiff_t>(which));
          }
          break;
        case 2:
          shared[which] = shared[dice.below(shared.size())];
          twins.clear();  // made anew below: the copy may have been from anywhere
          for (const auto& one : shared) {
            auto& twin = twins.emplace_back();
            for (const Counted& item : one) twin.push_back(item.value);
          }
          break;
        case 3:
        case 4:
        case 5:
          shared[which].emplace_back().value = value;
          twins[which].push_back(value);
          break;
        default:
          if (twins[which].empty()) break;
          const std::size_t at = dice.below(twins[which].size());
          shared[which].edit(at).value = value;
          twins[which][at] = value;
      }
      if (step % 100 != 0) continue;
      for (std::size_t of = 0; of < shared.size(); ++of) {
        ASSERT_EQ(shared[of].size(), twins[of].size());
        for (std::size_t at = 0; at < twins[of].size(); ++at) ASSERT_EQ(shared[of][at].value, twins[of][at]);
      }
    }
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(SharedVectorTest, CopiesAreForThreadsOfTheirOwn) {
  SharedVector<std::uint64_t, 64> first;
  for (std::uint64_t at = 0; at < 4000; ++at) first.push_back(at);
  std::vector<std::thread> threads;
  std::vector<std::uint64_t> sums(4);
  for (std::size_t number = 0; number < sums.size(); ++number) {
    threads.emplace_back([copy = first, number, &sums]() mutable {
      for (std::size_t round = 0; round < 20; ++round) {
        for (std::size_t at = number; at < copy.size(); at += 3) copy.edit(at) += number;
        const auto inner = copy;  // shared and let go again
        sums[number] += inner[round];
      }
      for (const std::uint64_t value : copy) sums[number] += value;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t number = 0; number < sums.size(); ++number) {
    std::uint64_t wanted = 0;
    std::vector<std::uint64_t> plain;
    for (std::uint64_t at = 0; at < 4000; ++at) plain.push_back(at);
    for (std::size_t round = 0; round < 20; ++round) {
      for (std::size_t at = number; at < plain.size(); at += 3) plain[at] += number;
      wanted += plain[round];
    }
    for (const std::uint64_t value : plain) wanted += value;
    EXPECT_EQ(sums[number], wanted);
  }
  for (std::uint64_t at = 0; at < 4000; ++at) ASSERT_EQ(first[at], at);
}

}  // namespace
}  // namespace volsched::test
