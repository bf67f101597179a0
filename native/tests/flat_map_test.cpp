// FlatMap against std::unordered_map: long random runs of set, replace and erase, and keys that collide on purpose.

#include "volsched/flat_map.hpp"

#include <unordered_map>

#include "support.hpp"

namespace volsched::test {
namespace {

TEST(FlatMap, FindsNothingWhenEmpty) {
  FlatMap map;
  EXPECT_EQ(map.find(5), FlatMap::kMissing);
  EXPECT_FALSE(map.erase(5));
  EXPECT_EQ(map.size(), 0U);
  EXPECT_EQ(map.bytes(), 0U);
  EXPECT_SOUND(map.validate());
}

TEST(FlatMap, SetReplacesAndEraseTellsWhetherTheKeyWasThere) {
  FlatMap map;
  map.set(5, 1);
  map.set(5, 2);
  EXPECT_EQ(map.size(), 1U);
  EXPECT_EQ(map.find(5), 2U);
  EXPECT_TRUE(map.erase(5));
  EXPECT_FALSE(map.erase(5));
  EXPECT_EQ(map.find(5), FlatMap::kMissing);
  EXPECT_EQ(map.size(), 0U);
}

TEST(FlatMap, TakesExtremeKeysAndValues) {
  FlatMap map;
  map.set(0, 0);
  map.set(~0ULL - 1, 0xfffffffe);
  EXPECT_EQ(map.find(0), 0U);
  EXPECT_EQ(map.find(~0ULL - 1), 0xfffffffeU);
  EXPECT_EQ(map.find(~0ULL), FlatMap::kMissing) << "the reserved key is never found";
}

TEST(FlatMap, GrowsThroughSeveralSizesWithoutLosingAKey) {
  FlatMap map;
  for (std::uint32_t key = 0; key < 5000; ++key) {
    map.set(key, key + 1);
    if ((key & (key - 1)) == 0) {
      ASSERT_SOUND(map.validate()) << key;
    }
  }
  EXPECT_EQ(map.size(), 5000U);
  for (std::uint32_t key = 0; key < 5000; ++key) ASSERT_EQ(map.find(key), key + 1);
  EXPECT_GE(map.bytes(), 5000 * 16U);
}

TEST(FlatMap, CopiesAreIndependent) {
  FlatMap map;
  map.set(1, 10);
  FlatMap copy = map;
  copy.set(2, 20);
  copy.erase(1);
  EXPECT_EQ(map.find(1), 10U);
  EXPECT_EQ(map.find(2), FlatMap::kMissing);
}

// Erasing closes the gap in a run of colliding keys, also where the run wraps around the end of the table. Keys that
// all have one of two neighbouring homes at the end of a table of 16 make every erase such a case.
TEST(FlatMap, EraseKeepsRunsThatWrapAround) {
  std::vector<std::uint64_t> last_home;
  std::vector<std::uint64_t> first_home;
  for (std::uint64_t key = 1; last_home.size() < 7 || first_home.size() < 6; ++key) {
    if ((mix64(key) & 15) == 15 && last_home.size() < 7) last_home.push_back(key);
    if ((mix64(key) & 15) == 0 && first_home.size() < 6) first_home.push_back(key);
  }
  std::vector<std::uint64_t> keys = last_home;
  keys.insert(keys.end(), first_home.begin(), first_home.end());
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Dice dice(seed);
    FlatMap map;
    std::unordered_map<std::uint64_t, std::uint32_t> twin;
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t key = dice.one_of(keys);
      if (dice.percent(50)) {
        map.set(key, static_cast<std::uint32_t>(step));
        twin[key] = static_cast<std::uint32_t>(step);
      } else {
        ASSERT_EQ(map.erase(key), twin.erase(key) == 1) << "seed " << seed << " step " << step;
      }
      ASSERT_SOUND(map.validate()) << "seed " << seed << " step " << step;
      for (const std::uint64_t each : keys) {
        const auto known = twin.find(each);
        ASSERT_EQ(map.find(each), known == twin.end() ? FlatMap::kMissing : known->second)
            << "seed " << seed << " step " << step;
      }
    }
  }
}

TEST(FlatMap, EqualsAMapOverRandomRuns) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Dice dice(seed);
    FlatMap map;
    std::unordered_map<std::uint64_t, std::uint32_t> twin;
    const std::uint32_t keys = 20U << (2 * (seed % 5));
    for (std::uint32_t step = 0; step < 4000; ++step) {
      const std::uint64_t key = std::uint64_t{dice.below32(keys)} << (seed % 2 == 0 ? 0U : 32U);
      if (dice.percent(55)) {
        map.set(key, step);
        twin[key] = step;
      } else {
        ASSERT_EQ(map.erase(key), twin.erase(key) == 1);
      }
      ASSERT_EQ(map.size(), twin.size());
      if (step % 500 == 0) {
        ASSERT_SOUND(map.validate());
      }
    }
    for (const auto& [key, value] : twin) ASSERT_EQ(map.find(key), value);
    ASSERT_SOUND(map.validate());
  }
}

}  // namespace
}  // namespace volsched::test
