// What-if questions about one pod and one node: pods leave and come back, others are there by promise only.
// spec/scheduling.md 7.1, 8.5, 8.8, 8.9, 9.4, 11.2.

#include "volsched/trial.hpp"

#include "world.hpp"

namespace volsched::test {
namespace {

constexpr const char* kZone = "topology.kubernetes.io/zone";

PodOnNode pending(const ProgramText& program, const std::string& name = "p") {
  return {program, {.name = name, .labels = {{"app", "web"}}}};
}

ProgramText asking(std::int64_t milli_cpu) {
  ProgramText program;
  program.usage.milli_cpu = milli_cpu;
  program.fit_milli_cpu = milli_cpu;
  return program;
}

ProgramText on_port(std::uint32_t port, const std::string& ip = "0.0.0.0") {
  ProgramText program;
  program.ports = {{"TCP", ip, port}};
  return program;
}

ProgramText spreading(const std::optional<LabelSelectorText>& selector) {
  ProgramText program;
  program.spread = {{.key = kZone, .mode = SpreadMode::kHard, .selector = selector}};
  return program;
}

/// One required term over zones.
ProgramText near(const std::string& app) {
  ProgramText program;
  program.affinity = {{.key = kZone, .selector = LabelSelectorText{{{"app", app}}, {}}, .namespaces = {"default"}}};
  return program;
}

ProgramText far(const std::string& app) {
  ProgramText program;
  program.anti_affinity = {
      {.key = kZone, .selector = LabelSelectorText{{{"app", app}}, {}}, .namespaces = {"default"}}};
  return program;
}

class TrialTest : public testing::Test {
 protected:
  World world;

