// The engine around the plugins: which nodes are looked at and from where, who is chosen among equals, what a decision
// may still be asked after the cluster changed, the message when nothing fits. spec/scheduling.md 9.2 to 9.6.

#include "volsched/engine.hpp"

#include <thread>

#include "world.hpp"

namespace volsched::test {
namespace {

class EngineTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> engine = std::make_unique<Engine>(TieBreak::kFirst, 0, 100);

  void use(TieBreak tie_break, std::uint64_t seed = 0, std::int32_t percentage = 100) {
    engine = std::make_unique<Engine>(tie_break, seed, percentage);
  }
  Cluster& cluster() { return engine->cluster; }
  void add(const NodeText& text) { cluster().put_node(text.row()); }
  void add_nodes(std::size_t count) {
    for (std::size_t at = 0; at < count; ++at) add({.name = name(at)});
  }
  /// "n000", so that names order as numbers do.
  static std::string name(std::size_t at) {
    const std::string digits = std::to_string(at);
    return "n" + std::string(3 - std::min<std::size_t>(3, digits.size()), '0') + digits;
  }
  Decision decide(const ProgramText& program = {}, const PodText& pod = {.name = "p"},
                  const std::vector<NodeId>* only = nullptr) {
    return World::decide(*engine, {program, pod}, only);
  }
  std::string chosen(const Decision& decision) {
    return decision.chosen.valid() ? cluster().strings.str(cluster().node(decision.chosen).name) : std::string();
  }
  Texts feasible(const Decision& decision) {
    Texts names;
    for (const NodeId row : engine->feasible(decision))
      names.push_back(cluster().strings.str(cluster().node(row).name));
    return names;
  }
  NodeId row(const std::string& of) { return cluster().find_node(std::string_view(of)); }
  /// Give the nodes, in order, these totals and choose again.
  std::string choose_by(const std::vector<std::int64_t>& totals) {
    add_nodes(totals.size());
    const ProgramPtr program = cluster().program(ProgramText().row());
    Decision decision = engine->filter(
        program, std::make_shared<const PodInstance>(cluster().instance(PodText{.name = "p"}.row())), nullptr);
    decision.extra.push_back({"mine", std::vector<std::int64_t>(cluster().rows(), 0)});
    for (std::size_t at = 0; at < totals.size(); ++at) decision.extra[0].by_row[row(name(at)).index()] = totals[at];
    engine->choose(decision);
    return chosen(decision);
  }
};

TEST_F(EngineTest, RefusesAPercentageOutsideItsRange) {
  EXPECT_EQ(error_of([] { Engine(TieBreak::kFirst, 0, 101); }),
            "percentage_of_nodes_to_score must be 0 (adaptive) to 100, not 101");
  EXPECT_EQ(error_of([] { Engine(TieBreak::kFirst, 0, -1); }),
            "percentage_of_nodes_to_score must be 0 (adaptive) to 100, not -1");
  EXPECT_NO_THROW(Engine(TieBreak::kKube, 0, 0));
}

TEST_F(EngineTest, NoNodesIsAnAnswer) {
  const Decision decision = decide();
  EXPECT_FALSE(decision.chosen.valid());
  EXPECT_TRUE(engine->feasible(decision).empty());
  EXPECT_EQ(engine->message(decision), "no nodes available to schedule pods");
  std::string error;
  EXPECT_TRUE(engine->scores(decision, error).empty());
}

TEST_F(EngineTest, FeasibleNodesComeInVisitingOrder) {
  add({.name = "b", .labels = {{"topology.kubernetes.io/zone", "1"}}});
  add({.name = "a", .labels = {{"topology.kubernetes.io/zone", "1"}}});
  add({.name = "c", .labels = {{"topology.kubernetes.io/zone", "2"}}});
  EXPECT_EQ(feasible(decide()), (Texts{"b", "c", "a"}));
}

TEST_F(EngineTest, OnlyTheGivenNodesAreLookedAt) {
  add_nodes(4);
  const std::vector<NodeId> only{row("n002"), row("n001")};
  const Decision decision = decide({}, {.name = "p"}, &only);
  EXPECT_EQ(feasible(decision), (Texts{"n001", "n002"}));
  EXPECT_EQ(decision.node_count, 4U);
  const std::vector<NodeId> none;
  const Decision nowhere = decide({}, {.name = "p"}, &none);
  EXPECT_FALSE(nowhere.chosen.valid());
  EXPECT_EQ(engine->message(nowhere), "0/4 nodes are available:");
}

// Choosing (9.5)
// --------------------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, FirstTakesTheFirstInNodeOrderAmongTheBest) {
  use(TieBreak::kFirst);
  add({.name = "z"});
  EXPECT_EQ(choose_by({5, 7, 7}), "n001");
}

