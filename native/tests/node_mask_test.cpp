// NodeMask and NodeSet against std::set, at sizes around word borders.

#include "volsched/node_mask.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

class NodeMaskOfSize : public testing::TestWithParam<std::size_t> {
 protected:
  /// About a third of the rows, always with the first and last where there are any.
  [[nodiscard]] Rows some_rows(Dice& dice) const {
    Rows rows;
    for (std::size_t row = 0; row < GetParam(); ++row) {
      if (dice.percent(33)) rows.insert(static_cast<std::uint32_t>(row));
    }
    if (GetParam() > 0 && dice.percent(50)) {
      rows.insert(0);
      rows.insert(static_cast<std::uint32_t>(GetParam() - 1));
    }
    return rows;
  }
};

INSTANTIATE_TEST_SUITE_P(AcrossWordBorders, NodeMaskOfSize, testing::Values(0, 1, 63, 64, 65, 127, 128, 130, 5000));

TEST_P(NodeMaskOfSize, StartsWithoutMembers) {
  const NodeMask mask(GetParam());
  EXPECT_EQ(mask.size(), GetParam());
  EXPECT_EQ(mask.words().size(), NodeMask::word_count(GetParam()));
  EXPECT_EQ(mask.count(), 0U);
  EXPECT_TRUE(mask.none());
  EXPECT_FALSE(mask.any());
  EXPECT_FALSE(mask.first().valid());
  EXPECT_SOUND(mask.validate());
}

TEST_P(NodeMaskOfSize, FillSetsExactlyItsRows) {
  NodeMask mask(GetParam());
  mask.fill();
  EXPECT_SOUND(mask.validate());
  EXPECT_EQ(mask.count(), GetParam());
  EXPECT_EQ(mask.any(), GetParam() > 0);
  Rows all;
  for (std::size_t row = 0; row < GetParam(); ++row) all.insert(static_cast<std::uint32_t>(row));
  EXPECT_EQ(rows_of(mask), all);
  mask.clear();
  EXPECT_EQ(mask, NodeMask(GetParam()));
}

TEST_P(NodeMaskOfSize, EachRowIsItsOwn) {
  for (std::size_t row = 0; row < GetParam(); row += GetParam() > 200 ? 97 : 1) {
    NodeMask mask(GetParam());
    mask.set(node(row));
    ASSERT_EQ(mask.count(), 1U);
    ASSERT_EQ(mask.first(), node(row));
    ASSERT_TRUE(mask.test(node(row)));
    ASSERT_EQ(rows_of(mask), Rows{static_cast<std::uint32_t>(row)});
    mask.set(node(row));
    ASSERT_EQ(mask.count(), 1U) << "a row is a member once";
    mask.reset(node(row));
    ASSERT_TRUE(mask.none());
    mask.assign(node(row), true);
    ASSERT_TRUE(mask.test(node(row)));
    mask.assign(node(row), false);
    ASSERT_FALSE(mask.test(node(row)));
  }
}

TEST_P(NodeMaskOfSize, CombinesAsSetsDo) {
  Dice dice(GetParam());
  for (int round = 0; round < 30; ++round) {
    const Rows left = some_rows(dice);
    const Rows right = round == 0 ? left : round == 1 ? Rows() : some_rows(dice);
    const NodeMask a = mask_of(GetParam(), left);
    const NodeMask b = mask_of(GetParam(), right);
    Rows both;
    Rows either = left;
    Rows only_left;
    std::set_intersection(left.begin(), left.end(), right.begin(), right.end(), std::inserter(both, both.end()));
    either.insert(right.begin(), right.end());
    std::set_difference(left.begin(), left.end(), right.begin(), right.end(),
                        std::inserter(only_left, only_left.end()));

    ASSERT_EQ(rows_of(a & b), both);
    ASSERT_EQ(rows_of(a | b), either);
    ASSERT_EQ(rows_of(a - b), only_left);
    for (const NodeMask& made : {a & b, a | b, a - b}) ASSERT_SOUND(made.validate());
    ASSERT_EQ(a.count(), left.size());
    ASSERT_EQ(a.any(), !left.empty());
    ASSERT_EQ(a.first(), left.empty() ? NodeId() : NodeId(*left.begin()));
    ASSERT_EQ(a.intersects(b), !both.empty());
    ASSERT_EQ(a.count_common(b), both.size());
    ASSERT_EQ(a.is_subset_of(b), std::includes(right.begin(), right.end(), left.begin(), left.end()));
    ASSERT_TRUE((a & b).is_subset_of(a));
    ASSERT_EQ(a == b, left == right);
    ASSERT_EQ(rows_of(a), left) << "operators on copies leave their operands alone";
  }
}