  void add(const std::string& name, const std::string& zone = "a") {
    world.put(NodeText{.name = name, .labels = {{kZone, zone}}});
  }
  void place(const std::string& name, const std::string& node, const ProgramText& program = {}, PodText pod = {}) {
    pod.name = name;
    pod.node = node;
    world.put(PodOnNode{program, pod});
  }
  std::unique_ptr<Trial> trial(const PodOnNode& pod) {
    return world.engine->trial(world.decide(pod), world.cluster().live());
  }
  NodeId row(const std::string& name) { return world.row_of(name); }
  const PodRow& pod(const std::string& name, const std::string& space = "default") {
    return world.cluster().pod(
        world.cluster().find_pod(world.cluster().strings.find(space), world.cluster().strings.find(name)));
  }
  PodRow guest(const PodOnNode& promised, const std::string& node) {
    return world.cluster().guest(promised.program.row(), promised.pod.row(), {}, row(node));
  }
  /// "fits", or the plugin and its reasons.
  static std::string said(const std::optional<Trial::Verdict>& verdict) {
    if (!verdict) return "fits";
    std::string text(verdict->plugin);
    for (const std::string& reason : verdict->refusal.reasons) text += ": " + reason;
    return text;
  }
  using Places = std::vector<std::size_t>;
};

TEST_F(TrialTest, PodsOfLowerPriorityAreTakenAway) {
  add("n1");
  add("n2");
  place("low", "n1", asking(3000));
  place("equal", "n1", asking(500), {.priority = 10});
  place("high", "n2", asking(3000), {.priority = 11});
  const auto tried = trial(pending(asking(2000)));
  Trial::Emptied answer = tried->emptied(row("n1"), 10, {});
  EXPECT_EQ(answer.removed, 1U);
  EXPECT_EQ(said(answer.verdict), "fits");
  answer = tried->emptied(row("n2"), 10, {});
  EXPECT_EQ(answer.removed, 0U);
  EXPECT_EQ(said(answer.verdict), "fits") << "nobody was asked";
  answer = tried->emptied(row("n2"), 12, {});
  EXPECT_EQ(answer.removed, 1U);
}

TEST_F(TrialTest, VictimsAreGivenBackInTheOrderTheyAreNamed) {
  add("n1");
  for (const char* each : {"a", "b", "c"}) place(each, "n1", asking(1000));
  const auto tried = trial(pending(asking(2500)));
  const std::vector<const PodRow*> forward{&pod("a"), &pod("b"), &pod("c")};
  const std::vector<const PodRow*> backward{&pod("c"), &pod("b"), &pod("a")};
  EXPECT_EQ(tried->needed(row("n1"), forward, {}), (Places{1, 2}));
  EXPECT_EQ(tried->needed(row("n1"), backward, {}), (Places{1, 2}));
  EXPECT_EQ(tried->needed(row("n1"), std::vector<const PodRow*>{&pod("b")}, {}), (Places{0}));
}

TEST_F(TrialTest, APodThatComesBackIsAsIfItHadNeverLeft) {
  add("n1");
  place("a", "n1", asking(3000));
  const auto tried = trial(pending(asking(2000)));
  tried->enter(row("n1"));
  const std::string before = said(tried->verdict());
  EXPECT_EQ(before, "NodeResourcesFit: Insufficient cpu");
  EXPECT_EQ(tried->requested(ResourceTable::kCpu), 3000);
  tried->remove(pod("a"));
  EXPECT_EQ(tried->requested(ResourceTable::kCpu), 0);
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->add(pod("a"));
  EXPECT_EQ(said(tried->verdict()), before);
}

TEST_F(TrialTest, EveryNodeBeginsAnew) {
  add("n1", "a");
  add("n2", "b");
  place("a", "n1", far("web"), {.labels = {{"app", "web"}}});
  const auto tried = trial(pending(far("web")));
  tried->enter(row("n1"));
  tried->remove(pod("a"));
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->enter(row("n2"));
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->enter(row("n1"));
  EXPECT_NE(said(tried->verdict()), "fits");
}

TEST_F(TrialTest, FiltersThatDoNotLookAtPodsKeepTheirPlace) {
  world.put(NodeText{.name = "n1", .taints = {{"k", "v", TaintEffect::kNoSchedule}}});
  place("low", "n1", asking(4000));
  const auto tried = trial(pending(asking(2000)));
  EXPECT_EQ(said(tried->emptied(row("n1"), 1, {}).verdict), "TaintToleration: node(s) had untolerated taint(s)");
}

TEST_F(TrialTest, HostPortsAreASetOfTheNode) {
  add("n1");
  place("one", "n1", on_port(80));
  place("two", "n1", on_port(80));
  const auto tried = trial(pending(on_port(80)));
  const std::string taken = "NodePorts: node(s) didn't have free ports for the requested pod ports";
  tried->enter(row("n1"));
  EXPECT_EQ(said(tried->verdict()), taken);
  tried->remove(pod("one"));
  EXPECT_EQ(said(tried->verdict()), "fits") << "upstream forgets the port with the first that has it";
  tried->add(pod("one"));
  EXPECT_EQ(said(tried->verdict()), taken);
}

TEST_F(TrialTest, APromisedPodTakesAPortForItsTurnOnly) {
  add("n1");
  place("one", "n1", on_port(80));
  const auto tried = trial(pending(on_port(80)));
  const std::vector<PodRow> guests{guest(pending(on_port(80), "promised"), "n1")};
  tried->enter(row("n1"));
  tried->remove(pod("one"));
  EXPECT_NE(said(tried->verdict_beside(guests)), "fits");
  EXPECT_EQ(said(tried->verdict()), "fits") << "what the first removal freed stays free";
}

TEST_F(TrialTest, AClaimInUseIsFreedByItsNameAlone) {
  add("n1");
  add("n2");
  const Texts once{"ReadWriteOncePod"};
  for (const char* space : {"default", "other"}) {
    world.put(VolumeText{.name = std::string("pv-") + space, .storage_class = "c", .access_modes = once});
    world.put(ClaimText{.space = space,
                        .name = "data",
                        .storage_class = "c",
                        .access_modes = once,
                        .volume = std::string("pv-") + space,
                        .is_bind_completed = true});
  }
  place("holder", "n2", {}, {.claims = uses_of({"data"})});
  place("stranger", "n1", {}, {.space = "other", .claims = uses_of({"data"})});
  place("bystander", "n1", {}, {.space = "other", .claims = uses_of({"more"})});
  PodOnNode wanting = pending({});
  wanting.pod.claims = uses_of({"data"});
  const auto tried = trial(wanting);
  tried->enter(row("n1"));
  tried->remove(pod("bystander", "other"));
  EXPECT_NE(said(tried->verdict()), "fits");
  tried->remove(pod("stranger", "other"));
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->enter(row("n2"));
  tried->remove(pod("holder"));
  EXPECT_EQ(said(tried->verdict()), "fits");
}

TEST_F(TrialTest, AnEmptySelectorOfASpreadMatchesEveryPodThatComesOrGoes) {
  add("n1", "a");
  add("n2", "b");
  place("a", "n1");
  const auto tried = trial(pending(spreading(LabelSelectorText{})));
  tried->enter(row("n1"));
  EXPECT_EQ(said(tried->verdict()), "fits") << "at PreFilter it counts nobody";
  const PodRow more = guest({{}, {.name = "g"}}, "n1");
  tried->add(more);
  EXPECT_EQ(said(tried->verdict()), "PodTopologySpread: node(s) didn't match pod topology spread constraints");
  tried->remove(more);
  tried->remove(pod("a"));
  EXPECT_EQ(said(tried->verdict()), "fits") << "a: -1, b: 0";
  tried->add(more);
  EXPECT_EQ(said(tried->verdict()), "fits") << "a: 0, b: 0";
}

TEST_F(TrialTest, PodsOnTheirWayOutCountWhereTheyComeOrGo) {
  add("n1", "a");
  add("n2", "b");
  const Pairs web{{"app", "web"}};
  place("leaving", "n1", {}, {.labels = web, .is_terminating = true});
  place("staying", "n1", {}, {.labels = web});
  place("other", "n2", {}, {.labels = web});
  const auto tried = trial(pending(spreading(LabelSelectorText{web, {}})));
  // PreFilter counts a: 1, b: 1
  tried->enter(row("n2"));
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->enter(row("n1"));
  tried->remove(pod("leaving"));
  tried->remove(pod("staying"));
  EXPECT_EQ(said(tried->verdict()), "fits") << "a: -1, b: 1";
  tried->add(pod("leaving"));
  tried->add(pod("staying"));
  const PodRow more = guest({{}, {.name = "g", .labels = web}}, "n1");
  tried->add(more);
  EXPECT_NE(said(tried->verdict()), "fits") << "a: 2, b: 1";
}

TEST_F(TrialTest, TheLastPodOfAGroupTakesItsZoneWithIt) {
  add("n1", "a");
  add("n2", "b");
  place("db", "n1", {}, {.labels = {{"app", "db"}}});
  const auto tried = trial(pending(near("db")));
  tried->enter(row("n1"));
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->remove(pod("db"));
  EXPECT_EQ(said(tried->verdict()), "InterPodAffinity: node(s) didn't match pod affinity rules");
  tried->enter(row("n2"));
  EXPECT_NE(said(tried->verdict()), "fits");
}

TEST_F(TrialTest, APodThatFitsOnlyBesideAPromiseDoesNotFit) {
  add("n1");
  place("low", "n1", asking(4000));
  const auto tried = trial(pending(near("db")));
  const std::vector<PodRow> guests{guest({{}, {.name = "db", .labels = {{"app", "db"}}}}, "n1")};
  tried->enter(row("n1"));
  tried->remove(pod("low"));
  tried->add(guests[0]);
  EXPECT_EQ(said(tried->verdict()), "fits");
  tried->remove(guests[0]);
  EXPECT_EQ(said(tried->verdict_beside(guests)), "InterPodAffinity: node(s) didn't match pod affinity rules");
}

TEST_F(TrialTest, PromisesCountWhenVictimsAreGivenBack) {
  add("n1");
  for (const char* each : {"a", "b", "c"}) place(each, "n1", asking(1000));
  const auto tried = trial(pending(asking(1500)));
  const std::vector<const PodRow*> victims{&pod("a"), &pod("b"), &pod("c")};
  EXPECT_EQ(tried->needed(row("n1"), victims, {}), (Places{2}));
  const std::vector<PodRow> guests{guest(pending(asking(1000), "promised"), "n1")};
  EXPECT_EQ(tried->needed(row("n1"), victims, guests), (Places{1, 2}));
}

TEST_F(TrialTest, QuestionsThatCannotBeAsked) {
  add("n1");
  add("n2");
  place("a", "n1");
  const Decision decision = world.decide(pending({}));
  NodeMask within(world.cluster().rows());
  within.set(row("n1"));
  const auto tried = world.engine->trial(decision, within);
  EXPECT_EQ(error_of([&] { tried->enter(row("n2")); }), "there is no such node to try");
  tried->enter(row("n1"));
  tried->remove(pod("a"));
  EXPECT_EQ(error_of([&] { tried->remove(pod("a")); }), "a pod is taken from a node that does not have it");
  add("n3");
  EXPECT_NE(error_of([&] { static_cast<void>(world.engine->trial(decision, within)); }), "");
  PodOnNode wanting = pending({});
  wanting.pod.claims = uses_of({"missing"});
  EXPECT_EQ(error_of([&] { static_cast<void>(trial(wanting)); }),
            "the pod was refused before any node was looked at, there is nothing to try");
}

/// Pods without what upstream counts in a way of its own: one host port each, claims of one namespace, pods that stay,
/// selectors that say something. For these a trial has to say what a decision does in a cluster without the pods.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : dice_(seed) {}