TEST_F(EngineTest, NameTakesTheSmallestNameAmongTheBest) {
  use(TieBreak::kName);
  for (const char* each : {"m", "k", "l"}) add({.name = each});
  EXPECT_EQ(chosen(decide()), "k");
  add({.name = "a"});
  EXPECT_EQ(chosen(decide()), "a") << "names are ranked anew when nodes come";
  cluster().remove_node("a");
  EXPECT_EQ(chosen(decide()), "k");
}

TEST_F(EngineTest, KubeTakesTheFirstMaximumInAPreOrderWalkOfItsHeap) {
  use(TieBreak::kKube);
  EXPECT_EQ(choose_by({0, 0, 1, 0, 1}), "n004") << "index 1's subtree comes before index 2";
  use(TieBreak::kKube);
  EXPECT_EQ(choose_by({1, 1, 1}), "n000");
  use(TieBreak::kKube);
  EXPECT_EQ(choose_by({0, 0, 1}), "n002");
  use(TieBreak::kKube);
  EXPECT_EQ(choose_by({0, 0, 2, 0, 0, 2, 2, 2}), "n007") << "0 1 3 7";
}

TEST_F(EngineTest, KubeEqualsAWalkOfTheWholeTree) {
  Dice dice(6);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::int64_t> totals(1 + dice.below(40));
    for (auto& total : totals) total = dice.between(0, 3);
    const std::int64_t most = *std::max_element(totals.begin(), totals.end());
    std::optional<std::size_t> wanted;
    const auto walk = [&](const auto& self, std::size_t at) -> void {
      if (at >= totals.size() || wanted) return;
      if (totals[at] == most) {
        wanted = at;
        return;
      }
      self(self, 2 * at + 1);
      self(self, 2 * at + 2);
    };
    walk(walk, 0);
    use(TieBreak::kKube);
    ASSERT_EQ(choose_by(totals), name(*wanted));
  }
}

TEST_F(EngineTest, RandomIsEvenAmongTheBestAndRepeatsBySeed) {
  const auto draws = [&](std::uint64_t seed) {
    use(TieBreak::kRandom, seed);
    add_nodes(4);
    add({.name = "tainted", .taints = {{"soft", "", TaintEffect::kPreferNoSchedule}}});
    Texts names;
    for (int draw = 0; draw < 200; ++draw) names.push_back(chosen(decide()));
    return names;
  };
  const Texts first = draws(7);
  EXPECT_EQ(draws(7), first);
  EXPECT_NE(draws(8), first);
  const std::set<std::string> seen(first.begin(), first.end());
  EXPECT_EQ(seen, (std::set<std::string>{"n000", "n001", "n002", "n003"})) << "all of the best, and only they";
}

TEST_F(EngineTest, LargeClustersChooseTheBestOfAllWords) {
  Dice dice(9);
  for (const TieBreak tie_break : {TieBreak::kFirst, TieBreak::kName}) {
    for (int round = 0; round < 10; ++round) {
      std::vector<std::int64_t> totals(200);
      for (auto& total : totals) total = dice.between(0, 50);
      use(tie_break);
      const auto best = std::max_element(totals.begin(), totals.end());
      ASSERT_EQ(choose_by(totals), name(static_cast<std::size_t>(best - totals.begin())));
    }
  }
}

// How many nodes (9.3)
// --------------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, AdaptiveSearchStopsWhenItHasEnough) {
  use(TieBreak::kFirst, 0, 0);
  add_nodes(150);
  const Decision first = decide();
  EXPECT_EQ(feasible(first).size(), 100U);
  EXPECT_EQ(feasible(first).front(), "n000");
  const Decision second = decide();
  EXPECT_EQ(second.start, 100U) << "where the last search ended";
  EXPECT_EQ(feasible(second).front(), "n100");
  EXPECT_EQ(feasible(second).back(), "n049") << "round the end of the list";
  EXPECT_EQ(decide().start, 50U);
}

TEST_F(EngineTest, SmallClustersAreSearchedWhole) {
  use(TieBreak::kFirst, 0, 0);
  add_nodes(99);
  EXPECT_EQ(feasible(decide()).size(), 99U);
  EXPECT_EQ(decide().start, 0U);
}

