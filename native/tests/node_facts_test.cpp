// Taints, images, declared features, host ports and inline disks of nodes, each against a plain picture.

#include "volsched/node_facts.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

StringId text(std::uint32_t id) {
  return StringId(id);
}

// Tolerations (8.3)
// -----------------------------------------------------------------------------------------------------------------------

TEST(Toleration, ComparesKeyValueAndEffect) {
  const Taint taint{text(1), text(2), TaintEffect::kNoSchedule};
  const auto tolerates = [&](Toleration::Op op, StringId key, StringId value, TaintEffect effect) {
    return Toleration{op, key, value, effect}.tolerates(taint);
  };
  const StringId none = StringPool::kEmpty;
  EXPECT_TRUE(tolerates(Toleration::Op::kEqual, text(1), text(2), TaintEffect::kNoSchedule));
  EXPECT_TRUE(tolerates(Toleration::Op::kEqual, text(1), text(2), TaintEffect::kAny)) << "no effect: every effect";
  EXPECT_FALSE(tolerates(Toleration::Op::kEqual, text(1), text(3), TaintEffect::kNoSchedule));
  EXPECT_FALSE(tolerates(Toleration::Op::kEqual, text(9), text(2), TaintEffect::kNoSchedule));
  EXPECT_FALSE(tolerates(Toleration::Op::kEqual, text(1), text(2), TaintEffect::kNoExecute));
  EXPECT_TRUE(tolerates(Toleration::Op::kExists, text(1), none, TaintEffect::kNoSchedule));
  EXPECT_TRUE(tolerates(Toleration::Op::kExists, none, none, TaintEffect::kAny)) << "tolerates everything";
  EXPECT_FALSE(tolerates(Toleration::Op::kExists, text(9), none, TaintEffect::kAny));
  EXPECT_TRUE(tolerates(Toleration::Op::kEqual, none, text(2), TaintEffect::kAny))
      << "no key, but the value is compared";
  EXPECT_FALSE(tolerates(Toleration::Op::kEqual, none, text(3), TaintEffect::kAny));
  EXPECT_FALSE(tolerates(Toleration::Op::kOther, none, text(2), TaintEffect::kAny)) << "Lt and Gt never match";
}

TEST(TaintTable, DistinctTaintsAreKeptOnce) {
  TaintTable table;
  const TaintId first = table.intern({text(1), text(2), TaintEffect::kNoSchedule});
  EXPECT_EQ(table.intern({text(1), text(2), TaintEffect::kNoSchedule}), first);
  EXPECT_NE(table.intern({text(1), text(2), TaintEffect::kNoExecute}), first);
  EXPECT_EQ(table.size(), 2U);
  EXPECT_EQ(table.at(first).value, text(2));
}

TEST(TaintTable, VersionGrowsOnlyWhenTaintsChange) {
  TaintTable table;
  const TaintId taint = table.intern({text(1), text(2), TaintEffect::kNoSchedule});
  table.assign(node(0), {taint}, 2);
  const std::uint64_t version = table.version();
  table.assign(node(0), {taint}, 2);
  EXPECT_EQ(table.version(), version);
  table.assign(node(0), {}, 2);
  EXPECT_GT(table.version(), version);
  EXPECT_TRUE(table.nodes(taint).empty());
}

TEST(TaintTable, EqualsThePlainPictureOverRandomNodes) {
  Dice dice(2);
  TaintTable table;
  std::vector<TaintId> taints;
  for (std::uint32_t at = 0; at < 6; ++at)
    taints.push_back(table.intern({text(at), text(0), static_cast<TaintEffect>(at % 3)}));
  std::map<std::uint32_t, std::vector<TaintId>> twin;
  for (int step = 0; step < 1000; ++step) {
    const std::uint32_t row = dice.below32(70);
    std::vector<TaintId> fresh;
    for (std::size_t count = dice.below(4); count > 0; --count) fresh.push_back(dice.one_of(taints));
    table.assign(NodeId(row), fresh, 70);
    twin[row] = fresh;
    ASSERT_EQ(table.of(NodeId(row)), fresh) << "in the node's own order, doubles kept";
    const TaintId checked = dice.one_of(taints);
    Rows with;
    for (const auto& [each, listed] : twin) {
      if (std::find(listed.begin(), listed.end(), checked) != listed.end()) with.insert(each);
    }
    ASSERT_EQ(rows_of(table.nodes(checked)), with);
  }
}

