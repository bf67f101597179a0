// Score arithmetic: Go's integer rules, piecewise linear shapes, and what a node's volumes add up to. Expected numbers
// are worked out by hand from spec/scheduling.md 4.5.

#include "volsched/scoring.hpp"

#include <limits>

#include "support.hpp"

namespace volsched::test {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();

StringId text(std::uint32_t id) {
  return StringId(id);
}

TEST(Wrapping, GoesAroundAsInGo) {
  EXPECT_EQ(wrapping_add(kMost, 1), kLeast);
  EXPECT_EQ(wrapping_sub(kLeast, 1), kMost);
  EXPECT_EQ(wrapping_mul(kMost, 2), -2);
  EXPECT_EQ(wrapping_mul(kLeast, -1), kLeast);
  EXPECT_EQ(wrapping_mul(-3, 7), -21);
}

TEST(ScoreOnShape, TheDefaultCountsWhatIsLeft) {
  for (std::int64_t used = 0; used <= 100; ++used) EXPECT_EQ(score_on_shape(kVolumeShape, used), 100 - used);
  EXPECT_EQ(score_on_shape(kVolumeShape, 101), 0) << "past the last point its score";
  EXPECT_EQ(score_on_shape(kVolumeShape, -5), 100) << "before the first point its score";
}

TEST(ScoreOnShape, DividesTowardsZeroOnRisingAndFallingPieces) {
  const std::vector<ShapePoint> shape{{10, 20}, {40, 30}, {50, 0}, {90, 0}, {93, 100}};
  EXPECT_EQ(score_on_shape(shape, 0), 20);
  EXPECT_EQ(score_on_shape(shape, 10), 20);
  EXPECT_EQ(score_on_shape(shape, 12), 20);  // 20 + 10*2/30
  EXPECT_EQ(score_on_shape(shape, 13), 21);
  EXPECT_EQ(score_on_shape(shape, 40), 30);
  EXPECT_EQ(score_on_shape(shape, 41), 27);
  EXPECT_EQ(score_on_shape(shape, 70), 0);
  EXPECT_EQ(score_on_shape(shape, 91), 33);
  EXPECT_EQ(score_on_shape(shape, 92), 66);
  EXPECT_EQ(score_on_shape(shape, 100), 100);
  const std::vector<ShapePoint> falling{{0, 10}, {3, 0}};
  EXPECT_EQ(score_on_shape(falling, 1), 7) << "10 + (-10)/3 = 10 - 3";
  EXPECT_EQ(score_on_shape(falling, 2), 4) << "10 + (-20)/3 = 10 - 6";
}

TEST(ClassFills, NoClassScoresNothing) {
  ClassFills fills;
  EXPECT_TRUE(fills.empty());
  EXPECT_EQ(fills.score(), 0);
}

TEST(ClassFills, OneClassScoresWhatIsLeft) {
  ClassFills fills;
  fills.at(text(1)) = {text(1), 30, 100};
  EXPECT_EQ(fills.score(), 70);
  fills.at(text(1)).requested_bytes = 101;
  EXPECT_EQ(fills.score(), 0) << "more than there is counts as full";
  fills.at(text(1)) = {text(1), 0, 0};
  EXPECT_EQ(fills.score(), 0) << "no capacity counts as full";
  fills.at(text(1)) = {text(1), 1, 3};
  EXPECT_EQ(fills.score(), 67) << "33.3 % used is 33";
  EXPECT_FALSE(fills.empty());
}

TEST(ClassFills, SeveralClassesAverageAndRoundHalfUp) {
  ClassFills fills;
  fills.at(text(1)) = {text(1), 50, 100};
  fills.at(text(2)) = {text(2), 51, 100};
  EXPECT_EQ(fills.score(), 50) << "(50 + 49) / 2 = 49.5, away from zero";
  fills.at(text(3)) = {text(3), 52, 100};
  EXPECT_EQ(fills.score(), 49);
}

TEST(ClassFills, AnEntryIsMadeOnceAndKeptUntilCleared) {
  ClassFills fills;
  fills.at(text(1)).requested_bytes += 10;
  fills.at(text(1)).requested_bytes += 10;
  EXPECT_EQ(fills.at(text(1)).requested_bytes, 20);
  fills.clear();
  EXPECT_TRUE(fills.empty());
  EXPECT_EQ(fills.at(text(1)).requested_bytes, 0);
}

TEST(ClassFills, HugeRequestsWrapAsUpstreamDoesAndDoNotCrash) {
  ClassFills fills;
  fills.at(text(1)) = {text(1), kMost, kMost};
  EXPECT_EQ(fills.score(), 100) << "kMost * 100 wraps to -100, which is less than any point";
}

}  // namespace
}  // namespace volsched::test