  Dice& dice() { return dice_; }
  ProgramText program(std::size_t number) {
    ProgramText made = asking(dice_.between(1, 20) * 100);
    const LabelSelectorText selector{{{"app", dice_.one_of(Texts{"a", "b"})}}, {}};
    const std::string key = dice_.one_of(Texts{kZone, "kubernetes.io/hostname"});
    switch (dice_.below(5)) {
      case 0:
        made.ports = {{"TCP", "0.0.0.0", static_cast<std::uint32_t>(8000 + number)}};
        break;
      case 1:
        made.spread = {{.key = key, .max_skew = dice_.between(1, 2), .mode = SpreadMode::kHard, .selector = selector}};
        break;
      case 2:
        made.affinity = {{.key = key, .selector = selector, .namespaces = {"default"}}};
        break;
      case 3:
        made.anti_affinity = {{.key = key, .selector = selector, .namespaces = {"default"}}};
        break;
      default:
        made.disks = {{.name = dice_.one_of(Texts{"d1", "d2"}), .is_read_only = dice_.percent(50)}};
    }
    return made;
  }
  PodText pod(const std::string& name, const std::string& node) {
    return {.name = name,
            .node = node,
            .labels = {{"app", dice_.one_of(Texts{"a", "b"})}},
            .priority = static_cast<std::int64_t>(dice_.below(3))};
  }

