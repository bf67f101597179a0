// The contract between engine and plugins: the profile, what rejecting and failing do to a cycle, scratch memory,
// caches.

#include "volsched/plugin.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

using Names = std::vector<std::string>;

Names names_of(const std::vector<ProfileStep>& steps) {
  Names names;
  for (const ProfileStep& step : steps) names.push_back(step.name);
  return names;
}

TEST(Profile, IsUpstreamsInOrderWithItsWeights) {
  const Profile& profile = *default_profile();
  const Names filters{"NodeName",         "NodeUnschedulable",   "TaintToleration",    "NodeAffinity",
                      "NodePorts",        "NodeResourcesFit",    "VolumeRestrictions", "NodeVolumeLimits",
                      "VolumeBinding",    "VolumeZone",          "PodTopologySpread",  "InterPodAffinity",
                      "DynamicResources", "NodeDeclaredFeatures"};
  EXPECT_EQ(names_of(profile.pre_filters), filters) << "spec/scheduling.md 1.1";
  EXPECT_EQ(names_of(profile.filters), filters);
  EXPECT_EQ(names_of(profile.pre_scores),
            (Names{"TaintToleration", "NodeAffinity", "NodeResourcesFit", "VolumeBinding", "PodTopologySpread",
                   "InterPodAffinity", "NodeResourcesBalancedAllocation"}));
  std::vector<std::pair<std::string, std::int32_t>> scorers;
  for (const ProfileStep& step : profile.scores) scorers.emplace_back(step.name, step.weight);
  const std::vector<std::pair<std::string, std::int32_t>> wanted{
      {"TaintToleration", 3},   {"NodeAffinity", 2},
      {"NodeResourcesFit", 1},  {"VolumeBinding", 1},
      {"PodTopologySpread", 2}, {"InterPodAffinity", 2},
      {"DynamicResources", 2},  {"NodeResourcesBalancedAllocation", 1},
      {"ImageLocality", 1}};
  EXPECT_EQ(scorers, wanted);
  EXPECT_EQ(profile.serial, 0U);
}

TEST(Profile, EveryStepOfTheDefaultOneIsWholeAndNativeButForDynamicResources) {
  const Profile& profile = *default_profile();
  for (const auto* steps : {&profile.pre_filters, &profile.filters, &profile.pre_scores, &profile.scores}) {
    for (const ProfileStep& step : *steps) {
      EXPECT_EQ(step.plugin == nullptr, step.name == "DynamicResources") << step.name;
      EXPECT_TRUE(step.failure.empty()) << step.name;
    }
  }
}

TEST(Profile, IgnoresExtendedResourcesByNameAndByGroup) {
  Profile profile;
  profile.ignored_resources = {"example.com/gpu", "cpu", "kubernetes.io/thing"};
  profile.ignored_groups = {"other.org"};
  EXPECT_TRUE(profile.ignores("example.com/gpu"));
  EXPECT_TRUE(profile.ignores("other.org/anything"));
  EXPECT_FALSE(profile.ignores("example.com/fpga"));
  EXPECT_FALSE(profile.ignores("cpu")) << "no extended resource";
  EXPECT_FALSE(profile.ignores("kubernetes.io/thing"));
}

TEST(Profile, IdsAndNamesAgree) {
  std::set<std::uint8_t> ids;
  for (const Plugin* plugin : all_plugins()) {
    EXPECT_EQ(plugin_name(plugin->id()), plugin->name());
    EXPECT_EQ(find_plugin(plugin->name()), plugin);
    EXPECT_TRUE(ids.insert(static_cast<std::uint8_t>(plugin->id())).second);
  }
  EXPECT_EQ(ids.size(), kPluginCount);
  EXPECT_EQ(find_plugin("Nobody"), nullptr);
}

TEST(Profile, CodesHaveUpstreamsNames) {
  EXPECT_EQ(code_name(Code::kUnschedulable), "Unschedulable");
  EXPECT_EQ(code_name(Code::kUnresolvable), "UnschedulableAndUnresolvable");
}

TEST(PreFilterStatus, SaysWhatItIs) {
  EXPECT_EQ(PreFilterStatus::success().kind, PreFilterStatus::Kind::kSuccess);
  EXPECT_EQ(PreFilterStatus::skip().kind, PreFilterStatus::Kind::kSkip);
  EXPECT_EQ(PreFilterStatus::unresolvable("why").text, "why");
  EXPECT_EQ(PreFilterStatus::error("why").kind, PreFilterStatus::Kind::kError);
  const PreFilterStatus narrow = PreFilterStatus::narrow({StringPool::kEmpty});
  EXPECT_TRUE(narrow.narrows);
  EXPECT_EQ(narrow.names.size(), 1U);
  EXPECT_FALSE(PreFilterStatus::success().narrows);
}