// Images (8.10, 12.3)
// ---------------------------------------------------------------------------------------------------------------------

/// The count captured for a node's copy, -1 when it has none.
std::int32_t captured(const ImageTable& table, std::size_t row, std::uint32_t image) {
  const ImageId id = table.find(text(image));
  const ImageTable::Held* held = id.valid() ? table.held(node(row), id) : nullptr;
  return held == nullptr ? -1 : held->captured_count;
}

TEST(ImageTable, KnowsHowManyNodesHaveAnImage) {
  ImageTable table;
  EXPECT_FALSE(table.find(text(1)).valid());
  table.assign(node(2), {{text(1), 100}, {text(2), 50}});
  table.assign(node(0), {{text(1), 110}});
  EXPECT_EQ(table.count(table.find(text(1))), 2);
  EXPECT_EQ(table.count(table.find(text(2))), 1);
  EXPECT_EQ(captured(table, 1, 1), -1);
  EXPECT_EQ(captured(table, 9999, 1), -1) << "a row that never had images";
}

TEST(ImageTable, AnImageHasTheSizeThatItsFirstNodeGave) {
  ImageTable table;
  table.assign(node(2), {{text(1), 100}});
  table.assign(node(0), {{text(1), 110}});
  EXPECT_EQ(table.bytes(table.find(text(1))), 100);
  table.assign(node(2), {});
  EXPECT_EQ(table.bytes(table.find(text(1))), 100) << "another node still has it";
  table.assign(node(0), {});
  EXPECT_EQ(table.count(table.find(text(1))), 0);
  table.assign(node(1), {{text(1), 70}, {text(1), 60}});
  EXPECT_EQ(table.bytes(table.find(text(1))), 70) << "gone everywhere and introduced again; listed twice counts once";
  EXPECT_EQ(table.count(table.find(text(1))), 1);
}

TEST(ImageTable, CountsAreCapturedWhenTheNodeItselfChanges) {
  ImageTable table;
  table.assign(node(0), {{text(1), 100}});
  table.capture();
  EXPECT_EQ(captured(table, 0, 1), 1);
  table.assign(node(1), {{text(1), 100}});
  table.capture();
  EXPECT_EQ(captured(table, 0, 1), 1) << "row 0 did not change";
  EXPECT_EQ(captured(table, 1, 1), 2);
  table.touch(node(0));
  EXPECT_EQ(captured(table, 0, 1), 1) << "not before the next look";
  table.capture();
  EXPECT_EQ(captured(table, 0, 1), 2);
  table.touch(node(77));
  table.capture();
}

TEST(ImageTable, EqualsThePlainPictureOverRandomNodes) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Dice dice(seed);
    ImageTable table;
    std::map<std::uint32_t, std::map<std::uint32_t, int>> held;  // row -> image -> captured count
    std::map<std::uint32_t, std::int64_t> bytes;
    Rows touched;
    const auto count = [&](std::uint32_t image) {
      int nodes = 0;
      for (const auto& [row, images] : held) nodes += images.contains(image) ? 1 : 0;
      return nodes;
    };
    for (int step = 0; step < 800; ++step) {
      const std::uint32_t row = dice.below32(30);
      if (dice.percent(30)) {
        table.touch(NodeId(row));
        touched.insert(row);
      } else {
        std::vector<ImageTable::Listed> listed;
        held[row].clear();
        for (std::size_t more = dice.below(5); more > 0; --more) {
          const std::uint32_t image = dice.below32(8);
          const std::int64_t size = dice.between(1, 1000);
          listed.push_back({text(image), size});
          if (held[row].contains(image)) continue;
          if (count(image) == 0) bytes[image] = size;
          held[row][image] = 0;
        }
        table.assign(NodeId(row), listed);
        touched.insert(row);
      }
      if (dice.percent(40)) {
        table.capture();
        for (const std::uint32_t each : touched) {
          for (auto& [image, at_capture] : held[each]) at_capture = count(image);
        }
        touched.clear();
      }
      const std::uint32_t image = dice.below32(8);
      const ImageId id = table.find(text(image));
      ASSERT_EQ(id.valid() ? table.count(id) : 0, count(image));
      if (count(image) > 0) {
        ASSERT_EQ(table.bytes(id), bytes[image]);
      }
      for (const auto& [each, images] : held) {
        const auto known = images.find(image);
        ASSERT_EQ(captured(table, each, image), known == images.end() ? -1 : known->second)
            << "seed " << seed << " step " << step;
      }
    }
  }
}

