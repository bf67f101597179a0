// Claims and classes by name, and who uses a claim.

#include "volsched/claims.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

class ClaimTableTest : public testing::Test {
 protected:
  StringPool strings;
  ClaimTable table;

  StringId id(const std::string& value) { return strings.intern(value); }
};

TEST_F(ClaimTableTest, ASlotIsMadeOnceAPair) {
  const ClaimId first = table.slot(id("default"), id("data"));
  EXPECT_EQ(table.slot(id("default"), id("data")), first);
  EXPECT_NE(table.slot(id("other"), id("data")), first);
  EXPECT_NE(table.slot(id("data"), id("default")), first) << "namespace and name do not trade places";
  EXPECT_EQ(table.find(id("default"), id("data")), first);
  EXPECT_FALSE(table.find(id("default"), id("logs")).valid());
  EXPECT_EQ(table.size(), 3U);
  EXPECT_FALSE(table.at(first).exists);
  EXPECT_EQ(strings.view(table.at(first).name), "data");
  EXPECT_GT(table.bytes(), 0U);
}

TEST_F(ClaimTableTest, FullyBoundNeedsVolumeAndAnnotation) {
  Claim claim;
  EXPECT_FALSE(claim.is_fully_bound());
  claim.volume = VolumeId(std::uint32_t{1});
  EXPECT_FALSE(claim.is_fully_bound()) << "a volume name alone is not enough";
  claim.is_bind_completed = true;
  EXPECT_TRUE(claim.is_fully_bound());
  claim.volume = VolumeId();
  EXPECT_FALSE(claim.is_fully_bound());
}

TEST_F(ClaimTableTest, UsesAreCounted) {
  const ClaimId claim = table.slot(id("default"), id("data"));
  EXPECT_EQ(table.use_count(claim), 0);
  table.count_use(claim, 1);
  table.count_use(claim, 1);
  table.count_use(claim, -1);
  EXPECT_EQ(table.use_count(claim), 1);
}

TEST_F(ClaimTableTest, UsersAreOneEntryAReference) {
  const ClaimId claim = table.slot(id("default"), id("data"));
  const PodId first(std::uint32_t{1});
  const PodId second(std::uint32_t{2});
  table.add_user(claim, first);
  table.add_user(claim, second);
  table.add_user(claim, first);
  table.remove_user(claim, first);
  EXPECT_EQ(std::multiset<PodId>(table.users(claim).begin(), table.users(claim).end()),
            (std::multiset<PodId>{first, second}));
  table.remove_user(claim, first);
  EXPECT_EQ(std::vector<PodId>(table.users(claim).begin(), table.users(claim).end()), std::vector<PodId>{second});
}

TEST_F(ClaimTableTest, ReleasingWhatIsNotUsedIsRefused) {
  const ClaimId claim = table.slot(id("default"), id("data"));
  table.add_user(claim, PodId(std::uint32_t{1}));
  EXPECT_EQ(error_of([&] { table.remove_user(claim, PodId(std::uint32_t{2})); }),
            "a claim is released by a pod that does not use it");
  EXPECT_EQ(table.users(claim).size(), 1U);
}

TEST(ClassTable, ASlotIsMadeOnceAName) {
  StringPool strings;
  ClassTable table;
  const ClassId fast = table.slot(strings.intern("fast"));
  EXPECT_EQ(table.slot(strings.intern("fast")), fast);
  EXPECT_EQ(table.find(strings.intern("fast")), fast);
  EXPECT_FALSE(table.find(strings.intern("slow")).valid());
  EXPECT_FALSE(table.at(fast).exists);
  EXPECT_EQ(table.at(fast).mode, BindingMode::kUnset);
  table.edit(fast).exists = true;
  EXPECT_TRUE(table.at(fast).exists);
  EXPECT_EQ(table.size(), 1U);
}

}  // namespace
}  // namespace volsched::test
