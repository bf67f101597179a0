// Assume and forget: forgetting is the exact inverse in whatever order, objects that came in between keep what they
// say, and a fork goes its own way. spec/scheduling.md 4.6, 5, 12.1.

#include "storage_chance.hpp"

namespace volsched::test {
namespace {

class AssumeTest : public testing::Test {
 protected:
  World world;

  void SetUp() override {
    for (const char* name : {"n0", "n1"}) world.put(NodeText{.name = name});
    world.put(ClassText{.name = "fast"});
    world.put(VolumeText{.name = "pv", .storage_class = "fast"});
    world.put(ClaimText{.name = "data", .uid = "uid-data", .storage_class = "fast"});
  }
  static PodOnNode pod(const std::string& name, const Texts& claims) {
    PodOnNode made;
    made.pod.name = name;
    made.pod.claims = uses_of(claims);
    return made;
  }
  AssumedState assume(const PodOnNode& pending, const std::string& node_name) {
    return world.engine->assume(world.decide(pending), world.row_of(node_name));
  }
  const Volume& volume(const std::string& name) {
    return world.cluster().volumes.at(world.cluster().volumes.find(world.cluster().strings.find(name)));
  }
  const Claim& claim(const std::string& name) {
    Cluster& cluster = world.cluster();
    return cluster.claims.at(cluster.claims.find(cluster.strings.find("default"), cluster.strings.find(name)));
  }
  std::string text(StringId id) { return id.valid() ? world.cluster().strings.str(id) : "-"; }
};

TEST_F(AssumeTest, CountsThePodAndReservesItsVolume) {
  const std::string before = world.cluster().digest();
  const AssumedState state = assume(pod("p", {"data"}), "n1");
  EXPECT_EQ(world.cluster().pod_count(), 1U);
  EXPECT_EQ(world.cluster().resources.pod_count()[world.row_of("n1").index()], 1);
  EXPECT_EQ(text(volume("pv").claim_uid), "uid-data");
  EXPECT_EQ(world.cluster().claim_key(volume("pv").claim), "default/data");
  EXPECT_EQ(world.cluster().claims.use_count(volume("pv").claim), 1);
  EXPECT_SOUND(world.cluster().validate());
  world.engine->forget(state);
  EXPECT_EQ(world.cluster().digest(), before);
  EXPECT_SOUND(world.cluster().validate());
}

TEST_F(AssumeTest, MarksTheClaimThatIsToBeProvisioned) {
  world.remove_volume("pv");
  const std::string before = world.cluster().digest();
  const AssumedState state = assume(pod("p", {"data"}), "n1");
  EXPECT_TRUE(claim("data").has_selected_node);
  EXPECT_EQ(text(claim("data").selected_node), "n1");
  world.engine->forget(state);
  EXPECT_FALSE(claim("data").has_selected_node);
  EXPECT_EQ(world.cluster().digest(), before);
}

TEST_F(AssumeTest, APodCountsOnce) {
  const Decision decision = world.decide(pod("p", {}));
  static_cast<void>(world.engine->assume(decision, decision.chosen));
  const Decision again = world.decide(pod("p", {}));
  EXPECT_EQ(error_of([&] { world.engine->assume(again, again.chosen); }),
            "pod default/p is assumed or counted on a node already");
  EXPECT_EQ(world.cluster().pod_count(), 1U);
}

TEST_F(AssumeTest, ARefusedAssumptionChangesNothing) {
  static_cast<void>(assume(pod("p", {}), "n0"));
  const Decision again = world.decide(pod("p", {"data"}));
  const std::string before = world.cluster().digest();
  EXPECT_THROW(static_cast<void>(world.engine->assume(again, again.chosen)), Error);
  EXPECT_EQ(world.cluster().digest(), before) << "nothing is reserved for it";
}

TEST_F(AssumeTest, TwoPodsOfOneClaimShareItsVolume) {
  const std::string before = world.cluster().digest();
  const AssumedState first = assume(pod("p", {"data"}), "n0");
  const AssumedState second = assume(pod("q", {"data"}), "n0");
  world.engine->forget(second);
  EXPECT_EQ(text(volume("pv").claim_uid), "uid-data");
  const AssumedState third = assume(pod("r", {"data"}), "n1");
  world.engine->forget(first);
  EXPECT_EQ(text(volume("pv").claim_uid), "uid-data") << "the third pod needs it still";
  world.engine->forget(third);
  EXPECT_EQ(world.cluster().digest(), before);
}

TEST_F(AssumeTest, TwoPodsOfAClaimToBeProvisionedShareItsNode) {
  world.remove_volume("pv");
  const std::string before = world.cluster().digest();
  const AssumedState first = assume(pod("p", {"data"}), "n0");
  const AssumedState second = assume(pod("q", {"data"}), "n0");
  world.engine->forget(first);
  EXPECT_TRUE(claim("data").has_selected_node) << "the second pod needs it still";
  world.engine->forget(second);
  EXPECT_EQ(world.cluster().digest(), before);
}

TEST_F(AssumeTest, AResyncUnderTwoAssumptionsLeavesBoth) {
  const std::string before = world.cluster().digest();
  const AssumedState first = assume(pod("p", {"data"}), "n0");
  const AssumedState second = assume(pod("q", {"data"}), "n0");
  world.put(world.volumes.at("pv"));
  world.engine->forget(first);
  EXPECT_EQ(text(volume("pv").claim_uid), "uid-data");
  world.engine->forget(second);
  EXPECT_EQ(world.cluster().digest(), before);
}

TEST_F(AssumeTest, ForgettingTwiceIsForgettingOnce) {
  const AssumedState state = assume(pod("p", {"data"}), "n0");
  world.engine->forget(state);
  const std::string after = world.cluster().digest();
  world.engine->forget(state);
  EXPECT_EQ(world.cluster().digest(), after);
  EXPECT_SOUND(world.cluster().validate());
}

TEST_F(AssumeTest, AVolumeThatComesAsItWasKeepsTheAssumption) {
  const std::string before = world.cluster().digest();
  const AssumedState state = assume(pod("p", {"data"}), "n0");
  const std::string assumed = world.cluster().digest();
  world.put(world.volumes.at("pv"));
  EXPECT_EQ(world.cluster().digest(), assumed) << "a resync of the same version";
  world.engine->forget(state);
  EXPECT_EQ(world.cluster().digest(), before);
}

TEST_F(AssumeTest, ANewerVolumeBeatsTheAssumption) {
  const AssumedState state = assume(pod("p", {"data"}), "n0");
  VolumeText newer = world.volumes.at("pv");
  newer.version = "2";
  newer.labels = {{"unrelated", "yes"}};
  world.put(newer);
  EXPECT_FALSE(volume("pv").claim.valid());
  newer.version = "3";
  newer.claim = ClaimRefText{"default", "other", "uid-other"};
  world.put(newer);
  world.engine->forget(state);
  EXPECT_EQ(text(volume("pv").claim_uid), "uid-other") << "what the object says stays";
  EXPECT_EQ(world.cluster().pod_count(), 0U);
}

TEST_F(AssumeTest, ANewerClaimBeatsTheAssumption) {
  world.remove_volume("pv");
  const AssumedState state = assume(pod("p", {"data"}), "n0");
  world.put(world.claims.at("default/data"));
  EXPECT_TRUE(claim("data").has_selected_node) << "the same version";
  ClaimText newer = world.claims.at("default/data");
  newer.version = "2";
  world.put(newer);
  EXPECT_FALSE(claim("data").has_selected_node);
  newer.version = "3";
  newer.selected_node = "n1";
  world.put(newer);
  world.engine->forget(state);
  EXPECT_EQ(text(claim("data").selected_node), "n1");
}

TEST_F(AssumeTest, RemovedObjectsStayRemoved) {
  const AssumedState state = assume(pod("p", {"data"}), "n0");
  world.remove_volume("pv");
  world.remove_claim("default", "data");
  world.remove_node("n0");
  world.engine->forget(state);
  EXPECT_FALSE(volume("pv").exists);
  EXPECT_FALSE(claim("data").exists);
  EXPECT_FALSE(world.row_of("n0").valid());
  EXPECT_SOUND(world.cluster().validate());
  EXPECT_EQ(world.cluster().digest(), world.rebuilt()->cluster.digest());
}

TEST_F(AssumeTest, APodThatTheApiServerConfirmsStays) {
  PodOnNode pending = pod("p", {"data"});
  const AssumedState state = assume(pending, "n0");
  pending.pod.node = "n0";
  pending.pod.labels = {{"app", "db"}};
  world.put(pending);
  EXPECT_EQ(world.cluster().pod_count(), 1U);
  world.engine->forget(state);
  EXPECT_EQ(world.cluster().pod_count(), 1U);
  EXPECT_FALSE(volume("pv").claim.valid()) << "its volume was only assumed";
}

TEST_F(AssumeTest, APodConfirmedElsewhereMoves) {
  PodOnNode pending = pod("p", {});
  const AssumedState state = assume(pending, "n0");
  pending.pod.node = "n1";
  world.put(pending);
  EXPECT_EQ(world.cluster().resources.pod_count()[world.row_of("n0").index()], 0);
  world.engine->forget(state);
  EXPECT_EQ(world.cluster().resources.pod_count()[world.row_of("n1").index()], 1);
  EXPECT_SOUND(world.cluster().validate());
}

// The slot of a pod that was forgotten or removed is used again; an old assumption must not take the new pod away.
TEST_F(AssumeTest, AnOldAssumptionDoesNotConcernALaterPod) {
  const AssumedState old = assume(pod("p", {}), "n0");
  world.remove_pod("default", "p");
  static_cast<void>(assume(pod("q", {}), "n1"));
  world.engine->forget(old);
  EXPECT_EQ(world.cluster().pod_count(), 1U);
}

// Random sequences
// ------------------------------------------------------------------------------------------------------------------------

class AssumeRandomly : public testing::TestWithParam<std::uint64_t> {
 protected:
  struct Held {
    AssumedState state;
    std::string before;  ///< digest just before it was assumed
  };
  static std::optional<AssumedState> try_assume(World& world, StorageChance& chance, const std::string& name) {
    const PodOnNode pending{{}, chance.pod(name)};
    const Decision decision = world.decide(pending);
    if (!decision.error.empty() || decision.feasible.none()) return std::nullopt;
    const auto rows = rows_of(decision.feasible);
    const NodeId row(*std::next(rows.begin(), static_cast<std::ptrdiff_t>(chance.dice.below(rows.size()))));
    return world.engine->assume(decision, row);
  }
};
INSTANTIATE_TEST_SUITE_P(Seeds, AssumeRandomly, testing::Range<std::uint64_t>(0, 8));

TEST_P(AssumeRandomly, ForgettingInReverseGoesThroughTheSameStates) {
  StorageChance chance(GetParam() * 17 + 3);
  World world;
  chance.fill(world);
  for (int step = 0; step < 40; ++step) chance.change(world);
  std::size_t assumed = 0;
  for (int round = 0; round < 12; ++round) {
    std::vector<Held> held;
    for (int at = 0; at < 14; ++at) {
      const std::string before = world.cluster().digest();
      if (const auto state = try_assume(world, chance, "new-" + std::to_string(at))) held.push_back({*state, before});
      ASSERT_SOUND(world.cluster().validate());
    }
    assumed += held.size();
    while (!held.empty()) {
      world.engine->forget(held.back().state);
      ASSERT_EQ(world.cluster().digest(), held.back().before) << "seed " << GetParam() << " round " << round;
      ASSERT_SOUND(world.cluster().validate());
      held.pop_back();
    }
    ASSERT_EQ(world.cluster().digest(), world.rebuilt()->cluster.digest());
    for (int step = 0; step < 10; ++step) chance.change(world);
  }
  EXPECT_GT(assumed, 20U);
}

TEST_P(AssumeRandomly, ForgettingInAnyOrderEndsWhereItBegan) {
  StorageChance chance(GetParam() * 23 + 11);
  World world;
  chance.fill(world);
  for (int round = 0; round < 12; ++round) {
    for (int step = 0; step < 8; ++step) chance.change(world);
    const std::string before = world.cluster().digest();
    std::vector<AssumedState> held;
    int names = 0;
    for (int step = 0; step < 40; ++step) {
      if (held.empty() || chance.dice.percent(60)) {
        if (const auto state = try_assume(world, chance, "new-" + std::to_string(names++))) held.push_back(*state);
      } else {
        const std::size_t at = chance.dice.below(held.size());
        world.engine->forget(held[at]);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      }
      ASSERT_SOUND(world.cluster().validate()) << "seed " << GetParam() << " round " << round << " step " << step;
    }
    while (!held.empty()) {
      const std::size_t at = chance.dice.below(held.size());
      world.engine->forget(held[at]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
    }
    ASSERT_EQ(world.cluster().digest(), before) << "seed " << GetParam() << " round " << round;
  }
}

// Assumptions with events between them: when all are forgotten, what is left is what the objects say.
TEST_P(AssumeRandomly, EventsInBetweenAreWhatIsLeft) {
  StorageChance chance(GetParam() * 41 + 7);
  World world;
  chance.fill(world);
  for (int round = 0; round < 10; ++round) {
    std::vector<AssumedState> held;
    for (int step = 0; step < 30; ++step) {
      if (chance.dice.percent(50)) {
        if (const auto state = try_assume(world, chance, "new-" + std::to_string(step))) held.push_back(*state);
      } else {
        chance.change(world);
      }
      ASSERT_SOUND(world.cluster().validate()) << "seed " << GetParam() << " round " << round << " step " << step;
    }
    for (const AssumedState& state : held) world.engine->forget(state);
    ASSERT_SOUND(world.cluster().validate());
    ASSERT_EQ(world.cluster().digest(), world.rebuilt()->cluster.digest())
        << "seed " << GetParam() << " round " << round;
  }
}

TEST_P(AssumeRandomly, AForkGoesItsOwnWay) {
  StorageChance chance(GetParam() * 53 + 19);
  World world;
  chance.fill(world);
  for (int step = 0; step < 60; ++step) chance.change(world);
  static_cast<void>(try_assume(world, chance, "standing"));
  const std::string at_fork = world.cluster().digest();
  const PodOnNode pending{{}, chance.pod("pending")};
  const PlainDecision decided = plain(*world.engine, world.decide(pending));

  World forked;
  forked.engine = world.engine->fork();
  EXPECT_EQ(forked.cluster().digest(), at_fork);
  for (int step = 0; step < 60; ++step) {
    chance.change(forked);
    static_cast<void>(try_assume(forked, chance, "forked-" + std::to_string(step)));
    ASSERT_SOUND(forked.cluster().validate());
  }
  EXPECT_EQ(world.cluster().digest(), at_fork) << "the original stands";
  ASSERT_SOUND(world.cluster().validate());
  expect_equal(plain(*world.engine, world.decide(pending)), decided);
  const std::string of_fork = forked.cluster().digest();
  for (int step = 0; step < 60; ++step) chance.change(world);
  EXPECT_EQ(forked.cluster().digest(), of_fork) << "and so does the fork";
  ASSERT_SOUND(forked.cluster().validate());
}

}  // namespace
}  // namespace volsched::test
