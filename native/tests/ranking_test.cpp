#include "volsched/ranking.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "volsched/random.hpp"

namespace volsched {
namespace {

TEST(RowHeapsTest, HaveTheGreatestOnTopWhateverChanges) {
  constexpr std::uint32_t kRows = 97;
  constexpr std::size_t kHeaps = 3;
  Random chance(3);
  RowHeaps heaps;
  heaps.clear(kRows);
  std::vector<std::int64_t> keys(kRows, -1);  // -1: in no heap
  std::vector<std::uint32_t> heap_of(kRows, 0);
  for (int step = 0; step < 5000; ++step) {
    const auto row = static_cast<std::uint32_t>(chance.below(kRows));
    if (chance.below(3) == 0) {
      heaps.erase(row);
      keys[row] = -1;
    } else {
      keys[row] = static_cast<std::int64_t>(chance.below(50) * kRows + row);
      heap_of[row] = static_cast<std::uint32_t>(chance.below(kHeaps));
      heaps.put(row, heap_of[row], keys[row]);
    }
    ASSERT_EQ(heaps.validate(), "");
    ASSERT_EQ(heaps.heap_of(row), keys[row] >= 0 ? heap_of[row] : RowHeaps::kNowhere);
    for (std::uint32_t heap = 0; heap < heaps.count(); ++heap) {
      std::uint32_t best = RowHeaps::kNowhere;
      std::size_t size = 0;
      for (std::uint32_t each = 0; each < kRows; ++each) {
        if (keys[each] < 0 || heap_of[each] != heap) continue;
        ++size;
        if (best == RowHeaps::kNowhere || keys[each] > keys[best]) best = each;
      }
      ASSERT_EQ(heaps.size(heap), size);
      if (size != 0) {
        ASSERT_EQ(heaps.top(heap).row, best);
      }
    }
  }
}

TEST(RowClassesTest, GiveEqualSignaturesOneClass) {
  RowClasses classes;
  classes.restart(4, 2);
  const auto put = [&](std::uint32_t row, std::array<std::int64_t, 2> signature) { classes.put(row, signature); };
  put(0, {1, 2});
  put(1, {2, 1});
  put(2, {1, 2});
  EXPECT_EQ(classes.of(0), classes.of(2));
  EXPECT_NE(classes.of(0), classes.of(1));
  EXPECT_EQ(classes.count(), 2U);
  std::uint64_t cursor = classes.moved().end();
  put(2, {1, 2});
  put(0, {2, 1});
  std::vector<std::uint32_t> moved;
  ASSERT_TRUE(classes.moved().replay(cursor, [&](std::uint32_t row) { moved.push_back(row); }));
  EXPECT_EQ(moved, std::vector<std::uint32_t>{0});
  EXPECT_EQ(classes.signature(classes.of(0))[0], 2);
  const std::uint64_t id = classes.id();
  classes.restart(4, 1);
  EXPECT_NE(classes.id(), id);
  EXPECT_EQ(classes.count(), 0U);
}

/// A score that compares: 100 for the greatest value among the nodes that fit, others by their share of it.
std::int32_t compared(std::int64_t value, std::int64_t most) {
  return most == 0 ? 100 : static_cast<std::int32_t>(100 * value / most);
}

Ranking::ClassPart class_part(const RowClasses& classes, std::int32_t weight) {
  return {&classes, weight, [&classes](std::span<const std::uint32_t> counts, std::vector<std::int32_t>& scores) {
            std::int64_t most = 0;
            for (std::size_t at = 0; at < counts.size(); ++at) {
              if (counts[at] != 0) most = std::max(most, classes.signature(at)[0]);
            }
            for (std::size_t at = 0; at < counts.size(); ++at) scores[at] = compared(classes.signature(at)[0], most);
          }};
}

/// The node by the definition.
NodeId plain_best(const NodeMask& feasible, std::span<const Ranking::Part> parts,
                  std::span<const Ranking::ClassPart> class_parts, std::span<const std::uint32_t> rank) {
  std::vector<std::int64_t> most(class_parts.size(), 0);
  feasible.for_each([&](NodeId row) {
    for (std::size_t at = 0; at < class_parts.size(); ++at) {
      const RowClasses& classes = *class_parts[at].classes;
      most[at] = std::max(most[at], classes.signature(classes.of(row.index()))[0]);
    }
  });
  NodeId best;
  std::int64_t best_total = 0;
  feasible.for_each([&](NodeId row) {
    std::int64_t total = 0;
    for (const Ranking::Part& part : parts) total += std::int64_t{part.weight} * (*part.column)[row.index()];
    for (std::size_t at = 0; at < class_parts.size(); ++at) {
      const RowClasses& classes = *class_parts[at].classes;
      total += class_parts[at].weight * compared(classes.signature(classes.of(row.index()))[0], most[at]);
    }
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
    RowClasses near;
    RowClasses far;
    const auto put = [&](RowClasses& classes, std::size_t row, std::int64_t value) {
      classes.put(static_cast<std::uint32_t>(row), {&value, 1});
    };
    const auto restart = [&](RowClasses& classes) {
      classes.restart(kRows, 1);
      for (std::size_t row = 0; row < kRows; ++row) put(classes, row, static_cast<std::int64_t>(chance.below(4)));
    };
    restart(near);
    restart(far);
    std::vector<Ranking::ClassPart> class_parts;
    for (std::uint64_t count = seed % 3; count > 0; --count)
      class_parts.push_back(class_part(count == 2 ? near : far, 3));
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
            first.set(chance.below(kRows), static_cast<std::int64_t>(chance.below(5)));
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
        case 5:
          restart(near);
          break;
        case 4:
          parts[0].weight = 1 + static_cast<std::int32_t>(chance.below(4));
          break;
        default:
          for (std::uint64_t time = chance.below(6); time > 0; --time)
            second.set(chance.below(kRows), static_cast<std::int64_t>(chance.below(4)));
          for (std::uint64_t time = chance.below(6); time > 0; --time)
            put(chance.below(2) == 0 ? near : far, chance.below(kRows), static_cast<std::int64_t>(chance.below(7)));
          for (std::uint64_t time = chance.below(9); time > 0; --time)
            feasible.assign(NodeId(chance.below(kRows)), chance.below(2) == 0);
      }
      feasible.set(NodeId(chance.below(kRows)));  // somebody fits
      ASSERT_EQ(ranking.best(feasible, parts, class_parts, rank, version),
                plain_best(feasible, parts, class_parts, rank))
          << seed << " " << step;
      ASSERT_EQ(ranking.validate(), "");
      ASSERT_TRUE(ranking.follows(parts, class_parts));
    }
  }
}

TEST(RankingTest, NeedsNoColumns) {
  NodeMask feasible(3);
  feasible.set(NodeId(std::size_t{1}));
  feasible.set(NodeId(std::size_t{2}));
  const std::vector<std::uint32_t> rank{0, 2, 1};
  Ranking ranking;
  EXPECT_EQ(ranking.best(feasible, {}, {}, rank, 1), NodeId(std::size_t{2}));
  feasible.reset(NodeId(std::size_t{2}));
  EXPECT_EQ(ranking.best(feasible, {}, {}, rank, 1), NodeId(std::size_t{1}));
}

}  // namespace
}  // namespace volsched
