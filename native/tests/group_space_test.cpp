// GroupSpace against the plain picture: which groups each row is in. Rows in the same groups share a profile, others do
// not.

#include "volsched/group_space.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

GroupId group(std::size_t at) {
  return GroupId(at);
}

/// What GroupSpace should say, by row.
class Twin {
 public:
  explicit Twin(std::size_t rows) : groups_(rows) {}
  void grow(std::size_t rows) { groups_.resize(rows); }
  [[nodiscard]] std::size_t rows() const { return groups_.size(); }
  std::set<GroupId>& of(std::size_t row) { return groups_[row]; }

  void expect_equal(const GroupSpace& space) const {
    ASSERT_SOUND(space.validate());
    std::map<std::set<GroupId>, ProfileId> profiles;
    std::map<std::uint32_t, Rows> nodes;
    for (std::size_t row = 0; row < groups_.size(); ++row) {
      const ProfileId profile = space.profile_of(node(row));
      ASSERT_TRUE(space.in_use(profile));
      ASSERT_EQ(space.groups_of(profile), std::vector<GroupId>(groups_[row].begin(), groups_[row].end()))
          << "row " << row;
      const auto [known, is_new] = profiles.try_emplace(groups_[row], profile);
      ASSERT_EQ(known->second, profile) << "rows in the same groups share a profile";
      if (profile.index() != 0) nodes[profile.value()].insert(static_cast<std::uint32_t>(row));
      ASSERT_EQ(groups_[row].empty(), profile.index() == 0);
    }
    for (const auto& [profile, rows] : nodes) ASSERT_EQ(rows_of(space.nodes_of(ProfileId(profile))), rows);
    for (std::size_t at = 0; at < space.group_count(); ++at) {
      std::set<ProfileId> listed;
      space.for_profiles_of(group(at), [&](ProfileId profile) { listed.insert(profile); });
      std::set<ProfileId> wanted;
      for (const auto& [groups, profile] : profiles) {
        if (groups.contains(group(at))) wanted.insert(profile);
      }
      ASSERT_EQ(listed, wanted) << "group " << at;
    }
  }

 private:
  std::vector<std::set<GroupId>> groups_;
};

NodeSet set_of(const Rows& rows, std::size_t size) {
  NodeSet set;
  for (const std::uint32_t row : rows) set.insert(NodeId(row), size);
  return set;
}

TEST(GroupSpace, StartsWithTheProfileOfNoGroup) {
  const GroupSpace space;
  EXPECT_EQ(space.group_count(), 0U);
  EXPECT_EQ(space.profile_slots(), 1U);
  EXPECT_EQ(space.profile_of(node(12345)).index(), 0U) << "rows never heard of are in no group";
  EXPECT_TRUE(space.in_use(ProfileId(std::uint32_t{0})));
  EXPECT_EQ(space.serial_of(ProfileId(std::uint32_t{0})), 0U);
  EXPECT_SOUND(space.validate());
}

TEST(GroupSpace, AddingAGroupMovesItsMembers) {
  GroupSpace space;
  Twin twin(10);
  EXPECT_EQ(space.add(set_of({1, 2, 3}, 10), 10), group(0));
  EXPECT_EQ(space.add(set_of({3, 4}, 10), 10), group(1));
  EXPECT_EQ(space.add(NodeSet(), 10), group(2));
  for (const std::size_t row : {1, 2, 3}) twin.of(row).insert(group(0));
  for (const std::size_t row : {3, 4}) twin.of(row).insert(group(1));
  twin.expect_equal(space);
  EXPECT_EQ(space.group_count(), 3U);
}

TEST(GroupSpace, JoiningTwiceAndLeavingWithoutMembershipChangeNothing) {
  GroupSpace space;
  space.add(set_of({1}, 4), 4);
  const std::uint64_t end = space.log().end();
  space.join(group(0), node(1), 4);
  space.leave(group(0), node(2));
  EXPECT_EQ(space.log().end(), end);
  EXPECT_SOUND(space.validate());
}

TEST(GroupSpace, AProfileThatLosesItsLastNodeIsUsedAgainUnderAnotherSerial) {
  GroupSpace space;
  space.add(set_of({1}, 4), 4);
  space.add(NodeSet(), 4);
  const ProfileId profile = space.profile_of(node(1));
  const std::uint64_t serial = space.serial_of(profile);
  space.leave(group(0), node(1));
  EXPECT_FALSE(space.in_use(profile));
  space.join(group(1), node(2), 4);
  EXPECT_EQ(space.profile_of(node(2)), profile) << "the slot is used again";
  EXPECT_NE(space.serial_of(profile), serial);
  std::size_t visits = 0;
  space.for_profiles_of(group(0), [&](ProfileId) { ++visits; });
  EXPECT_EQ(visits, 0U) << "group 0 does not reach the profile that has its old slot";
  space.join(group(0), node(1), 4);
  EXPECT_EQ(space.profile_slots(), 3U);
}