TEST_P(NodeMaskOfSize, ForEachGoesUpwards) {
  Dice dice(GetParam() + 7);
  const Rows rows = some_rows(dice);
  std::vector<std::uint32_t> visited;
  mask_of(GetParam(), rows).for_each([&](NodeId row) { visited.push_back(row.value()); });
  EXPECT_EQ(visited, std::vector<std::uint32_t>(rows.begin(), rows.end()));
}

TEST_P(NodeMaskOfSize, ResizingKeepsTheRowsThatRemain) {
  Dice dice(GetParam() + 11);
  for (const std::size_t size : {0, 1, 63, 64, 65, 127, 128, 130, 200, 5000}) {
    NodeMask mask(GetParam());
    mask.fill();
    mask.resize(size);
    ASSERT_EQ(mask.size(), size);
    ASSERT_SOUND(mask.validate());
    ASSERT_EQ(mask.count(), std::min(GetParam(), size)) << "new rows are not members";
    mask.resize(GetParam());
    ASSERT_SOUND(mask.validate());
    ASSERT_EQ(mask.count(), std::min(GetParam(), size)) << "rows that went do not come back";
  }
}

TEST(NodeMask, ValidateSeesBitsPastTheSize) {
  NodeMask mask(65);
  mask.words()[1] = 2;
  EXPECT_EQ(mask.validate(), "NodeMask: a bit past the size is set");
}

TEST(NodeMask, WordsAreItsMembers) {
  NodeMask mask(130);
  mask.set(node(0));
  mask.set(node(64));
  mask.set(node(129));
  EXPECT_EQ(std::vector<NodeMask::Word>(mask.words().begin(), mask.words().end()),
            (std::vector<NodeMask::Word>{1, 1, 2}));
  EXPECT_GE(mask.bytes(), 24U);
}

// NodeSet
// ---------------------------------------------------------------------------------------------------------------------------------

void expect_same(const NodeSet& set, const Rows& twin, std::size_t rows, Dice& dice) {
  ASSERT_SOUND(set.validate());
  ASSERT_EQ(set.count(), twin.size());
  ASSERT_EQ(set.empty(), twin.empty());
  ASSERT_EQ(rows_of(set), twin);
  Rows given;
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (dice.percent(40)) given.insert(row);
    ASSERT_EQ(set.contains(NodeId(row)), twin.contains(row));
  }
  Rows inside;
  Rows outside;
  Rows united = given;
  for (const std::uint32_t row : given) (twin.contains(row) ? inside : outside).insert(row);
  united.insert(twin.begin(), twin.end());
  const NodeMask within = mask_of(rows, given);
  ASSERT_EQ(set.within(within), mask_of(rows, inside));
  ASSERT_EQ(set.outside(within), mask_of(rows, outside));
  NodeMask target = within;
  set.add_to(target);
  ASSERT_EQ(target, mask_of(rows, united));
  target = within;
  set.remove_from(target);
  ASSERT_EQ(target, mask_of(rows, outside));
}

