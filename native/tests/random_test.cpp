// Random: the published generator, seeded the published way, and numbers below a bound without bias.

#include "volsched/random.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

/// xoshiro256** and splitmix64 as their authors describe them, written out a second time.
class Twin {
 public:
  explicit Twin(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      std::uint64_t mixed = seed += 0x9e3779b97f4a7c15ULL;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
      word = mixed ^ (mixed >> 31);
    }
  }
  std::uint64_t next() {
    const auto rotate = [](std::uint64_t value, unsigned by) { return (value << by) | (value >> (64 - by)); };
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t kept = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= kept;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

 private:
  std::uint64_t state_[4] = {};
};

TEST(Random, FirstNumberOfSeedZeroIsThePublishedOne) {
  EXPECT_EQ(Random(0).next(), 0x99ec5f36cb75f2b4ULL);
}

TEST(Random, EqualsItsDescription) {
  for (const std::uint64_t seed : {0ULL, 1ULL, 8123ULL, ~0ULL}) {
    Random random(seed);
    Twin twin(seed);
    for (int step = 0; step < 1000; ++step)
      ASSERT_EQ(random.next(), twin.next()) << "seed " << seed << " step " << step;
  }
}

TEST(Random, ACopyContinuesTheSameSequence) {
  Random random(5);
  random.next();
  Random copy = random;
  for (int step = 0; step < 10; ++step) EXPECT_EQ(random.next(), copy.next());
}

TEST(Random, BelowStaysBelowAndReachesEverything) {
  Random random(3);
  for (const std::uint64_t bound : {1ULL, 2ULL, 3ULL, 7ULL, 64ULL}) {
    std::set<std::uint64_t> seen;
    for (int step = 0; step < 2000; ++step) seen.insert(random.below(bound));
    EXPECT_EQ(seen.size(), bound);
    EXPECT_EQ(*seen.rbegin(), bound - 1);
  }
  for (int step = 0; step < 100; ++step) EXPECT_LT(random.below(~0ULL), ~0ULL);
}

TEST(Random, BelowIsEven) {
  Random random(17);
  std::vector<int> counts(3, 0);
  for (int step = 0; step < 30000; ++step) ++counts[random.below(3)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);  // five standard deviations
}

}  // namespace
}  // namespace volsched::test
