// SortedIds against std::set, under an order that is not that of the numbers themselves.

#include "volsched/sorted_ids.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

constexpr std::uint32_t kNothing = 0xffffffff;
const auto plain = [](std::uint32_t left, std::uint32_t right) { return left < right; };

std::vector<std::uint32_t> contents(const SortedIds& ids) {
  std::vector<std::uint32_t> found;
  ids.for_each([&](std::uint32_t id) { found.push_back(id); });
  return found;
}

TEST(SortedIds, StartsEmpty) {
  const SortedIds ids;
  EXPECT_TRUE(ids.empty());
  EXPECT_EQ(ids.size(), 0U);
  EXPECT_EQ(ids.first_from([](std::uint32_t) { return false; }, [](std::uint32_t) { return true; }), kNothing);
  EXPECT_SOUND(ids.validate(plain));
}

TEST(SortedIds, EraseTellsWhetherTheIdWasThere) {
  SortedIds ids;
  EXPECT_FALSE(ids.erase(3, plain));
  ids.insert(3, plain);
  EXPECT_FALSE(ids.erase(2, plain)) << "before every entry";
  EXPECT_FALSE(ids.erase(4, plain)) << "after every entry";
  EXPECT_TRUE(ids.erase(3, plain));
  EXPECT_TRUE(ids.empty()) << "the emptied chunk is gone";
}

TEST(SortedIds, SplitsFullChunksAtEveryPosition) {
  // ascending fills the last chunk, descending the first, the third mix lands in the middle
  for (int order = 0; order < 3; ++order) {
    SortedIds ids;
    const std::uint32_t count = 3 * SortedIds::kChunk + 7;
    for (std::uint32_t at = 0; at < count; ++at) {
      ids.insert(order == 0 ? at : order == 1 ? count - 1 - at : at % 2 == 0 ? at / 2 : count - 1 - at / 2, plain);
      if (at % 128 == 0) {
        ASSERT_SOUND(ids.validate(plain)) << order << " at " << at;
      }
    }
    ASSERT_SOUND(ids.validate(plain));
    ASSERT_EQ(ids.size(), count);
    const auto found = contents(ids);
    for (std::uint32_t at = 0; at < count; ++at) ASSERT_EQ(found[at], at);
    EXPECT_GE(ids.bytes(), count * sizeof(std::uint32_t));
  }
}

TEST(SortedIds, FirstFromSkipsWhatIsBeforeAndWhatIsNotAccepted) {
  SortedIds ids;
  for (std::uint32_t id = 0; id < 2000; id += 2) ids.insert(id, plain);
  const auto from = [&](std::uint32_t bound, std::uint32_t multiple) {
    return ids.first_from([&](std::uint32_t id) { return id < bound; },
                          [&](std::uint32_t id) { return id % multiple == 0; });
  };
  EXPECT_EQ(from(0, 1), 0U);
  EXPECT_EQ(from(1, 1), 2U);
  EXPECT_EQ(from(1023, 1), 1024U);
  EXPECT_EQ(from(1, 1998), 1998U) << "walks over chunk borders";
  EXPECT_EQ(from(1999, 1), kNothing) << "everything is before";
  EXPECT_EQ(from(1, 5000), kNothing) << "nothing is accepted";
}

// The order of volumes: by a weight that many share, then by a name; the ids themselves say nothing.
TEST(SortedIds, EqualsASetOverRandomRuns) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Dice dice(seed);
    const std::uint32_t universe = seed < 3 ? 60 : 4000;
    std::vector<std::uint32_t> weight(universe);
    std::vector<std::uint32_t> name(universe);
    for (std::uint32_t id = 0; id < universe; ++id) {
      weight[id] = dice.below32(8);
      name[id] = id;
    }
    for (std::uint32_t id = 0; id < universe; ++id) std::swap(name[id], name[dice.below(universe)]);
    const auto less = [&](std::uint32_t left, std::uint32_t right) {
      return weight[left] != weight[right] ? weight[left] < weight[right] : name[left] < name[right];
    };
    SortedIds ids;
    std::set<std::uint32_t, decltype(less)> twin(less);
    for (std::uint32_t step = 0; step < 6000; ++step) {
      const std::uint32_t id = dice.below32(universe);
      if (twin.contains(id)) {
        if (dice.percent(step < 3000 ? 20 : 80)) {
          ASSERT_TRUE(ids.erase(id, less));
          twin.erase(id);
        }
      } else if (step < 3000 || dice.percent(50)) {
        ids.insert(id, less);
        twin.insert(id);
      } else {
        ASSERT_FALSE(ids.erase(id, less));
      }
      if (step % 16 != 0) continue;
      ASSERT_SOUND(ids.validate(less)) << "seed " << seed << " step " << step;
      ASSERT_EQ(ids.size(), twin.size());
      ASSERT_EQ(ids.empty(), twin.empty());
      const std::uint32_t bound = dice.below32(9);
      const std::uint32_t modulus = 1 + dice.below32(7);
      const auto accept = [&](std::uint32_t entry) { return entry % modulus == 0; };
      const auto wanted = std::find_if(twin.begin(), twin.end(),
                                       [&](std::uint32_t entry) { return weight[entry] >= bound && accept(entry); });
      ASSERT_EQ(ids.first_from([&](std::uint32_t entry) { return weight[entry] < bound; }, accept),
                wanted == twin.end() ? kNothing : *wanted);
    }
    ASSERT_EQ(contents(ids), std::vector<std::uint32_t>(twin.begin(), twin.end()));
  }
}

TEST(SortedIds, ValidateNamesWhatIsOutOfOrder) {
  SortedIds ids;
  ids.insert(1, plain);
  ids.insert(2, plain);
  const auto reversed = [](std::uint32_t left, std::uint32_t right) { return left > right; };
  EXPECT_EQ(ids.validate(reversed), "SortedIds: 2 is out of order");
}

}  // namespace
}  // namespace volsched::test