// Declared features
// -----------------------------------------------------------------------------------------------------------------------

TEST(DeclarationTable, EqualsThePlainPictureOverRandomNodes) {
  Dice dice(4);
  DeclarationTable table;
  EXPECT_EQ(table.nodes(text(1)), nullptr);
  std::map<std::uint32_t, std::set<std::uint32_t>> twin;
  for (int step = 0; step < 800; ++step) {
    const std::uint32_t row = dice.below32(70);
    std::vector<StringId> names;
    twin[row].clear();
    for (std::size_t count = dice.below(4); count > 0; --count) {
      const std::uint32_t name = dice.below32(5);
      names.push_back(text(name));  // a name may come twice
      twin[row].insert(name);
    }
    table.assign(NodeId(row), names, 70);
    const std::uint32_t checked = dice.below32(5);
    Rows wanted;
    for (const auto& [each, listed] : twin) {
      if (listed.contains(checked)) wanted.insert(each);
    }
    const NodeSet* found = table.nodes(text(checked));
    ASSERT_EQ(found == nullptr ? Rows() : rows_of(*found), wanted);
  }
}

// Ports (8.5)
// -----------------------------------------------------------------------------------------------------------------------------

class PortTableTest : public testing::Test {
 protected:
  StringPool strings;
  PortTable table{strings};

  HostPort port(const std::string& protocol, const std::string& ip, std::uint32_t number) {
    return {strings.intern(protocol), strings.intern(ip), number};
  }
  Rows conflicts(const HostPort& wanted) {
    NodeMask taken(10);
    table.add_conflicts(wanted, taken);
    return rows_of(taken);
  }
};

TEST_F(PortTableTest, AddressesConflictWhenEqualOrWhenOneMeansAll) {
  EXPECT_EQ(strings.view(table.any_ip()), "0.0.0.0");
  table.add(node(1), port("TCP", "10.0.0.1", 80));
  table.add(node(2), port("TCP", "0.0.0.0", 80));
  EXPECT_EQ(conflicts(port("TCP", "10.0.0.1", 80)), (Rows{1, 2}));
  EXPECT_EQ(conflicts(port("TCP", "10.0.0.2", 80)), Rows{2});
  EXPECT_EQ(conflicts(port("TCP", "0.0.0.0", 80)), (Rows{1, 2}));
  EXPECT_EQ(conflicts(port("UDP", "0.0.0.0", 80)), Rows());
  EXPECT_EQ(conflicts(port("TCP", "0.0.0.0", 81)), Rows());
}

TEST_F(PortTableTest, APortUsedTwiceIsFreeAfterTheSecondGoes) {
  table.add(node(1), port("TCP", "0.0.0.0", 80));
  table.add(node(1), port("TCP", "0.0.0.0", 80));
  table.remove(node(1), port("TCP", "0.0.0.0", 80));
  EXPECT_EQ(conflicts(port("TCP", "0.0.0.0", 80)), Rows{1});
  table.remove(node(1), port("TCP", "0.0.0.0", 80));
  EXPECT_EQ(conflicts(port("TCP", "0.0.0.0", 80)), Rows());
}

TEST_F(PortTableTest, TakingAwayWhatIsNotUsedIsRefused) {
  const HostPort http = port("TCP", "0.0.0.0", 80);
  EXPECT_EQ(error_of([&] { table.remove(node(1), http); }), "a host port is taken from a node that does not use it")
      << "never seen";
  table.add(node(1), http);
  EXPECT_EQ(error_of([&] { table.remove(node(2), http); }), "a host port is taken from a node that does not use it");
  EXPECT_EQ(conflicts(http), Rows{1});
}

