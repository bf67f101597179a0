// AttachTable against a plain picture of who attaches what: counts, limits, full masks and the nodes of a volume.

#include "volsched/attach_table.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

StringId text(std::uint32_t id) {
  return StringId(id);
}

class AttachTableTest : public testing::Test {
 protected:
  AttachTable table;

  Rows nodes_of(VolumeKey key) const {
    Rows rows;
    table.for_nodes_of(key, [&](NodeId row) { EXPECT_TRUE(rows.insert(row.value()).second) << "a node comes once"; });
    return rows;
  }
};

TEST_F(AttachTableTest, DriversAreKnownByName) {
  table.resize(3);
  const DriverId driver = table.driver(text(1));
  EXPECT_EQ(table.driver(text(1)), driver);
  EXPECT_EQ(table.find_driver(text(1)), driver);
  EXPECT_FALSE(table.find_driver(text(2)).valid());
  EXPECT_EQ(table.driver_name(driver), text(1));
  EXPECT_EQ(table.driver_count(), 1U);
  EXPECT_FALSE(table.tracks_capacity(driver));
  EXPECT_FALSE(table.must_be_installed(driver));
  table.set_driver(driver, true, false);
  EXPECT_TRUE(table.tracks_capacity(driver));
  EXPECT_FALSE(table.must_be_installed(driver));
  EXPECT_EQ(table.installed(driver).size(), 3U) << "a driver made late covers every row";
  EXPECT_EQ(table.limit(node(2), driver), AttachTable::kNoLimit);
}

TEST_F(AttachTableTest, AClaimsKeyIsNeverAHandle) {
  const VolumeKey claim = VolumeKey::of_claim(DriverId(std::uint32_t{0}), ClaimId(std::uint32_t{5}));
  EXPECT_NE(claim, (VolumeKey{DriverId(std::uint32_t{0}), text(5)}));
  EXPECT_NE(claim, VolumeKey::of_claim(DriverId(std::uint32_t{0}), ClaimId(std::uint32_t{6})));
  EXPECT_NE(claim, VolumeKey::of_claim(DriverId(std::uint32_t{1}), ClaimId(std::uint32_t{5})));
}

TEST_F(AttachTableTest, AVolumeCountsOnceHoweverManyUseIt) {
  table.resize(2);
  const DriverId driver = table.driver(text(1));
  const VolumeKey key{driver, text(9)};
  table.add_pod_use(node(0), key);
  table.add_pod_use(node(0), key);
  table.add_attachment(node(0), key);
  EXPECT_EQ(table.count(node(0), driver), 1);
  EXPECT_EQ(table.count(node(1), driver), 0);
  table.remove_pod_use(node(0), key);
  EXPECT_EQ(nodes_of(key), Rows{0});
  table.remove_pod_use(node(0), key);
  EXPECT_EQ(table.count(node(0), driver), 1) << "its attachment is still there";
  EXPECT_EQ(nodes_of(key), Rows()) << "but no pod";
  table.clear(node(0));
  EXPECT_EQ(table.count(node(0), driver), 0);
  EXPECT_SOUND(table.validate());
}

TEST_F(AttachTableTest, LimitsApplyFromTheFirstVolumeTooMany) {
  table.resize(3);
  const DriverId driver = table.driver(text(1));
  table.set_installed(node(0), driver, true, 2);
  table.set_installed(node(1), driver, true, AttachTable::kNoLimit);
  EXPECT_EQ(rows_of(table.installed(driver)), (Rows{0, 1}));
  EXPECT_EQ(table.limit(node(0), driver), 2);
  EXPECT_TRUE(table.full_for(driver, 2).none());
  EXPECT_EQ(rows_of(table.full_for(driver, 3)), Rows{0});
  table.add_pod_use(node(0), {driver, text(9)});
  EXPECT_EQ(rows_of(table.full_for(driver, 2)), Rows{0}) << "a mask asked for before follows";
  EXPECT_TRUE(table.exceeds(node(0), driver, 2));
  EXPECT_FALSE(table.exceeds(node(0), driver, 1));
  EXPECT_FALSE(table.exceeds(node(1), driver, 1000));
  table.set_installed(node(0), driver, true, 0);
  EXPECT_EQ(rows_of(table.full_for(driver, 2)), Rows{0});
  EXPECT_TRUE(table.exceeds(node(0), driver, 1)) << "a limit of zero is a limit";
  table.set_installed(node(0), driver, false, AttachTable::kNoLimit);
  EXPECT_TRUE(table.full_for(driver, 2).none());
  EXPECT_SOUND(table.validate());
}

