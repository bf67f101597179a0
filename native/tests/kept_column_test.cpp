// KeptColumn: what is in range is in the column, what is not is kept aside until the row scores in range again; and its
// log.

#include "volsched/kept_column.hpp"

#include <limits>

#include "support.hpp"
#include "volsched/go_math.hpp"

namespace volsched::test {
namespace {

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();

TEST(KeptColumnTest, ScoresInRangeAreInTheColumn) {
  KeptColumn scores;
  scores.resize(3);
  scores.set(0, 0);
  scores.set(1, 100);
  scores.set(2, 42);
  EXPECT_EQ(std::vector<std::int32_t>(scores.data(), scores.data() + 3), (std::vector<std::int32_t>{0, 100, 42}));
  EXPECT_TRUE(scores.invalid().empty());
}

TEST(KeptColumnTest, OthersAreSetAsideInFull) {
  KeptColumn scores;
  scores.resize(3);
  scores.set(0, -1);
  scores.set(1, 101);
  scores.set(2, kLeast);
  EXPECT_EQ(scores.invalid(), (KeptColumn::Invalid{{0, -1}, {1, 101}, {2, kLeast}}));
  EXPECT_EQ(std::vector<std::int32_t>(scores.data(), scores.data() + 3), (std::vector<std::int32_t>{0, 0, 0}));
  scores.set(1, 7);
  scores.set(2, -2);
  EXPECT_EQ(scores.invalid(), (KeptColumn::Invalid{{0, -1}, {2, -2}}));
  EXPECT_EQ(scores.data()[1], 7);
}

TEST(KeptColumnTest, TellsWhatChangedUntilItIsRestarted) {
  KeptColumn column;
  column.restart(4);
  const std::uint64_t id = column.id();
  std::uint64_t cursor = column.changed().end();
  column.set(2, 7);
  column.set(2, 7);
  column.set(1, 3);
  std::vector<std::uint32_t> rows;
  ASSERT_TRUE(column.changed().replay(cursor, [&](std::uint32_t row) { rows.push_back(row); }));
  EXPECT_EQ(rows, (std::vector<std::uint32_t>{2, 1}));
  EXPECT_EQ(column.id(), id);
  column.restart(4);
  EXPECT_NE(column.id(), id);
  EXPECT_EQ(column[2], 0);
  EXPECT_NE(KeptColumn().id(), KeptColumn().id());
}

TEST(GoInt64, WhatDoesNotFitIsTheLowestNumber) {
  EXPECT_EQ(go_int64(-1.9), -1);
  EXPECT_EQ(go_int64(99.99), 99);
  EXPECT_EQ(go_int64(-0x1p63), kLeast);
  EXPECT_EQ(go_int64(0x1p63), kLeast);
  EXPECT_EQ(go_int64(-1e300), kLeast);
  EXPECT_EQ(go_int64(std::nan("")), kLeast);
}

}  // namespace
}  // namespace volsched::test
