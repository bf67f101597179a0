#include "volsched/ranking.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "volsched/random.hpp"

namespace volsched {
namespace {

TEST(RowHeapTest, HasTheGreatestOnTopWhateverChanges) {
  constexpr std::uint32_t kRows = 97;
  Random chance(3);
  RowHeap heap;
  heap.assign({}, kRows);
  std::vector<std::int64_t> keys(kRows, -1);  // -1: not in
  for (int step = 0; step < 5000; ++step) {
    const auto row = static_cast<std::uint32_t>(chance.below(kRows));
    if (chance.below(3) == 0) {
      heap.erase(row);
      keys[row] = -1;
    } else {
      keys[row] = static_cast<std::int64_t>(chance.below(50) * kRows + row);
      heap.put(row, keys[row]);
    }
    ASSERT_EQ(heap.validate(), "");
    ASSERT_EQ(heap.contains(row), keys[row] >= 0);
    const auto best = std::max_element(keys.begin(), keys.end());
    ASSERT_EQ(heap.empty(), *best < 0);
    if (!heap.empty()) {
      ASSERT_EQ(heap.top().row, best - keys.begin());
    }
  }
}

TEST(KeptColumnTest, TellsWhatChangedUntilItIsRestarted) {
  KeptColumn column;
  column.restart(4);
  const std::uint64_t id = column.id();
  std::uint64_t cursor = column.changed().end();
  column.set(2, 7);
  column.set(2, 7);
  column.set(1, -3);
  std::vector<std::uint32_t> rows;
  ASSERT_TRUE(column.changed().replay(cursor, [&](std::uint32_t row) { rows.push_back(row); }));
  EXPECT_EQ(rows, (std::vector<std::uint32_t>{2, 1}));
  EXPECT_EQ(column.id(), id);
  column.restart(4);
  EXPECT_NE(column.id(), id);
  EXPECT_EQ(column[2], 0);
  EXPECT_NE(KeptColumn().id(), KeptColumn().id());
}

/// The node by the definition.
NodeId plain_best(const NodeMask& feasible, std::span<const Ranking::Part> parts, std::span<const std::uint32_t> rank) {
  NodeId best;
  std::int64_t best_total = 0;
  feasible.for_each([&](NodeId row) {
    std::int64_t total = 0;
    for (const Ranking::Part& part : parts) total += std::int64_t{part.weight} * (*part.column)[row.index()];
    if (best.valid() && (total < best_total || (total == best_total && rank[row.index()] > rank[best.index()]))) return;
    best = row;
    best_total = total;
  });
  return best;
}

TEST(RankingTest, FollowsColumnsMasksAndRanks) {
  constexpr std::size_t kRows = 150;  // two word borders
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Random chance(seed);
    KeptColumn first;
    KeptColumn second;
    first.restart(kRows);
    second.restart(kRows);
    std::vector<Ranking::Part> parts{{&first, 2}, {&second, 3}};
    std::vector<std::uint32_t> rank(kRows);
    std::iota(rank.rbegin(), rank.rend(), 0U);
    std::uint64_t version = 1;
    NodeMask feasible(kRows);
    feasible.fill();
    Ranking ranking;
    for (int step = 0; step < 400; ++step) {
      switch (chance.below(12)) {
        case 0:  // more than a log holds
          for (int time = 0; time < 5000; ++time)
            first.set(chance.below(kRows), static_cast<std::int32_t>(chance.below(5)));
          break;
        case 1:
          first.restart(kRows);
          break;
        case 2:
          std::swap(rank[chance.below(kRows)], rank[chance.below(kRows)]);
          ++version;
          break;
        case 3:
          std::swap(parts[0], parts[1]);
          break;
        case 4:
          parts[0].weight = 1 + static_cast<std::int32_t>(chance.below(4));
          break;
        default:
          for (std::uint64_t time = chance.below(6); time > 0; --time)
            second.set(chance.below(kRows), static_cast<std::int32_t>(chance.below(4)) - 1);
          for (std::uint64_t time = chance.below(9); time > 0; --time)
            feasible.assign(NodeId(chance.below(kRows)), chance.below(2) == 0);
      }
      feasible.set(NodeId(chance.below(kRows)));  // somebody fits
      ASSERT_EQ(ranking.best(feasible, parts, rank, version), plain_best(feasible, parts, rank)) << seed << " " << step;
      ASSERT_EQ(ranking.validate(), "");
      ASSERT_TRUE(ranking.follows(parts));
    }
  }
}

TEST(RankingTest, NeedsNoColumns) {
  NodeMask feasible(3);
  feasible.set(NodeId(std::size_t{1}));
  feasible.set(NodeId(std::size_t{2}));
  const std::vector<std::uint32_t> rank{0, 2, 1};
  Ranking ranking;
  EXPECT_EQ(ranking.best(feasible, {}, rank, 1), NodeId(std::size_t{2}));
  feasible.reset(NodeId(std::size_t{2}));
  EXPECT_EQ(ranking.best(feasible, {}, rank, 1), NodeId(std::size_t{1}));
}

}  // namespace
}  // namespace volsched
