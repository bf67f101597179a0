// Exact capacity through the engine: what an assumption takes from a pool, who else loses it, and that everything comes
// back. The decisions themselves are compared with the reference engine in tests/parity/test_exact_capacity.py.

#include "volsched/exact_capacity.hpp"

#include "world.hpp"

namespace volsched::test {
namespace {

constexpr const char* kRoom = "node(s) did not have enough free storage";

class ExactCapacityTest : public testing::Test {
 protected:
  World world;

  void SetUp() override {
    world.profile = World::exact_profile();
    world.put(NodeText{.name = "n0"});
    world.put(CsiDriverText{.name = "csi.example.com", .tracks_capacity = true});
    world.put(ClassText{.name = "fast"});
    world.put(CapacityText{.name = "pool", .storage_class = "fast"});
    for (const char* name : {"a", "b", "c"}) claim(name, 60);
  }
  void claim(const std::string& name, std::int64_t gi, const std::string& storage_class = "fast") {
    world.put(ClaimText{.name = name, .uid = "uid-" + name, .storage_class = storage_class, .bytes = gi * kGi});
  }
  static PodOnNode pod(const std::string& name, const Texts& claims) {
    PodOnNode made;
    made.pod.name = name;
    made.pod.claims = uses_of(claims);
    return made;
  }
  Decision decide(const Texts& claims) { return world.decide(pod("asking", claims)); }
  std::string verdict(const Texts& claims) {
    const NodeVerdict found = plain(*world.engine, decide(claims)).verdicts.at("n0");
    return found.plugin.empty() ? "fits" : found.reasons.front();
  }
  AssumedState assume(const std::string& name, const Texts& claims) {
    return world.engine->assume(world.decide(pod(name, claims)), world.row_of("n0"));
  }
  std::int64_t held(const std::string& name) {
    Cluster& cluster = world.cluster();
    return static_cast<std::int64_t>(
        cluster.capacities.held(cluster.capacities.find(cluster.strings.find("default"), cluster.strings.find(name))) /
        kGi);
  }
};

TEST_F(ExactCapacityTest, AnAssumptionTakesTheRoomAndForgettingGivesItBack) {
  const std::string before = world.cluster().digest();
  const AssumedState state = assume("p", {"a"});
  EXPECT_EQ(held("pool"), 60);
  EXPECT_EQ(verdict({"b"}), kRoom);
  EXPECT_SOUND(world.cluster().validate());
  world.engine->forget(state);
  EXPECT_EQ(held("pool"), 0);
  EXPECT_EQ(verdict({"b"}), "fits");
  EXPECT_EQ(world.cluster().digest(), before);
}

TEST_F(ExactCapacityTest, TheCompatibleProfileTakesNothing) {
  world.profile = default_profile();
  static_cast<void>(assume("p", {"a"}));
  EXPECT_EQ(held("pool"), 0);
  EXPECT_EQ(verdict({"b"}), "fits");
}

TEST_F(ExactCapacityTest, ANewerClaimSaysWhatItHolds) {
  const AssumedState state = assume("p", {"a"});
  ClaimText newer = world.claims.at("default/a");
  newer.version = "2";
  newer.selected_node = "n0";
  newer.held = {"default/pool"};
  world.put(newer);
  world.engine->forget(state);
  EXPECT_EQ(held("pool"), 60) << "the claim itself holds it now";
  newer.version = "3";
  newer.held = {};
  world.put(newer);
  EXPECT_EQ(held("pool"), 0);
  EXPECT_SOUND(world.cluster().validate());
}

TEST_F(ExactCapacityTest, ARepeatedClaimKeepsTheAssumption) {
  const AssumedState state = assume("p", {"a"});
  world.put(world.claims.at("default/a"));
  EXPECT_EQ(held("pool"), 60);
  world.engine->forget(state);
  EXPECT_EQ(held("pool"), 0);
}

TEST_F(ExactCapacityTest, ARemovedClaimOrVolumeHoldsNothing) {
  static_cast<void>(assume("p", {"a"}));
  world.put(VolumeText{.name = "pv", .storage_class = "other", .bytes = 30 * kGi, .held = {"default/pool"}});
  EXPECT_EQ(held("pool"), 90);
  world.remove_claim("default", "a");
  EXPECT_EQ(held("pool"), 30);
  world.remove_volume("pv");
  EXPECT_EQ(held("pool"), 0);
  EXPECT_SOUND(world.cluster().validate());
}

TEST_F(ExactCapacityTest, ClaimsOfOnePodCountTogether) {
  EXPECT_EQ(verdict({"a"}), "fits");
  EXPECT_EQ(verdict({"a", "b"}), kRoom);
  world.put(CapacityText{.name = "second", .storage_class = "fast"});
  EXPECT_EQ(verdict({"a", "b"}), "fits");
  EXPECT_EQ(verdict({"a", "b", "c"}), kRoom);
}

TEST_F(ExactCapacityTest, OneStorageOfTwoClasses) {
  for (const char* name : {"fast", "slow"}) world.put(ClassText{.name = name, .shared_capacity = "vg0"});
  world.put(CapacityText{.name = "of-slow", .storage_class = "slow"});
  claim("s", 60, "slow");
  EXPECT_EQ(verdict({"a", "s"}), kRoom);
  const AssumedState state = assume("p", {"a"});
  EXPECT_EQ(held("of-slow"), 60);
  EXPECT_EQ(verdict({"s"}), kRoom);
  world.engine->forget(state);
  EXPECT_EQ(held("of-slow"), 0);
  world.put(ClassText{.name = "slow", .shared_capacity = "vg1"});
  EXPECT_EQ(verdict({"a", "s"}), "fits");
}

TEST_F(ExactCapacityTest, NodesThatSeeTheSamePoolsAreWorkedOutOnce) {
  for (const char* name : {"n1", "n2", "n3"}) world.put(NodeText{.name = name, .labels = {{"zone", "z"}}});
  world.put(CapacityText{.name = "zonal", .storage_class = "fast", .topology = LabelSelectorText{{{"zone", "z"}}, {}}});
  const Decision decision = decide({"a", "b"});
  EXPECT_EQ(decision.feasible.count(), 3U);
  Scratch scratch;
  ProgramCaches caches;
  Cycle cycle(world.cluster(), world.profile, decision.program, decision.pod, caches, scratch);
  for (const ClaimUse& use : decision.pod->claims) cycle.volume_state.delayed.push_back(use.claim);
  ASSERT_TRUE(needs_joint_fit(cycle));
  for (const char* name : {"n0", "n1", "n2", "n3"})
    static_cast<void>(joint_fit(cycle, world.row_of(name), cycle.volume_state.delayed));
  EXPECT_EQ(cycle.volume_state.joint_fits.size(), 2U);
}

TEST_F(ExactCapacityTest, AnUnnamedPoolIsRefused) {
  EXPECT_EQ(error_of([&] { world.put(ClaimText{.name = "a", .held = {"no-slash"}}); }),
            "a pool is named \"no-slash\", not namespace/name");
}

}  // namespace
}  // namespace volsched::test
