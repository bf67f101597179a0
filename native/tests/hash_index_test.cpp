// HashIndex against a multimap, with hashes so few that runs meet.

#include "volsched/hash_index.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

TEST(HashIndexTest, EqualsAMultimapWhereHashesMeet) {
  for (const std::uint64_t origin : {std::uint64_t{5}, ~std::uint64_t{0} - 3}) {  // also around the end of the numbers
    Dice dice(origin);
    HashIndex index;
    std::multimap<std::uint64_t, std::uint32_t> twin;
    std::uint32_t next = 0;
    for (int step = 0; step < 20000; ++step) {
      const std::uint64_t hash = origin + dice.below(8);
      if (dice.percent(50) && twin.size() < 40) {
        index.add(hash, next);
        twin.emplace(hash, next++);
      } else if (!twin.empty()) {
        auto gone = twin.begin();
        std::advance(gone, static_cast<std::ptrdiff_t>(dice.below(twin.size())));
        index.remove(gone->first, gone->second);
        twin.erase(gone);
      }
      for (const auto& [key, row] : twin)
        ASSERT_EQ(index.find(key, [row = row](std::uint32_t other) { return other == row; }), row);
      const auto is_new = [&](std::uint32_t other) { return other == next; };
      ASSERT_EQ(index.find(hash, is_new), HashIndex::kMissing);
    }
    while (!twin.empty()) {
      index.remove(twin.begin()->first, twin.begin()->second);
      twin.erase(twin.begin());
    }
    const auto any = [](std::uint32_t) { return true; };
    for (std::uint64_t hash = origin - 60; hash != origin + 60; ++hash)
      ASSERT_EQ(index.find(hash, any), HashIndex::kMissing);
  }
}

}  // namespace
}  // namespace volsched::test
