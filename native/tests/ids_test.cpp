// Ids, 128-bit amounts, quoted names and the engine's error: the small headers everything else stands on.

#include "volsched/ids.hpp"

#include <type_traits>
#include <unordered_set>

#include "support.hpp"
#include "volsched/text.hpp"

namespace volsched::test {
namespace {

TEST(Id, ADefaultOneNamesNothing) {
  EXPECT_FALSE(NodeId().valid());
  EXPECT_EQ(NodeId().value(), NodeId::kNone);
  EXPECT_TRUE(NodeId(std::uint32_t{0}).valid());
}

TEST(Id, MadeFromEitherWidthIsTheSame) {
  EXPECT_EQ(NodeId(std::size_t{7}), NodeId(std::uint32_t{7}));
  EXPECT_EQ(NodeId(std::size_t{7}).index(), 7U);
}

TEST(Id, OrdersByNumberAndTheInvalidOneComesLast) {
  EXPECT_LT(PodId(std::uint32_t{1}), PodId(std::uint32_t{2}));
  EXPECT_LT(PodId(std::uint32_t{0xfffffffe}), PodId());
}

TEST(Id, TablesDoNotMix) {
  static_assert(!std::is_convertible_v<NodeId, PodId>);
  static_assert(!std::is_convertible_v<std::uint32_t, NodeId>);
  static_assert(!std::is_same_v<GroupId, ProfileId>);
}

TEST(Id, MixingIsOneToOneOnConsecutiveNumbers) {
  std::unordered_set<std::uint64_t> seen;
  for (std::uint64_t value = 0; value < 20000; ++value) seen.insert(mix64(value));
  EXPECT_EQ(seen.size(), 20000U);
  EXPECT_EQ(mix64(0), 0U);
}

TEST(Id, PackingKeepsBothHalves) {
  EXPECT_EQ(pack(NodeId(std::uint32_t{1}), PodId(std::uint32_t{2})), 0x0000000100000002ULL);
  EXPECT_EQ(pack(NodeId(), PodId()), ~0ULL);
  EXPECT_NE(pack(NodeId(std::uint32_t{1}), PodId(std::uint32_t{2})),
            pack(NodeId(std::uint32_t{2}), PodId(std::uint32_t{1})));
}

TEST(Amount, NanosHoldMoreThanAnExbibyteExactly) {
  const Nanos exbi = Nanos{1LL << 60} * kNanosPerByte;
  EXPECT_TRUE(exbi + 1 > exbi);
  EXPECT_EQ(static_cast<std::int64_t>((exbi + 1) % kNanosPerByte), 1);
  EXPECT_EQ(sizeof(Nanos), 16U);
}

TEST(Text, QuotesANameBetweenItsNeighbours) {
  EXPECT_EQ(quoting("persistentvolumeclaim ", "data", " not found"), "persistentvolumeclaim \"data\" not found");
  EXPECT_EQ(quoting("class ", "fast"), "class \"fast\"");
  EXPECT_EQ(quoting("", "", ""), "\"\"");
}

TEST(Error, CarriesItsMessage) {
  const Error problem("row 3 is not a node");
  EXPECT_STREQ(problem.what(), "row 3 is not a node");
}

}  // namespace
}  // namespace volsched::test
