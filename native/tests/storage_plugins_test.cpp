// The storage plugins through the engine against their naive twins, over random clusters: every node's verdict with its
// reasons, the volumes and pools planned for it, its score. And the engine that lived through all changes against one
// that gets the objects afresh.

#include "storage_chance.hpp"
#include "storage_twin.hpp"

namespace volsched::test {
namespace {

void expect_as_twin(World& world, const PodOnNode& pending) {
  const StorageTwin twin(world, pending);
  const PlainDecision found = plain(*world.engine, world.decide(pending));
  ASSERT_EQ(found.error, "");
  if (world.nodes.empty()) {
    ASSERT_EQ(found.message, "no nodes available to schedule pods");
    return;
  }
  const auto refusal = twin.refusal();
  ASSERT_EQ(found.refusal, refusal);
  if (refusal) {
    ASSERT_EQ(found.message,
              "0/" + std::to_string(world.nodes.size()) + " nodes are available: " + refusal->reasons[0] + ".");
    return;
  }
  ASSERT_EQ(found.verdicts.size(), world.nodes.size());
  for (const auto& [name, node_text] : world.nodes) {
    const NodeVerdict wanted = twin.verdict(name);
    ASSERT_EQ(found.verdicts.at(name), wanted) << "node " << name;
    if (!wanted.plugin.empty()) continue;
    const StorageTwin::Match match = twin.match(name);
    const auto planned = [&](const auto& plans) {
      const auto known = plans.find(name);
      return known == plans.end() ? PlainDecision::Steps() : known->second;
    };
    ASSERT_EQ(planned(found.bind), match.bind) << "node " << name;
    ASSERT_EQ(planned(found.provision), match.provision) << "node " << name;
    ASSERT_EQ(found.scores.at(name).at("VolumeBinding"), twin.score(name)) << "node " << name;
  }
}

class StoragePlugins : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, StoragePlugins, testing::Range<std::uint64_t>(0, 12));

TEST_P(StoragePlugins, EqualTheirTwinsOverRandomClusters) {
  StorageChance chance(GetParam() * 7919 + 1, GetParam() % 4 == 3 ? 70 : 6);
  World world;
  chance.fill(world);
  std::size_t looked_at_nodes = 0;
  for (int step = 0; step < 220; ++step) {
    for (std::size_t more = 1 + chance.dice.below(3); more > 0; --more) chance.change(world);
    PodOnNode pending{{}, chance.pod("pending")};
    if (chance.dice.percent(10)) pending.pod.claims.push_back({"c0", true});  // ephemeral, often not its own
    ASSERT_NO_FATAL_FAILURE(expect_as_twin(world, pending)) << "seed " << GetParam() << " step " << step;
    const Decision again = world.decide(pending);
    looked_at_nodes += again.is_refused ? 0 : 1;
    if (step % 20 == 0) {
      ASSERT_SOUND(world.cluster().validate()) << "step " << step;
    }
  }
  EXPECT_GT(looked_at_nodes, 40U) << "enough pods came to the filters";
}

TEST_P(StoragePlugins, AnEngineThatLivedThroughChangesEqualsAFreshOne) {
  StorageChance chance(GetParam() * 104729 + 5, 8);
  World world;
  chance.fill(world);
  for (int round = 0; round < 12; ++round) {
    for (int step = 0; step < 15; ++step) {
      chance.change(world);
      static_cast<void>(world.decide({{}, chance.pod("pending")}));  // so that caches exist and fall behind
    }
    const auto fresh = world.rebuilt();
    ASSERT_EQ(world.cluster().digest(), fresh->cluster.digest()) << "seed " << GetParam() << " round " << round;
    ASSERT_SOUND(fresh->cluster.validate());
    for (int check = 0; check < 4; ++check) {
      const PodOnNode pending{{}, chance.pod("pending")};
      expect_equal(plain(*world.engine, world.decide(pending)), plain(*fresh, World::decide(*fresh, pending)));
      ASSERT_FALSE(HasFailure()) << "seed " << GetParam() << " round " << round;
    }
  }
}

TEST_P(StoragePlugins, AttachedVolumesEqualARecount) {
  StorageChance chance(GetParam() * 31337 + 9, 5);
  World world;
  chance.fill(world);
  const PodOnNode nobody;
  for (int step = 0; step < 250; ++step) {
    chance.change(world);
    if (chance.dice.percent(60)) continue;
    world.cluster().refresh_attachments();
    const StorageTwin twin(world, nobody);
    const AttachTable& attach = world.cluster().attach;
    for (std::size_t at = 0; at < chance.nodes; ++at) {
      const std::string name = "n" + std::to_string(at);
      const NodeId row = world.row_of(name);
      const auto there = twin.attached(name);
      std::size_t total = 0;
      for (const auto& [driver, handles] : there.all) {
        ASSERT_TRUE(row.valid());
        const DriverId id = attach.find_driver(world.cluster().strings.find(driver));
        ASSERT_EQ(attach.count(row, id), static_cast<std::int32_t>(handles.size()))
            << "seed " << GetParam() << " step " << step << " " << name << " " << driver;
        total += handles.size();
      }
      if (!row.valid()) continue;
      std::int32_t counted = 0;
      for (std::size_t driver = 0; driver < attach.driver_count(); ++driver)
        counted += attach.count(row, DriverId(driver));
      ASSERT_EQ(counted, static_cast<std::int32_t>(total)) << "no driver more than these";
    }
    ASSERT_SOUND(attach.validate()) << "seed " << GetParam() << " step " << step;
  }
}

}  // namespace
}  // namespace volsched::test
