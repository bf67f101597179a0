// The plugins that do not look at volumes, each by its table in spec/scheduling.md 8, through the engine; and all of
// them with their caches against an engine that starts afresh.

#include "world.hpp"

namespace volsched::test {
namespace {

class PluginsTest : public testing::Test {
 protected:
  Engine engine{TieBreak::kName, 0, 100};

  void add(const NodeText& text) { engine.cluster.put_node(text.row()); }
  void place(const std::string& name, const std::string& node_name, const ProgramText& program = {},
             const Pairs& labels = {}) {
    engine.cluster.put_pod(program.row(), PodText{.name = name, .node = node_name, .labels = labels}.row(), {});
  }
  PlainDecision decide(const ProgramText& program, const PodText& pod = {.name = "p"}) {
    return plain(engine, World::decide(engine, {program, pod}));
  }
  static NodeVerdict refused(const std::string& plugin, Code code, const std::string& reason) {
    return {plugin, code, {reason}};
  }
  /// Unweighted score of one plugin by node.
  std::map<std::string, std::int32_t> scores(const std::string& plugin, std::int32_t weight, const ProgramText& program,
                                             const PodText& pod = {.name = "p"}) {
    std::map<std::string, std::int32_t> found;
    for (const auto& [name, parts] : decide(program, pod).scores) {
      if (parts.contains(plugin)) found[name] = parts.at(plugin) / weight;
    }
    return found;
  }
  using Scores = std::map<std::string, std::int32_t>;
};

TEST_F(PluginsTest, NodeNameLooksAtOneNodeOnly) {
  add({.name = "a"});
  add({.name = "b"});
  const PlainDecision decision = decide({}, {.name = "p", .node = "b"});
  EXPECT_EQ(decision.verdicts, (std::map<std::string, NodeVerdict>{{"b", {}}}));
  EXPECT_EQ(decide({}, {.name = "p", .node = "missing"}).message,
            "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeName].");
}

TEST_F(PluginsTest, CordonedNodesTakeOnlyPodsThatTolerateIt) {
  add({.name = "a", .is_unschedulable = true});
  EXPECT_EQ(decide({}).verdicts.at("a"),
            refused("NodeUnschedulable", Code::kUnresolvable, "node(s) were unschedulable"));
  ProgramText tolerant;
  tolerant.tolerations = {{Toleration::Op::kExists, "node.kubernetes.io/unschedulable", "", TaintEffect::kNoSchedule}};
  EXPECT_EQ(decide(tolerant).chosen, "a");
  tolerant.tolerations = {{Toleration::Op::kExists, "", "", TaintEffect::kAny}};
  EXPECT_EQ(decide(tolerant).chosen, "a");
  tolerant.tolerations = {{Toleration::Op::kExists, "", "", TaintEffect::kNoExecute}};
  EXPECT_EQ(decide(tolerant).chosen, "");
}

TEST_F(PluginsTest, TaintsRefuseOrCount) {
  add({.name = "hard", .taints = {{"k", "v", TaintEffect::kNoSchedule}}});
  add({.name = "evicting", .taints = {{"k", "v", TaintEffect::kNoExecute}}});
  add({.name = "soft",
       .taints = {{"k", "1", TaintEffect::kPreferNoSchedule}, {"k", "2", TaintEffect::kPreferNoSchedule}}});
  add({.name = "softer", .taints = {{"k", "1", TaintEffect::kPreferNoSchedule}}});
  add({.name = "free"});
  const NodeVerdict untolerated = refused("TaintToleration", Code::kUnresolvable, "node(s) had untolerated taint(s)");
  const PlainDecision decision = decide({});
  EXPECT_EQ(decision.verdicts.at("hard"), untolerated);
  EXPECT_EQ(decision.verdicts.at("evicting"), untolerated);
  EXPECT_EQ(scores("TaintToleration", 3, {}), (Scores{{"free", 100}, {"softer", 50}, {"soft", 0}}));
  ProgramText program;
  program.tolerations = {{Toleration::Op::kEqual, "k", "v", TaintEffect::kNoSchedule}};
  EXPECT_TRUE(decide(program).verdicts.at("hard").plugin.empty());
  EXPECT_EQ(decide(program).verdicts.at("evicting"), untolerated);
  program.tolerations = {{Toleration::Op::kEqual, "k", "1", TaintEffect::kPreferNoSchedule}};
  EXPECT_EQ(scores("TaintToleration", 3, program), (Scores{{"free", 100}, {"softer", 100}, {"soft", 0}}));
  program.tolerations = {{Toleration::Op::kExists, "k", "", TaintEffect::kNoExecute}};
  EXPECT_EQ(scores("TaintToleration", 3, program).at("softer"), 50)
      << "a toleration for another effect does not count here";
}

TEST_F(PluginsTest, NodeAffinityMatchesSelectorAndTerms) {
  add({.name = "a", .labels = {{"zone", "x"}, {"disk", "ssd"}}});
  add({.name = "b", .labels = {{"zone", "x"}}});
  add({.name = "c", .labels = {{"zone", "y"}, {"disk", "ssd"}}});
  ProgramText program;
  program.node_selector = Pairs{{"disk", "ssd"}};
  program.required = where("zone", {"x"});
  const NodeVerdict no =
      refused("NodeAffinity", Code::kUnresolvable, "node(s) didn't match Pod's node affinity/selector");
  EXPECT_EQ(decide(program).verdicts, (std::map<std::string, NodeVerdict>{{"a", {}}, {"b", no}, {"c", no}}));
  program.required = SelectorText{};
  EXPECT_EQ(decide(program).verdicts.at("a"), no) << "required affinity without terms";
}

TEST_F(PluginsTest, PreferredTermsScoreByTheHighest) {
  add({.name = "a", .labels = {{"zone", "x"}, {"disk", "ssd"}}});
  add({.name = "b", .labels = {{"zone", "x"}}});
  add({.name = "c"});
  ProgramText program;
  EXPECT_TRUE(scores("NodeAffinity", 2, program).empty()) << "no list: not scored";
  program.preferred = std::vector<ProgramText::Preferred>{
      {30, {{{"zone", Op::kIn, {"x"}}}, {}}}, {15, {{{"disk", Op::kExists, {}}}, {}}}, {7, {}}};
  EXPECT_EQ(scores("NodeAffinity", 2, program), (Scores{{"a", 100}, {"b", 66}, {"c", 0}}));
  program.preferred = std::vector<ProgramText::Preferred>{{5, {{{"none", Op::kExists, {}}}, {}}}};
  EXPECT_EQ(scores("NodeAffinity", 2, program), (Scores{{"a", 0}, {"b", 0}, {"c", 0}}));
  program.preferred_error = "[0]: no term";
  EXPECT_EQ(decide(program).error, "running PreScore plugin \"NodeAffinity\": [0]: no term");
}

TEST_F(PluginsTest, HostPortsConflict) {
  add({.name = "a"});
  add({.name = "b"});
  ProgramText uses;
  uses.ports = {{"TCP", "10.0.0.1", 80}};
  place("holder", "a", uses);
  ProgramText wants;
  wants.ports = {{"TCP", "0.0.0.0", 80}};
  EXPECT_EQ(decide(wants).verdicts.at("a"),
            refused("NodePorts", Code::kUnschedulable, "node(s) didn't have free ports for the requested pod ports"));
  EXPECT_EQ(decide(wants).chosen, "b");
  engine.cluster.remove_pod("default", "holder");
  EXPECT_TRUE(decide(wants).verdicts.at("a").plugin.empty());
}

TEST_F(PluginsTest, FitNamesEverythingThatLacks) {
  add({.name = "a",
       .milli_cpu = 1000,
       .memory_bytes = 1000,
       .ephemeral_bytes = 1000,
       .pods = 1,
       .scalars = {{"example.com/gpu", 1}}});
  ProgramText program;
  program.usage = {600, 600, 600, 600, 600, {{"example.com/fpga", 1}, {"example.com/gpu", 1}}};
  place("holder", "a", ProgramText{.usage = {600, 600, 600, 600, 600, {{"example.com/gpu", 1}}}});
  const NodeVerdict all = decide(program).verdicts.at("a");
  EXPECT_EQ(all.plugin, "NodeResourcesFit");
  EXPECT_EQ(all.code, Code::kUnresolvable) << "the node never has an fpga";
  EXPECT_EQ(all.reasons,
            (Texts{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage",
                   "Insufficient example.com/fpga", "Insufficient example.com/gpu"}));
  program.usage = {600, 0, 0, 0, 0, {}};
  EXPECT_EQ(decide(program).verdicts.at("a"),
            (NodeVerdict{"NodeResourcesFit", Code::kUnschedulable, {"Too many pods", "Insufficient cpu"}}));
  program.usage = {0, 0, 0, 0, 0, {{"example.com/gpu", 0}}};
  EXPECT_EQ(decide(program).verdicts.at("a").reasons, Texts{"Too many pods"});
  engine.cluster.remove_pod("default", "holder");
  program.usage = {1001, 0, 0, 0, 0, {}};
  EXPECT_EQ(decide(program).verdicts.at("a"), refused("NodeResourcesFit", Code::kUnresolvable, "Insufficient cpu"));
  program.usage = {1000, 1000, 1000, 0, 0, {{"example.com/gpu", 1}}};
  EXPECT_EQ(decide(program).chosen, "a") << "exactly what there is";
}

TEST_F(PluginsTest, ANodeWithoutAPodLimitTakesNone) {
  add({.name = "a", .pods = 0});
  EXPECT_EQ(decide({}).verdicts.at("a"), refused("NodeResourcesFit", Code::kUnschedulable, "Too many pods"));
}

TEST_F(PluginsTest, FitScoresWhatIsLeft) {
  add({.name = "empty", .milli_cpu = 1000, .memory_bytes = 1000});
  add({.name = "half", .milli_cpu = 1000, .memory_bytes = 1000});
  add({.name = "no-cpu", .milli_cpu = 0, .memory_bytes = 1000});
  place("holder", "half", ProgramText{.usage = {0, 0, 0, 500, 500, {}}});
  ProgramText program;
  program.usage = {0, 0, 0, 0, 0, {}};
  program.fit_milli_cpu = 100;
  program.fit_memory_bytes = 300;
  EXPECT_EQ(scores("NodeResourcesFit", 1, program), (Scores{{"empty", 80}, {"half", 30}, {"no-cpu", 70}}));
}

TEST_F(PluginsTest, BalanceComparesBeforeAndAfter) {
  add({.name = "a", .milli_cpu = 4000, .memory_bytes = 8 * kGi});
  ProgramText program;
  program.usage = {1000, kGi, 0, 1000, kGi, {}};
  EXPECT_EQ(scores("NodeResourcesBalancedAllocation", 1, program), (Scores{{"a", 71}})) << "spec/scheduling.md 8.7";
  program.usage = {0, 0, 0, 100, 200, {}};
  EXPECT_TRUE(scores("NodeResourcesBalancedAllocation", 1, program).empty())
      << "a pod that asks for nothing is not scored";
}

TEST_F(PluginsTest, ImagesScoreBySizeAndSpread) {
  const std::int64_t mebibyte = 1 << 20;
  add({.name = "a", .images = {{{"db:1"}, 523 * mebibyte}}});
  add({.name = "b"});
  ProgramText program;
  program.images = {"db:1"};
  // half of the nodes have it: 261.5 MiB count, of 23 to 1000
  EXPECT_EQ(scores("ImageLocality", 1, program), (Scores{{"a", 24}, {"b", 0}}));
  program.images = {"db:1", "other:1"};
  EXPECT_EQ(scores("ImageLocality", 1, program), (Scores{{"a", 12}, {"b", 0}}));
  program.images = {"other:1"};
  EXPECT_EQ(scores("ImageLocality", 1, program), (Scores{{"a", 0}, {"b", 0}}));
}

// Upstream captures the number of nodes with an image when the node itself changes (12.3).
TEST_F(PluginsTest, ImageSpreadIsStaleUntilTheNodeChanges) {
  const std::int64_t mebibyte = 1 << 20;
  add({.name = "a", .images = {{{"db:1"}, 523 * mebibyte}}});
  add({.name = "b"});
  ProgramText program;
  program.images = {"db:1"};
  EXPECT_EQ(scores("ImageLocality", 1, program).at("a"), 24);
  add({.name = "b", .images = {{{"db:1"}, 523 * mebibyte}}});
  EXPECT_EQ(scores("ImageLocality", 1, program), (Scores{{"a", 24}, {"b", 51}}));
  place("holder", "a");
  EXPECT_EQ(scores("ImageLocality", 1, program), (Scores{{"a", 51}, {"b", 51}}));
  add({.name = "b"});
  place("holder", "a", {}, {{"app", "x"}});
  EXPECT_EQ(scores("ImageLocality", 1, program), (Scores{{"a", 24}, {"b", 0}}))
      << "a pod's update is a change of its node";
}

TEST_F(PluginsTest, ImpliedFeaturesMustBeDeclared) {
  add({.name = "a", .features = {"F", "G"}});
  add({.name = "b", .features = {"G"}});
  ProgramText program;
  program.features = {"F", "G"};
  EXPECT_EQ(decide(program).verdicts.at("b"),
            refused("NodeDeclaredFeatures", Code::kUnresolvable, "node(s) didn't match Pod's required features"));
  EXPECT_EQ(decide(program).chosen, "a");
  program.features = {"H"};
  EXPECT_EQ(decide(program).chosen, "");
}

TEST_F(PluginsTest, InlineDisksConflict) {
  add({.name = "a"});
  add({.name = "b"});
  ProgramText uses;
  uses.disks = {{DiskKind::kElasticBlockStore, "vol-1", "", true, {}}};
  place("holder", "a", uses);
  EXPECT_EQ(decide(uses).verdicts.at("a"),
            refused("VolumeRestrictions", Code::kUnschedulable, "node(s) had no available disk"));
  EXPECT_EQ(decide(uses).chosen, "b");
}

// Pods about pods (8.8, 8.9)
// --------------------------------------------------------------------------------------------------------------

const LabelSelectorText kDb{{{"app", "db"}}, {}};

TEST_F(PluginsTest, HardSpreadRefusesWhatWouldBeUneven) {
  for (const auto& [name, zone] : {std::pair{"a", "1"}, std::pair{"b", "2"}})
    add({.name = name, .labels = {{"zone", zone}}});
  add({.name = "c"});
  place("one", "a", {}, {{"app", "db"}});
  ProgramText program;
  program.spread = {{"zone", 1, 1, SpreadMode::kHard, true, false, kDb}};
  const PlainDecision decision = decide(program, {.name = "p", .labels = {{"app", "db"}}});
  EXPECT_EQ(decision.verdicts.at("a"),
            refused("PodTopologySpread", Code::kUnschedulable, "node(s) didn't match pod topology spread constraints"));
  EXPECT_TRUE(decision.verdicts.at("b").plugin.empty());
  EXPECT_EQ(decision.verdicts.at("c"),
            refused("PodTopologySpread", Code::kUnresolvable,
                    "node(s) didn't match pod topology spread constraints (missing required label)"));
  EXPECT_TRUE(decide(program, {.name = "p"}).verdicts.at("a").plugin.empty())
      << "a pod that does not match itself adds nothing";
  engine.cluster.remove_pod("default", "one");
  EXPECT_TRUE(decide(program, {.name = "p", .labels = {{"app", "db"}}}).verdicts.at("a").plugin.empty());
}

TEST_F(PluginsTest, TooFewDomainsCountAsEmptyOnes) {
  add({.name = "a", .labels = {{"zone", "1"}}});
  place("one", "a", {}, {{"app", "db"}});
  ProgramText program;
  program.spread = {{"zone", 1, 1, SpreadMode::kHard, true, false, kDb}};
  const PodText pod{.name = "p", .labels = {{"app", "db"}}};
  EXPECT_EQ(decide(program, pod).chosen, "a");
  program.spread[0].domains_min = 2;
  EXPECT_EQ(decide(program, pod).chosen, "");
}

TEST_F(PluginsTest, SoftSpreadPrefersTheEmptierZone) {
  for (const auto& [name, zone] : {std::pair{"a", "1"}, std::pair{"b", "2"}})
    add({.name = name, .labels = {{"zone", zone}}});
  place("one", "a", {}, {{"app", "db"}});
  place("two", "a", {}, {{"app", "db"}});
  ProgramText program;
  program.spread = {{"zone", 1, 1, SpreadMode::kSoft, true, false, kDb}};
  // 2 * ln(4) = 2.77 rounds to 3: 100 * (3 + 0 - raw) / 3
  EXPECT_EQ(scores("PodTopologySpread", 2, program), (Scores{{"a", 0}, {"b", 100}}));
}

TEST_F(PluginsTest, PodsOfAServiceSpreadByDefault) {
  add({.name = "a", .labels = {{"kubernetes.io/hostname", "a"}, {"topology.kubernetes.io/zone", "1"}}});
  add({.name = "b", .labels = {{"kubernetes.io/hostname", "b"}, {"topology.kubernetes.io/zone", "2"}}});
  place("one", "a", {}, {{"app", "db"}});
  const PodText pod{.name = "p", .labels = {{"app", "db"}}};
  EXPECT_TRUE(scores("PodTopologySpread", 2, {}, pod).empty());
  engine.cluster.put_service(ServiceText{"default", "db", Pairs{{"app", "db"}}}.row());
  const Scores found = scores("PodTopologySpread", 2, {}, pod);
  EXPECT_LT(found.at("a"), found.at("b"));
  engine.cluster.remove_service("default", "db");
  EXPECT_TRUE(scores("PodTopologySpread", 2, {}, pod).empty());
}

TEST_F(PluginsTest, AnInvalidSpreadSelectorFailsTheCycle) {
  add({.name = "a", .labels = {{"zone", "1"}}});
  ProgramText program;
  program.spread = {{"zone", 1, 1, SpreadMode::kHard, true, false, LabelSelectorText{{}, {}, "no selector"}}};
  EXPECT_EQ(decide(program).error,
            "running PreFilter plugin \"PodTopologySpread\": get constraints from pod: "
            "obtaining pod's hard topology spread constraints: no selector");
}

TEST_F(PluginsTest, InvalidAffinityTermsRefuseThePod) {
  add({.name = "a", .labels = {{"zone", "1"}}});
  add({.name = "b", .labels = {{"zone", "1"}}});
  const auto message = [&](const ProgramText& program) { return decide(program).message; };
  ProgramText program;
  program.anti_affinity = {{1, "zone", LabelSelectorText{{}, {}, "no selector"}, {}, {}}};
  const std::string refused = "0/2 nodes are available: parsing pod: ";
  EXPECT_EQ(message(program), refused + "requiredAntiAffinityTerms: no selector.");
  program.preferred_far = {{-1, "zone", {}, {}, LabelSelectorText{{}, {}, "nor this"}}};
  EXPECT_EQ(message(program),
            refused + "[requiredAntiAffinityTerms: no selector, preferredAntiAffinityTerms: nor this].");
}

TEST_F(PluginsTest, AffinityNeedsAPodThatMatchesInTheDomain) {
  for (const auto& [name, zone] : {std::pair{"a", "1"}, std::pair{"b", "1"}, std::pair{"c", "2"}})
    add({.name = name, .labels = {{"zone", zone}}});
  place("one", "a", {}, {{"app", "db"}});
  ProgramText program;
  program.affinity = {{1, "zone", kDb, {}, {}}};
  const PlainDecision decision = decide(program);
  EXPECT_TRUE(decision.verdicts.at("a").plugin.empty());
  EXPECT_TRUE(decision.verdicts.at("b").plugin.empty()) << "the same zone";
  EXPECT_EQ(decision.verdicts.at("c"),
            refused("InterPodAffinity", Code::kUnresolvable, "node(s) didn't match pod affinity rules"));
  EXPECT_EQ(decide(program, {.space = "other", .name = "p"}).chosen, "") << "terms are about the pod's own namespace";
  engine.cluster.remove_pod("default", "one");
  EXPECT_EQ(decide(program).chosen, "");
  EXPECT_EQ(decide(program, {.name = "p", .labels = {{"app", "db"}}}).chosen, "a")
      << "the first of its kind may go anywhere";
}

TEST_F(PluginsTest, AntiAffinityKeepsAwayBothWays) {
  for (const auto& [name, zone] : {std::pair{"a", "1"}, std::pair{"b", "2"}})
    add({.name = name, .labels = {{"zone", zone}}});
  ProgramText shy;
  shy.anti_affinity = {{1, "zone", kDb, {}, {}}};
  place("one", "a", shy, {{"app", "web"}});
  EXPECT_EQ(
      decide({}, {.name = "p", .labels = {{"app", "db"}}}).verdicts.at("a"),
      refused("InterPodAffinity", Code::kUnschedulable, "node(s) didn't satisfy existing pods anti-affinity rules"));
  EXPECT_EQ(decide({}, {.name = "p", .labels = {{"app", "web"}}}).verdicts.at("a"), NodeVerdict());
  place("two", "b", {}, {{"app", "db"}});
  EXPECT_EQ(decide(shy).verdicts.at("b"),
            refused("InterPodAffinity", Code::kUnschedulable, "node(s) didn't match pod anti-affinity rules"));
}

TEST_F(PluginsTest, PreferencesAboutPodsScoreBetweenTheExtremes) {
  for (const auto& [name, zone] : {std::pair{"a", "1"}, std::pair{"b", "2"}, std::pair{"c", "3"}})
    add({.name = name, .labels = {{"zone", zone}}});
  place("one", "a", {}, {{"app", "db"}});
  place("two", "b", {}, {{"app", "web"}});
  ProgramText program;
  program.preferred_near = {{10, "zone", kDb, {}, {}}};
  program.preferred_far = {{-20, "zone", LabelSelectorText{{{"app", "web"}}, {}}, {}, {}}};
  EXPECT_EQ(scores("InterPodAffinity", 2, program), (Scores{{"a", 100}, {"b", 0}, {"c", 66}}));
  EXPECT_TRUE(scores("InterPodAffinity", 2, {}).empty());
}

// Caches
// ----------------------------------------------------------------------------------------------------------------------------------

// An engine that has decided all along against one without caches, over nodes, pods, services and namespaces that
// change at random.
class PluginCaches : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, PluginCaches, testing::Range<std::uint64_t>(0, 8));

TEST_P(PluginCaches, EqualAnEngineThatStartsAfresh) {
  Dice dice(GetParam() * 271 + 9);
  Engine lived(TieBreak::kName, 0, 100);
  const auto zone = [&] { return std::to_string(dice.below(3)); };
  const auto app = [&] { return dice.one_of(Texts{"db", "web"}); };
  const auto selector = [&]() -> std::optional<LabelSelectorText> {
    if (dice.percent(10)) return std::nullopt;
    if (dice.percent(20)) return LabelSelectorText{};
    return LabelSelectorText{{{"app", app()}}, {}};
  };
  const auto program = [&] {
    ProgramText made;
    made.usage = {dice.between(0, 900), dice.between(0, 900), 0, dice.between(100, 900), dice.between(100, 900), {}};
    if (dice.percent(20)) made.usage.scalars = {{"example.com/gpu", 1}};
    made.fit_milli_cpu = made.usage.scored_milli_cpu;
    made.fit_memory_bytes = made.usage.scored_memory_bytes;
    if (dice.percent(30)) made.tolerations = {{Toleration::Op::kEqual, "t", zone(), TaintEffect::kAny}};
    if (dice.percent(20)) made.ports = {{"TCP", "0.0.0.0", 80 + dice.below32(2)}};
    if (dice.percent(20)) made.required = where("topology.kubernetes.io/zone", {zone(), zone()});
    if (dice.percent(30))
      made.preferred = std::vector<ProgramText::Preferred>{
          {dice.between(1, 9), {{{"topology.kubernetes.io/zone", Op::kIn, {zone()}}}, {}}}};
    const std::string key = dice.percent(50) ? "topology.kubernetes.io/zone" : "kubernetes.io/hostname";
    if (dice.percent(25)) {
      made.spread = {{key, dice.between(1, 2), dice.between(1, 2),
                      dice.percent(50) ? SpreadMode::kHard : SpreadMode::kSoft, dice.percent(70), dice.percent(30),
                      selector()}};
    }
    if (dice.percent(10)) made.affinity = {{1, key, selector(), {}, {}}};
    if (dice.percent(10)) made.anti_affinity = {{1, key, selector(), dice.percent(30) ? Texts{"other"} : Texts{}, {}}};
    if (dice.percent(15))
      made.preferred_near = {{dice.between(1, 9),
                              key,
                              selector(),
                              {},
                              dice.percent(40) ? std::optional(LabelSelectorText{{{"team", "x"}}, {}}) : std::nullopt}};
    if (dice.percent(15)) made.preferred_far = {{-dice.between(1, 9), key, selector(), {}, {}}};
    return made;
  };
  std::vector<ProgramText> programs;
  for (int at = 0; at < 8; ++at) programs.push_back(program());
  std::map<std::string, NodeText> nodes;
  std::map<std::string, PodOnNode> pods;
  std::map<std::string, ServiceText> services;
  std::map<std::string, NamespaceText> spaces;
  const auto pod = [&](const std::string& name) {
    PodText made{.space = dice.percent(80) ? "default" : "other", .name = name};
    if (dice.percent(80)) made.labels = {{"app", app()}};
    made.is_terminating = dice.percent(5);
    return made;
  };
  for (int step = 0; step < 260; ++step) {
    const std::string node_name = "n" + std::to_string(dice.below(7));
    switch (dice.below(10)) {
      case 0:
      case 1:
      case 2: {
        NodeText made{
            .name = node_name, .milli_cpu = dice.between(1, 4) * 1000, .memory_bytes = dice.between(1, 4) * 1000};
        if (dice.percent(80))
          made.labels = {{"topology.kubernetes.io/zone", zone()}, {"kubernetes.io/hostname", node_name}};
        if (dice.percent(30)) made.taints = {{"t", zone(), static_cast<TaintEffect>(dice.below(3))}};
        if (dice.percent(30)) made.scalars = {{"example.com/gpu", 2}};
        made.is_unschedulable = dice.percent(10);
        lived.cluster.put_node(made.row());
        nodes[node_name] = made;
        break;
      }
      case 3:
        if (!dice.percent(40)) break;
        lived.cluster.remove_node(node_name);
        nodes.erase(node_name);
        break;
      case 4: {
        const ServiceText made{"default", "s" + std::to_string(dice.below(2)), Pairs{{"app", app()}}};
        if (dice.percent(60)) {
          lived.cluster.put_service(made.row());
          services[made.name] = made;
        } else {
          lived.cluster.remove_service("default", made.name);
          services.erase(made.name);
        }
        break;
      }
      case 5: {
        const NamespaceText made{dice.percent(50) ? "default" : "other",
                                 dice.percent(60) ? Pairs{{"team", "x"}} : Pairs{}};
        lived.cluster.put_namespace(made.row());
        spaces[made.name] = made;
        break;
      }
      default: {
        const std::string name = "p" + std::to_string(dice.below(15));
        if (pods.contains(name) && dice.percent(50)) {
          lived.cluster.remove_pod(pods[name].pod.space, name);
          pods.erase(name);
        } else {
          if (pods.contains(name)) lived.cluster.remove_pod(pods[name].pod.space, name);
          PodOnNode made{dice.one_of(programs), pod(name)};
          made.pod.node = node_name;
          lived.cluster.put_pod(made.program.row(), made.pod.row(), {});
          pods[name] = made;
        }
      }
    }
    const PodOnNode pending{dice.one_of(programs), pod("pending")};
    const PlainDecision found = plain(lived, World::decide(lived, pending));
    if (step % 4 != 0) continue;
    Engine fresh(TieBreak::kName, 0, 100);
    for (const auto& [name, each] : pods) fresh.cluster.put_pod(each.program.row(), each.pod.row(), {});
    for (const auto& [name, each] : spaces) fresh.cluster.put_namespace(each.row());
    for (const auto& [name, each] : nodes) fresh.cluster.put_node(each.row());
    for (const auto& [name, each] : services) fresh.cluster.put_service(each.row());
    ASSERT_EQ(lived.cluster.digest(), fresh.cluster.digest());
    expect_equal(found, plain(fresh, World::decide(fresh, pending)));
    ASSERT_FALSE(HasFailure()) << "seed " << GetParam() << " step " << step;
    ASSERT_SOUND(lived.cluster.validate());
  }
}

}  // namespace
}  // namespace volsched::test