TEST_F(EngineTest, APercentageOfTheNodesButAtLeastAHundred) {
  use(TieBreak::kFirst, 0, 30);
  add_nodes(500);
  EXPECT_EQ(feasible(decide()).size(), 150U);
  use(TieBreak::kFirst, 0, 10);
  add_nodes(500);
  EXPECT_EQ(feasible(decide()).size(), 100U);
  use(TieBreak::kFirst, 0, 0);
  add_nodes(500);
  EXPECT_EQ(feasible(decide()).size(), 230U) << "50 - 500/125 = 46 %";
}

TEST_F(EngineTest, RefusedNodesCountAsVisited) {
  use(TieBreak::kFirst, 0, 0);
  for (std::size_t at = 0; at < 130; ++at) add({.name = name(at), .is_unschedulable = at < 20});
  const Decision decision = decide();
  EXPECT_EQ(feasible(decision).size(), 100U);
  EXPECT_EQ(feasible(decision).back(), "n119");
  ASSERT_EQ(decision.rejected.size(), 1U);
  EXPECT_EQ(decision.rejected[0].nodes.count(), 20U);
  const Decision next = decide();
  EXPECT_EQ(next.start, 120U);
  EXPECT_EQ(feasible(next).front(), "n120");
}

TEST_F(EngineTest, NodesBeyondTheSearchAreNeitherFeasibleNorRefused) {
  use(TieBreak::kFirst, 0, 0);
  for (std::size_t at = 0; at < 130; ++at) add({.name = name(at), .is_unschedulable = at >= 110});
  const Decision decision = decide();
  EXPECT_EQ(feasible(decision).size(), 100U);
  EXPECT_TRUE(decision.rejected.empty());
}

// Staleness
// -------------------------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, NodeSetsAreReadableUntilANodeComesOrGoes) {
  add_nodes(3);
  const Decision decision = decide();
  cluster().put_class(ClassText{.name = "fast"}.row());
  EXPECT_EQ(feasible(decision).size(), 3U);
  EXPECT_NO_THROW(engine->check_nodes(decision));
  EXPECT_THROW(engine->check_state(decision), Error);
  add({.name = "late"});
  EXPECT_THROW(engine->check_nodes(decision), Error);
  EXPECT_THROW(static_cast<void>(engine->feasible(decision)), Error);
}

TEST_F(EngineTest, ScoresAndPlansAreReadableUntilAnythingChanges) {
  add_nodes(3);
  Decision decision = decide();
  cluster().put_class(ClassText{.name = "fast"}.row());
  const std::string wanted = "the cluster has changed since this decision was made (generation " +
                             std::to_string(decision.generation) + ", now " + std::to_string(cluster().generation()) +
                             "); read it before, or decide again";
  std::string error;
  EXPECT_EQ(error_of([&] { static_cast<void>(engine->scores(decision, error)); }), wanted);
  EXPECT_EQ(error_of([&] { static_cast<void>(engine->plan(decision, row("n000"))); }), wanted);
  EXPECT_EQ(error_of([&] { static_cast<void>(engine->assume(decision, row("n000"))); }), wanted);
  EXPECT_EQ(error_of([&] { engine->choose(decision); }), wanted);
}

TEST_F(EngineTest, AnEarlierDecisionCanStillBeReadAfterALaterOne) {
  cluster().put_class(ClassText{.name = "fast"}.row());
  add_nodes(3);
  for (const char* each : {"pv-a", "pv-b"})
    cluster().put_volume(VolumeText{.name = each, .storage_class = "fast"}.row());
  cluster().put_claim(ClaimText{.name = "data", .storage_class = "fast"}.row());
  const PodText wants{.name = "p", .claims = uses_of({"data"})};
  cluster().program(ProgramText().row());
  const Decision warm = decide({}, wants);
  const Decision first = decide({}, wants);
  const PlainDecision before = plain(*engine, first);
  ProgramText other;
  other.usage.milli_cpu = 900;
  const Decision second = decide(other, {.name = "q"});
  EXPECT_EQ(second.generation, first.generation);
  expect_equal(plain(*engine, first), before);
  EXPECT_EQ(before.bind.at("n001"), (PlainDecision::Steps{{"default/data", "pv-a"}}));
}

TEST_F(EngineTest, OnlyFeasibleNodesCanBeAssumed) {
  add_nodes(2);
  add({.name = "cordoned", .is_unschedulable = true});
  const Decision decision = decide();
  const std::string wanted = "pod default/p cannot be assumed on a node that its decision does not find feasible";
  EXPECT_EQ(error_of([&] { static_cast<void>(engine->assume(decision, row("cordoned"))); }), wanted);
  EXPECT_EQ(error_of([&] { static_cast<void>(engine->assume(decision, NodeId())); }), wanted);
  EXPECT_EQ(error_of([&] { static_cast<void>(engine->assume(decision, node(5000))); }), wanted);
  EXPECT_EQ(cluster().pod_count(), 0U);
  EXPECT_NO_THROW(static_cast<void>(engine->assume(decision, decision.chosen)));
}

