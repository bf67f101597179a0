// Go's logarithm: known bits where it differs from C libraries, and never far from theirs.

#include "volsched/go_math.hpp"

#include <bit>

#include "support.hpp"

namespace volsched::test {
namespace {

TEST(GoLog, HasTheReferencesBitsForThree) {
  EXPECT_EQ(std::bit_cast<std::uint64_t>(go_log(3.0)), 0x3ff193ea7aad030aULL) << "spec/scheduling.md 13, 61";
}

TEST(GoLog, IsExactWhereItCanBe) {
  EXPECT_EQ(go_log(1.0), 0.0);
  EXPECT_FALSE(std::signbit(go_log(1.0)));
  EXPECT_LT(go_log(0.5), 0.0);
}

TEST(GoLog, StaysWithinABitOfTheLibrarys) {
  int different = 0;
  for (int size = 2; size <= 20000; ++size) {
    const double ours = go_log(size);
    const double theirs = std::log(static_cast<double>(size));
    const auto apart = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(ours)) -
                       static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(theirs));
    ASSERT_LE(std::abs(apart), 1) << size;
    different += apart != 0 ? 1 : 0;
    if (size > 2) {
      ASSERT_GT(ours, go_log(size - 1));
    }
  }
  EXPECT_GT(different, 0) << "it would be no use if it were the same";
  for (const int size : {3, 14, 48, 74, 176})
    EXPECT_NE(go_log(size), std::log(static_cast<double>(size))) << size << ", spec/scheduling.md 8.8";
}

}  // namespace
}  // namespace volsched::test