TEST(Scratch, ColumnsAreTheCyclesOwnUntilTheNextOne) {
  Scratch scratch;
  std::vector<std::int32_t>& first = scratch.take(10);
  std::vector<std::int32_t>& second = scratch.take(20);
  EXPECT_NE(&first, &second);
  EXPECT_EQ(first.size(), 10U);
  for (int more = 0; more < 50; ++more) scratch.take(5);
  EXPECT_EQ(second.size(), 20U) << "earlier columns stay where they are";
  scratch.reset();
  EXPECT_EQ(&scratch.take(30), &first) << "memory is used again";
  EXPECT_EQ(first.size(), 30U);
}

TEST(ScoreColumn, IsOneNumberOrAColumn) {
  EXPECT_EQ((ScoreColumn{nullptr, 7}).at(node(3)), 7);
  const std::vector<std::int32_t> rows{1, 2, 3};
  EXPECT_EQ((ScoreColumn{rows.data(), 7}).at(node(2)), 3);
}

class CycleTest : public testing::Test {
 protected:
  Cluster cluster;
  ProgramPtr program = cluster.program(ProgramText().row());
  ProgramCaches caches;
  Scratch scratch;
  Cycle cycle{cluster, default_profile(), program, std::make_shared<const PodInstance>(), caches, scratch};

  void SetUp() override { cycle.alive = mask_of(70, {0, 1, 2, 65}); }
};

TEST_F(CycleTest, RejectingTakesOutOnlyWhatIsAlive) {
  cycle.reject(PluginId::kNodePorts, mask_of(70, {1, 3}), Code::kUnschedulable, {"a"});
  EXPECT_EQ(rows_of(cycle.alive), (Rows{0, 2, 65}));
  ASSERT_EQ(cycle.rejected.size(), 1U);
  EXPECT_EQ(cycle.rejected[0].plugin, "NodePorts");
  EXPECT_EQ(rows_of(cycle.rejected[0].nodes), Rows{1}) << "row 3 was refused before or is no candidate";
  cycle.reject(PluginId::kNodePorts, mask_of(70, {1, 3}), Code::kUnschedulable, {"b"});
  EXPECT_EQ(cycle.rejected.size(), 1U) << "an empty group is not kept";
}

TEST_F(CycleTest, RejectingAllLeavesNobody) {
  cycle.reject_all(PluginId::kVolumeBinding, Code::kUnresolvable, {"a", "b"});
  EXPECT_TRUE(cycle.alive.none());
  ASSERT_EQ(cycle.rejected.size(), 1U);
  EXPECT_EQ(rows_of(cycle.rejected[0].nodes), (Rows{0, 1, 2, 65}));
  EXPECT_EQ(cycle.rejected[0].reasons, (std::vector<std::string>{"a", "b"}));
  cycle.reject_all(PluginId::kVolumeBinding, Code::kUnresolvable, {"c"});
  EXPECT_EQ(cycle.rejected.size(), 1U);
}

TEST_F(CycleTest, FailingIsNotRefusing) {
  cycle.fail("VolumeBinding", mask_of(70, {2, 69}), "odd");
  EXPECT_EQ(rows_of(cycle.alive), (Rows{0, 1, 65}));
  EXPECT_TRUE(cycle.rejected.empty());
  ASSERT_EQ(cycle.failures.size(), 1U);
  EXPECT_EQ(cycle.failures[0].text, "odd");
  EXPECT_EQ(rows_of(cycle.failures[0].nodes), Rows{2});
  cycle.fail("VolumeBinding", mask_of(70, {2}), "again");
  EXPECT_EQ(cycle.failures.size(), 1U);
}

TEST_F(CycleTest, ACacheIsMadeOnceAPlugin) {
  struct Mine final : PluginCache {
    int value = 0;
  };
  cycle.cache<Mine>(PluginId::kNodeName).value = 5;
  EXPECT_EQ(cycle.cache<Mine>(PluginId::kNodeName).value, 5);
  EXPECT_EQ(cycle.cache<Mine>(PluginId::kNodePorts).value, 0);
}

}  // namespace
}  // namespace volsched::test