TEST(GroupSpace, LogTellsMovedRowsAndTouchedGroupsApart) {
  GroupSpace space;
  std::uint64_t cursor = space.log().end();
  space.add(set_of({2}, 4), 4);
  space.touch(group(0));
  space.leave(group(0), node(2));
  std::vector<std::uint32_t> entries;
  EXPECT_TRUE(space.log().replay(cursor, [&](std::uint32_t entry) { entries.push_back(entry); }));
  EXPECT_EQ(entries, (std::vector<std::uint32_t>{GroupSpace::kMoved | 2, 0, GroupSpace::kMoved | 2}));
}

TEST(GroupSpace, ManyProfilesOfOneGroupAreListedOnceTheyAreStillTrue) {
  // one group that every row is in, and one group a row: each row has a profile of its own; leaving drops it again
  GroupSpace space;
  const std::size_t rows = 200;
  Twin twin(rows);
  const GroupId common = space.add(NodeSet(), rows);
  for (std::size_t row = 0; row < rows; ++row) space.add(NodeSet(), rows);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t row = 0; row < rows; ++row) {
      space.join(common, node(row), rows);
      space.join(group(row + 1), node(row), rows);
      twin.of(row) = {common, group(row + 1)};
    }
    twin.expect_equal(space);
    for (std::size_t row = 0; row < rows; ++row) {
      space.leave(common, node(row));
      twin.of(row).erase(common);
    }
    twin.expect_equal(space);
  }
  EXPECT_LE(space.profile_slots(), 2 * rows + 2) << "slots are used again, not piled up";
  EXPECT_GT(space.bytes(), 0U);
}

TEST(GroupSpace, EqualsThePlainPictureOverRandomMoves) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Dice dice(seed);
    GroupSpace space;
    Twin twin(5 + dice.below(120));
    const std::size_t groups_max = 1 + dice.below(12);
    for (int step = 0; step < 800; ++step) {
      if (space.group_count() < groups_max && dice.percent(5)) {
        Rows members;
        for (std::uint32_t row = 0; row < twin.rows(); ++row) {
          if (dice.percent(30)) members.insert(row);
        }
        const GroupId made = space.add(set_of(members, twin.rows()), twin.rows());
        for (const std::uint32_t row : members) twin.of(row).insert(made);
      } else if (dice.percent(2)) {
        twin.grow(twin.rows() + dice.below(5));
      } else if (space.group_count() > 0) {
        const GroupId one = group(dice.below(space.group_count()));
        const std::size_t row = dice.below(twin.rows());
        if (dice.percent(50)) {
          space.join(one, node(row), twin.rows());
          twin.of(row).insert(one);
        } else {
          space.leave(one, node(row));
          twin.of(row).erase(one);
        }
      }
      ASSERT_SOUND(space.validate()) << "seed " << seed << " step " << step;
      if (step % 20 == 0) {
        ASSERT_NO_FATAL_FAILURE(twin.expect_equal(space)) << "seed " << seed << " step " << step;
      }
    }
  }
}

// What caches rely on: after replaying the log, every row and every (profile, serial) that differs from before has been
// named.
TEST(GroupSpace, LogNamesEveryRowThatMoved) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Dice dice(seed);
    const std::size_t rows = 70;
    GroupSpace space;
    for (int at = 0; at < 6; ++at) space.add(NodeSet(), rows);
    std::uint64_t cursor = space.log().end();
    std::vector<std::pair<ProfileId, std::uint64_t>> before(rows);
    for (int round = 0; round < 60; ++round) {
      for (int step = 0; step < 10; ++step) {
        const NodeId row = node(dice.below(rows));
        if (dice.percent(60)) {
          space.join(group(dice.below(6)), row, rows);
        } else {
          space.leave(group(dice.below(6)), row);
        }
      }
      Rows named;
      ASSERT_TRUE(space.log().replay(cursor, [&](std::uint32_t entry) {
        if ((entry & GroupSpace::kMoved) != 0) named.insert(entry & ~GroupSpace::kMoved);
      }));
      for (std::uint32_t row = 0; row < rows; ++row) {
        const ProfileId profile = space.profile_of(NodeId(row));
        const std::pair now{profile, space.serial_of(profile)};
        if (round > 0 && now != before[row]) {
          ASSERT_TRUE(named.contains(row)) << "seed " << seed << " row " << row;
        }
        before[row] = now;
      }
    }
  }
}

}  // namespace
}  // namespace volsched::test