// Plugins outside
// -------------------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, NarrowingTakesNodesOutWithAReason) {
  add_nodes(3);
  const ProgramPtr program = cluster().program(ProgramText().row());
  Decision decision = engine->filter(
      program, std::make_shared<const PodInstance>(cluster().instance(PodText{.name = "p"}.row())), nullptr);
  EXPECT_FALSE(decision.chosen.valid()) << "nothing is chosen yet";
  NodeMask keep(cluster().rows());
  keep.set(row("n001"));
  engine->narrow(decision, keep, "Mine", Code::kUnresolvable, "not mine");
  EXPECT_EQ(feasible(decision), Texts{"n001"});
  ASSERT_EQ(decision.rejected.size(), 1U);
  EXPECT_EQ(decision.rejected[0].plugin, "Mine");
  EXPECT_EQ(decision.rejected[0].code, Code::kUnresolvable);
  EXPECT_EQ(decision.rejected[0].nodes.count(), 2U);
  engine->choose(decision);
  EXPECT_EQ(chosen(decision), "n001");
  engine->narrow(decision, keep, "Mine", Code::kUnresolvable, "again");
  EXPECT_EQ(decision.rejected.size(), 1U) << "nothing more to take out";
  keep.clear();
  engine->narrow(decision, keep, "Mine", Code::kUnschedulable, "full");
  engine->choose(decision);
  EXPECT_FALSE(decision.chosen.valid());
  EXPECT_EQ(engine->message(decision), "0/3 nodes are available: 1 full, 2 not mine.");
}

TEST_F(EngineTest, TotalsAreTheSumOfWeightedScores) {
  add_nodes(3);
  add({.name = "small", .milli_cpu = 500});
  Decision decision = decide();
  std::string error;
  const auto parts = engine->scores(decision, error);
  ASSERT_FALSE(parts.empty());
  decision.extra.push_back({"mine", std::vector<std::int64_t>(cluster().rows(), 13)});
  const auto& totals = engine->totals(decision, parts);
  decision.feasible.for_each([&](NodeId each) {
    std::int32_t sum = 13;
    for (const PluginScores& part : parts) {
      EXPECT_GE(part.column.at(each), 0) << part.plugin->name();
      EXPECT_LE(part.column.at(each), 100) << part.plugin->name();
      sum += part.weight * part.column.at(each);
    }
    EXPECT_EQ(totals[each.index()], sum);
  });
}

// Messages (9.6)
// --------------------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, ReasonsAreCountedAndSortedAsText) {
  for (std::size_t at = 0; at < 10; ++at) add({.name = name(at), .milli_cpu = 50});
  for (std::size_t at = 10; at < 12; ++at) add({.name = name(at), .is_unschedulable = true});
  const Decision decision = decide();
  EXPECT_EQ(engine->message(decision), "0/12 nodes are available: 10 Insufficient cpu, 2 node(s) were unschedulable.");
  add({.name = "free"});
  EXPECT_EQ(engine->message(decide()), "") << "something fits";
}

TEST_F(EngineTest, EveryReasonOfANodeCounts) {
  add({.name = "n0", .milli_cpu = 50, .memory_bytes = 1});
  EXPECT_EQ(engine->message(decide()), "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.");
}

TEST_F(EngineTest, NodesOutsideANamedSetCountAsAbsent) {
  add_nodes(3);
  add({.name = "full", .milli_cpu = 0});
  ProgramText program;
  program.required = SelectorText{{{}, {{"metadata.name", Op::kIn, {"full"}}}}};
  program.name_set = Texts{"full", "missing"};
  const Decision decision = decide(program);
  EXPECT_EQ(decision.narrowing, Texts{"NodeAffinity"});
  EXPECT_EQ(decision.absent_count, 3U);
  EXPECT_EQ(engine->message(decision),
            "0/4 nodes are available: 1 Insufficient cpu, 3 node(s) didn't satisfy plugin(s) [NodeAffinity].");
}