TEST_F(AttachTableTest, DetachingWhatIsNotThereIsRefusedAndChangesNothing) {
  table.resize(1);
  const DriverId driver = table.driver(text(1));
  table.add_attachment(node(0), {driver, text(8)});
  for (const std::uint32_t handle : {8U, 9U}) {
    EXPECT_EQ(error_of([&] { table.remove_pod_use(node(0), {driver, text(handle)}); }),
              "a volume is detached from a node that does not have it");
    EXPECT_SOUND(table.validate());
    EXPECT_EQ(table.count(node(0), driver), 1);
  }
}

TEST_F(AttachTableTest, EqualsThePlainPictureOverRandomEvents) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Dice dice(seed);
    table = AttachTable();
    std::size_t rows = 3 + dice.below(70);
    table.resize(rows);
    struct Held {
      int pods = 0;
      int attachments = 0;
    };
    std::vector<std::map<std::pair<std::uint32_t, std::uint32_t>, Held>> twin(rows);  // by row: (driver, handle)
    std::vector<std::map<std::uint32_t, std::int32_t>> limits(rows);
    std::size_t drivers = 0;
    for (int step = 0; step < 1500; ++step) {
      const std::size_t row = dice.below(rows);
      const std::size_t action = dice.below(100);
      if (drivers == 0 || (drivers < 4 && action < 2)) {
        table.driver(text(static_cast<std::uint32_t>(drivers++)));
      } else if (action < 4) {
        rows += dice.below(4);
        table.resize(rows);
        twin.resize(rows);
        limits.resize(rows);
      } else if (action < 15) {
        const std::uint32_t driver = dice.below32(static_cast<std::uint32_t>(drivers));
        const std::int32_t limit = dice.percent(20) ? AttachTable::kNoLimit : static_cast<std::int32_t>(dice.below(6));
        table.set_installed(node(row), DriverId(driver), true, limit);
        limits[row][driver] = limit;
      } else if (action < 18) {
        table.clear(node(row));
        twin[row].clear();
      } else {
        const std::pair<std::uint32_t, std::uint32_t> key{dice.below32(static_cast<std::uint32_t>(drivers)),
                                                          dice.below32(12)};
        const VolumeKey volume{DriverId(key.first), text(key.second)};
        if (action < 60) {
          table.add_pod_use(node(row), volume);
          ++twin[row][key].pods;
        } else if (action < 70) {
          table.add_attachment(node(row), volume);
          ++twin[row][key].attachments;
        } else if (twin[row].contains(key) && twin[row][key].pods > 0) {
          table.remove_pod_use(node(row), volume);
          if (--twin[row][key].pods == 0 && twin[row][key].attachments == 0) twin[row].erase(key);
        }
      }
      ASSERT_SOUND(table.validate()) << "seed " << seed << " step " << step;
      if (step % 10 != 0 || drivers == 0) continue;
      const std::uint32_t driver = dice.below32(static_cast<std::uint32_t>(drivers));
      const auto more = static_cast<std::int32_t>(1 + dice.below(4));
      Rows full;
      for (std::size_t each = 0; each < rows; ++each) {
        const auto count = static_cast<std::int32_t>(std::count_if(
            twin[each].begin(), twin[each].end(), [&](const auto& entry) { return entry.first.first == driver; }));
        ASSERT_EQ(table.count(node(each), DriverId(driver)), count);
        const auto known = limits[each].find(driver);
        const std::int32_t limit = known == limits[each].end() ? AttachTable::kNoLimit : known->second;
        ASSERT_EQ(table.limit(node(each), DriverId(driver)), limit);
        ASSERT_EQ(table.installed(DriverId(driver)).test(node(each)), known != limits[each].end());
        if (limit != AttachTable::kNoLimit && count + more > limit) full.insert(static_cast<std::uint32_t>(each));
      }
      ASSERT_EQ(rows_of(table.full_for(DriverId(driver), more)), full);
      const std::uint32_t handle = dice.below32(12);
      Rows with_pods;
      for (std::size_t each = 0; each < rows; ++each) {
        const auto known = twin[each].find({driver, handle});
        if (known != twin[each].end() && known->second.pods > 0) with_pods.insert(static_cast<std::uint32_t>(each));
      }
      ASSERT_EQ(nodes_of({DriverId(driver), text(handle)}), with_pods);
    }
    EXPECT_GT(table.bytes(), 0U);
  }
}

}  // namespace
}  // namespace volsched::test
