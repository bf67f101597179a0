// The search finds what trying everything finds, and gives up when it is told to.

#include "volsched/packing.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

constexpr std::uint32_t kGenerous = 1'000'000;

using Bins = std::vector<std::uint32_t>;

PackBin bin(std::int64_t room) {
  PackBin made;
  made.has_room = true;
  made.room = room;
  return made;
}

bool is_packing(const std::vector<PackItem>& items, const std::vector<PackBin>& bins, const Bins& chosen) {
  std::vector<std::int64_t> load(bins.size(), 0);
  for (std::size_t at = 0; at < items.size(); ++at) {
    const PackBin& into = bins[chosen[at]];
    if (into.has_maximum && items[at].bytes > into.maximum) return false;
    load[chosen[at]] += items[at].bytes;
    for (const std::uint32_t other : into.siblings) load[other] += items[at].bytes;
  }
  return std::all_of(chosen.begin(), chosen.end(), [&](std::uint32_t number) {
    return !bins[number].has_room || load[number] <= static_cast<std::int64_t>(bins[number].room);
  });
}

/// The first packing in lexical order, by trying every assignment; empty when there is none.
Bins first_way(const std::vector<PackItem>& items, const std::vector<PackBin>& bins) {
  std::vector<std::size_t> at(items.size(), 0);
  while (true) {
    Bins chosen;
    for (std::size_t item = 0; item < items.size(); ++item) chosen.push_back(items[item].bins[at[item]]);
    if (is_packing(items, bins, chosen)) return chosen;
    std::size_t item = items.size();
    while (item > 0 && ++at[item - 1] == items[item - 1].bins.size()) at[--item] = 0;
    if (item == 0) return {};
  }
}

TEST(Packing, EqualsTryingEverything) {
  std::size_t fitted = 0;
  std::size_t cut = 0;
  for (std::uint64_t seed = 0; seed < 4000; ++seed) {
    Dice dice(seed);
    std::vector<PackBin> bins(1 + dice.below(4));
    for (PackBin& made : bins) {
      made.has_room = dice.percent(85);
      made.room = dice.percent(50) ? 10 : dice.between(-2, 14);
      made.has_maximum = dice.percent(25);
      made.maximum = dice.percent(50) ? 4 : 7;
    }
    if (bins.size() > 1 && dice.percent(30)) {
      bins[0].siblings = {1};
      bins[1].siblings = {0};
    }
    std::vector<PackItem> items(1 + dice.below(5));
    for (PackItem& item : items) {
      item.bytes = dice.between(0, 7);
      for (std::uint32_t number = 0; number < bins.size(); ++number) {
        if (dice.percent(85)) item.bins.push_back(number);
      }
      if (item.bins.empty()) item.bins.push_back(0);
    }
    const Bins wanted = first_way(items, bins);
    const Packing found = pack(items, bins, kGenerous);
    ASSERT_EQ(found.bins, wanted) << "seed " << seed;
    ASSERT_EQ(found.verdict, wanted.empty() ? PackVerdict::kLacks : PackVerdict::kFits) << "seed " << seed;
    fitted += wanted.empty() ? 0 : 1;
    if (found.steps > items.size()) {
      ++cut;
      const Packing stopped = pack(items, bins, found.steps - 1);
      ASSERT_EQ(stopped.verdict, PackVerdict::kUndecided) << "seed " << seed;
      ASSERT_TRUE(stopped.bins.empty());
      ASSERT_EQ(pack(items, bins, found.steps).bins, wanted);
    }
  }
  EXPECT_GT(fitted, 1000U);
  EXPECT_GT(cut, 100U);
}

TEST(Packing, ALaterItemMovesAnEarlierOne) {
  const std::vector<PackBin> bins{bin(10), bin(5)};
  EXPECT_EQ(pack(std::vector<PackItem>{{4, {0, 1}}, {8, {0, 1}}}, bins, kGenerous).bins, (Bins{1, 0}));
}

TEST(Packing, ItemsThatAreAlikeDoNotMultiplyTheSearch) {
  const std::vector<PackBin> bins(4, bin(29));
  const Packing found = pack(std::vector<PackItem>(9, {10, {0, 1, 2, 3}}), bins, kGenerous);
  EXPECT_EQ(found.verdict, PackVerdict::kLacks);
  EXPECT_LT(found.steps, 100U);
}

TEST(Packing, ManyItemsNeedNoStack) {
  const std::vector<PackBin> bins{bin(100'000)};
  EXPECT_EQ(pack(std::vector<PackItem>(100'000, {1, {0}}), bins, kGenerous).steps, 100'000U);
}

TEST(Packing, SumsAreWiderThanSizes) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  PackBin wide = bin(kMost);
  const std::vector<PackItem> items(3, {kMost, {0}});
  EXPECT_EQ(pack(items, std::vector<PackBin>{wide}, kGenerous).verdict, PackVerdict::kLacks);
  wide.has_room = false;
  EXPECT_EQ(pack(items, std::vector<PackBin>{wide}, kGenerous).verdict, PackVerdict::kFits);
}

}  // namespace
}  // namespace volsched::test