TEST_F(EngineTest, DisjointNodeSetsAreRefusedAtOnce) {
  add_nodes(2);
  ProgramText program;
  program.required = SelectorText{{{}, {{"metadata.name", Op::kIn, {"n001"}}}}};
  program.name_set = Texts{"n001"};
  const Decision decision = decide(program, {.name = "p", .node = "n000"});
  ASSERT_TRUE(decision.is_refused);
  EXPECT_EQ(decision.refusal.code, Code::kUnresolvable);
  EXPECT_EQ(engine->message(decision),
            "0/2 nodes are available: node(s) didn't satisfy plugin(s) [NodeAffinity NodeName] simultaneously.");
  program.name_set = Texts{};
  EXPECT_EQ(engine->message(decide(program)), "0/2 nodes are available: pod affinity terms conflict.");
}

TEST_F(EngineTest, AFilterThatCannotDecideFailsTheCycle) {
  cluster().put_class(ClassText{.name = "fast"}.row());
  add_nodes(2);
  ClaimText claim{.name = "data", .storage_class = "fast"};
  claim.selector = LabelSelectorText{{}, {{"tier", Op::kIn, {}}}};
  cluster().put_claim(claim.row());
  const Decision decision = decide({}, {.name = "p", .claims = uses_of({"data"})});
  EXPECT_EQ(
      decision.error.rfind(
          "running \"VolumeBinding\" filter plugin: error creating internal label selector for claim: default/data: ",
          0),
      0U)
      << decision.error;
  EXPECT_FALSE(decision.chosen.valid());
  EXPECT_EQ(engine->message(decision), "");
  EXPECT_THROW(static_cast<void>(engine->assume(decision, row("n000"))), Error);
}

// Forks and threads
// -----------------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, AForkContinuesTheSearchAndTheChances) {
  use(TieBreak::kRandom, 3, 0);
  add_nodes(150);
  for (int draw = 0; draw < 5; ++draw) static_cast<void>(decide());
  const auto fork = engine->fork();
  for (int draw = 0; draw < 20; ++draw) {
    const Decision here = decide();
    const Decision there = World::decide(*fork, {{}, {.name = "p"}});
    ASSERT_EQ(here.start, there.start);
    ASSERT_EQ(here.chosen, there.chosen);
  }
}

TEST_F(EngineTest, MoreTemplatesThanAreCachedAreStillDecidedRightly) {
  add_nodes(3);
  for (int round = 0; round < 2; ++round) {
    for (std::int64_t milli_cpu = 1; milli_cpu <= 300; ++milli_cpu) {
      ProgramText program;
      program.usage.milli_cpu = milli_cpu * 20;
      const Decision decision = decide(program);
      ASSERT_EQ(decision.feasible.count(), milli_cpu * 20 <= 4000 ? 3U : 0U);
    }
  }
  EXPECT_LE(engine->cached_programs(), 128U);
}

TEST_F(EngineTest, ForksDecideInParallel) {
  use(TieBreak::kName);
  cluster().put_class(ClassText{.name = "fast"}.row());
  for (std::size_t at = 0; at < 70; ++at) add({.name = name(at), .labels = {{"zone", std::to_string(at % 3)}}});
  for (int at = 0; at < 20; ++at) {
    VolumeText volume{.name = "pv-" + std::to_string(at), .storage_class = "fast"};
    volume.affinity = where("zone", {std::to_string(at % 3)});
    cluster().put_volume(volume.row());
    cluster().put_claim(ClaimText{.name = "c" + std::to_string(at), .storage_class = "fast"}.row());
  }
  static_cast<void>(decide({}, {.name = "warm", .claims = uses_of({"c0"})}));
  const auto run = [](Engine& with) {
    std::string log;
    for (int at = 0; at < 15; ++at) {
      const Decision decision =
          World::decide(with, {{}, {.name = "p" + std::to_string(at), .claims = uses_of({"c" + std::to_string(at)})}});
      if (!decision.chosen.valid()) continue;
      static_cast<void>(with.assume(decision, decision.chosen));
      log += with.cluster.strings.str(with.cluster.node(decision.chosen).name) + " ";
    }
    return log + with.cluster.digest();
  };
  std::vector<std::unique_ptr<Engine>> forks;
  for (int at = 0; at < 4; ++at) forks.push_back(engine->fork());
  std::vector<std::string> logs(forks.size());
  std::vector<std::thread> threads;
  for (std::size_t at = 0; at < forks.size(); ++at) threads.emplace_back([&, at] { logs[at] = run(*forks[at]); });
  for (std::thread& thread : threads) thread.join();
  const std::string alone = run(*engine);
  for (const std::string& log : logs) EXPECT_EQ(log, alone);
}

}  // namespace
}  // namespace volsched::test