TEST_F(PortTableTest, EqualsAListOverRandomUses) {
  Dice dice(5);
  const Texts addresses{"0.0.0.0", "10.0.0.1", "10.0.0.2"};
  struct Use {
    std::uint32_t row;
    std::string protocol;
    std::string ip;
    std::uint32_t number;
  };
  std::vector<Use> uses;
  const auto chance = [&] {
    return Use{dice.below32(10), dice.percent(50) ? "TCP" : "UDP", dice.one_of(addresses), 80 + dice.below32(3)};
  };
  for (int step = 0; step < 2000; ++step) {
    if (uses.size() < 5 || dice.percent(50)) {
      uses.push_back(chance());
      table.add(NodeId(uses.back().row), port(uses.back().protocol, uses.back().ip, uses.back().number));
    } else {
      const std::size_t at = dice.below(uses.size());
      table.remove(NodeId(uses[at].row), port(uses[at].protocol, uses[at].ip, uses[at].number));
      uses.erase(uses.begin() + static_cast<std::ptrdiff_t>(at));
    }
    const Use wanted = chance();
    Rows taken;
    for (const Use& use : uses) {
      const bool same_place = use.ip == wanted.ip || use.ip == "0.0.0.0" || wanted.ip == "0.0.0.0";
      if (use.protocol == wanted.protocol && use.number == wanted.number && same_place) taken.insert(use.row);
    }
    ASSERT_EQ(conflicts(port(wanted.protocol, wanted.ip, wanted.number)), taken);
  }
}

// Inline disks (7.1)
// ----------------------------------------------------------------------------------------------------------------------

class DiskTableTest : public testing::Test {
 protected:
  DiskTable table;

  Rows conflicts(const InlineDisk& wanted) const {
    NodeMask taken(10);
    table.add_conflicts(wanted, taken);
    return rows_of(taken);
  }
};

TEST_F(DiskTableTest, ReadersShareAllButEbs) {
  for (const DiskKind kind : {DiskKind::kGcePersistentDisk, DiskKind::kElasticBlockStore, DiskKind::kIscsi}) {
    table = DiskTable();
    table.add(node(1), {kind, text(1), StringPool::kEmpty, true, {}});
    table.add(node(2), {kind, text(1), StringPool::kEmpty, false, {}});
    const bool shares = kind != DiskKind::kElasticBlockStore;
    EXPECT_EQ(conflicts({kind, text(1), StringPool::kEmpty, true, {}}), shares ? Rows{2} : (Rows{1, 2}));
    EXPECT_EQ(conflicts({kind, text(1), StringPool::kEmpty, false, {}}), (Rows{1, 2}));
    EXPECT_EQ(conflicts({kind, text(2), StringPool::kEmpty, false, {}}), Rows());
  }
}

TEST_F(DiskTableTest, KindsDoNotMeet) {
  table.add(node(1), {DiskKind::kGcePersistentDisk, text(1), StringPool::kEmpty, false, {}});
  EXPECT_EQ(conflicts({DiskKind::kIscsi, text(1), StringPool::kEmpty, false, {}}), Rows());
}

TEST_F(DiskTableTest, RbdImagesConflictInOnePoolBehindACommonMonitor) {
  table.add(node(1), {DiskKind::kRbd, text(1), text(2), false, {text(10), text(11)}});
  EXPECT_EQ(conflicts({DiskKind::kRbd, text(1), text(2), true, {text(11), text(12)}}), Rows{1});
  EXPECT_EQ(conflicts({DiskKind::kRbd, text(1), text(2), true, {text(12)}}), Rows()) << "no common monitor";
  EXPECT_EQ(conflicts({DiskKind::kRbd, text(1), text(3), true, {text(11)}}), Rows()) << "another pool";
  EXPECT_EQ(conflicts({DiskKind::kRbd, text(4), text(2), true, {text(11)}}), Rows()) << "another image";
  table.remove(node(1), {DiskKind::kRbd, text(1), text(2), false, {text(10), text(11)}});
  EXPECT_EQ(conflicts({DiskKind::kRbd, text(1), text(2), false, {text(11)}}), Rows());
}

TEST_F(DiskTableTest, TakingAwayWhatIsNotThereIsRefused) {
  const InlineDisk disk{DiskKind::kIscsi, text(1), StringPool::kEmpty, false, {}};
  EXPECT_EQ(error_of([&] { table.remove(node(1), disk); }), "an inline disk is taken from a node that does not have it")
      << "never seen";
  table.add(node(1), disk);
  EXPECT_EQ(error_of([&] { table.remove(node(2), disk); }),
            "an inline disk is taken from a node that does not have it");
  EXPECT_EQ(conflicts(disk), Rows{1});
}

}  // namespace
}  // namespace volsched::test