 private:
  Dice dice_;
};

TEST(TrialAgainstDecisions, ATrialSaysWhatADecisionWithoutThePodsSays) {
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    Chance chance(seed);
    World world;
    Texts nodes;
    for (std::size_t at = 0; at < 4; ++at) {
      nodes.push_back("n" + std::to_string(at));
      const std::string zone = chance.dice().one_of(Texts{"a", "b"});
      world.put(NodeText{.name = nodes.back(), .labels = {{kZone, zone}, {"kubernetes.io/hostname", nodes.back()}}});
    }
    for (std::size_t at = 0; at < 12; ++at)
      world.put(PodOnNode{chance.program(at), chance.pod("p" + std::to_string(at), chance.dice().one_of(nodes))});
    const PodOnNode subject{chance.program(chance.dice().below(12)), chance.pod("subject", "")};
    const std::int64_t below = chance.dice().between(1, 3);
    const auto tried = world.engine->trial(world.decide(subject), world.cluster().live());
    for (const std::string& node : nodes) {
      const Trial::Emptied answer = tried->emptied(world.row_of(node), below, {});
      World without = {};
      for (const auto& [name, object] : world.nodes) without.put(object);
      std::size_t removed = 0;
      for (const auto& [key, object] : world.pods) {
        if (object.pod.node == node && object.pod.priority < below) {
          ++removed;
        } else {
          without.put(object);
        }
      }
      EXPECT_EQ(answer.removed, removed);
      if (removed == 0) continue;
      const PlainDecision anew = plain(*without.engine, without.decide(subject));
      const NodeVerdict expected = anew.verdicts.at(node);
      NodeVerdict found;
      if (answer.verdict)
        found = {std::string(answer.verdict->plugin), answer.verdict->refusal.code, answer.verdict->refusal.reasons};
      EXPECT_EQ(found, expected) << "seed " << seed << ", " << node;
    }
  }
}

}  // namespace
}  // namespace volsched::test