TEST(NodeSet, InsertAndEraseTellWhetherAnythingChanged) {
  NodeSet set;
  EXPECT_TRUE(set.insert(node(3), 10));
  EXPECT_FALSE(set.insert(node(3), 10));
  EXPECT_FALSE(set.erase(node(4)));
  EXPECT_TRUE(set.erase(node(3)));
  EXPECT_FALSE(set.erase(node(3)));
  EXPECT_TRUE(set.empty());
}

TEST(NodeSet, CountsInAFullClusterAndInAnEmptyOne) {
  for (const std::size_t rows : {std::size_t{1}, std::size_t{64}, std::size_t{65}, std::size_t{1000}}) {
    NodeSet set;
    for (std::size_t row = rows; row-- > 0;) ASSERT_TRUE(set.insert(node(row), rows));
    for (std::size_t row = 0; row < rows; ++row) ASSERT_FALSE(set.insert(node(row), rows));
    ASSERT_EQ(set.count(), rows);
    ASSERT_SOUND(set.validate());
    for (std::size_t row = 0; row < rows; ++row) ASSERT_TRUE(set.erase(node(row)));
    ASSERT_TRUE(set.empty());
    ASSERT_SOUND(set.validate());
  }
}

// The cluster grows while sets exist: a set that was packed for fewer rows is asked about, and meets masks of, more.
TEST(NodeSet, MeetsMasksOfAClusterThatHasGrown) {
  NodeSet set;
  for (std::size_t row = 0; row < 60; ++row) set.insert(node(row), 60);
  EXPECT_FALSE(set.contains(node(4000)));
  EXPECT_FALSE(set.erase(node(4000)));
  NodeMask all(5000);
  all.fill();
  EXPECT_EQ(set.within(all).count(), 60U);
  EXPECT_EQ(set.outside(all).count(), 4940U);
  EXPECT_TRUE(set.insert(node(4999), 5000));
  EXPECT_TRUE(set.contains(node(4999)));
  EXPECT_EQ(set.count(), 61U);
  EXPECT_SOUND(set.validate());
}

// Few and many members in turn, so that the set becomes a mask and a list again; the cluster grows meanwhile.
TEST(NodeSet, EqualsASetThroughListAndMask) {
  for (const std::size_t last_rows : {std::size_t{65}, std::size_t{130}, std::size_t{700}, std::size_t{5000}}) {
    Dice dice(last_rows);
    NodeSet set;
    Rows twin;
    std::size_t rows = last_rows / 2;
    std::size_t bytes_most = 0;
    for (int phase = 0; phase < 6; ++phase) {
      const bool grows = phase % 2 == 0;
      for (std::size_t step = 0; step < 2 * rows; ++step) {
        const std::uint32_t row = dice.below32(static_cast<std::uint32_t>(rows));
        const bool insert = dice.percent(grows ? 90 : 3);
        if (insert) {
          ASSERT_EQ(set.insert(NodeId(row), rows), twin.insert(row).second);
        } else {
          ASSERT_EQ(set.erase(NodeId(row)), twin.erase(row) == 1);
        }
        if (step % 211 == 0) expect_same(set, twin, rows, dice);
      }
      if (!grows) {
        // down to a handful by erasing what is left, which crosses the border back to a list
        while (twin.size() > 3) {
          const std::uint32_t row = *twin.begin();
          twin.erase(row);
          ASSERT_TRUE(set.erase(NodeId(row)));
          ASSERT_SOUND(set.validate());
        }
      }
      expect_same(set, twin, rows, dice);
      bytes_most = std::max(bytes_most, set.bytes());
      rows = std::min(last_rows, rows + last_rows / 5);
    }
    if (last_rows == 5000) {
      EXPECT_LE(bytes_most, 4096U) << "a large set is a mask";
    }
  }
}

TEST(NodeSet, SmallSetsOfLargeClustersStaySmall) {
  NodeSet set;
  for (std::size_t row = 0; row < 10; ++row) set.insert(node(row * 9999), 100000);
  EXPECT_LE(set.bytes(), 100U);
}

}  // namespace
}  // namespace volsched::test
