// Pod templates and pods as they are compiled from their rows.

#include "volsched/program.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

class ProgramTest : public testing::Test {
 protected:
  Cluster cluster;

  StringId id(const std::string& text) const { return cluster.strings.find(text); }
};

ProgramText full_program() {
  ProgramText text;
  text.tolerations = {{Toleration::Op::kExists, "gpu", "", TaintEffect::kNoSchedule},
                      {Toleration::Op::kOther, "x", "1", TaintEffect::kAny}};
  text.node_selector = Pairs{{"disk", "ssd"}};
  text.required = SelectorText{{{{"zone", Op::kIn, {"a"}}}, {{"metadata.name", Op::kIn, {"n1"}}}}};
  text.name_set = Texts{"n1"};
  text.preferred_error = "[1] is no term";
  text.preferred =
      std::vector<ProgramText::Preferred>{{10, {{{"zone", Op::kIn, {"b"}}}, {}}}, {5, {{{"zone", Op::kIn, {}}}, {}}}};
  text.ports = {{"UDP", "10.0.0.1", 53}};
  text.usage = {100, 200, 300, 400, 500, {{"example.com/gpu", 2}}};
  text.fit_milli_cpu = 150;
  text.fit_memory_bytes = 250;
  text.images = {"db:1", "web:latest"};
  text.features = {"UserNamespacesHostNetworkSupport"};
  text.inline_volumes = {{"disk.csi", "vol-1", ""}, {"", "", "no such zone"}};
  text.disks = {{DiskKind::kRbd, "image", "pool", true, {"m1", "m2"}}};
  text.spread = {{"zone", 2, 3, SpreadMode::kHard, false, true, LabelSelectorText{{{"app", "db"}}, {}}},
                 {"rack", 1, 1, SpreadMode::kSoft, true, false, {}}};
  text.affinity = {{1, "zone", LabelSelectorText{{{"app", "db"}}, {}}, {"other"}, {}}};
  text.anti_affinity = {{1, "host", std::nullopt, {}, LabelSelectorText{}}};
  text.preferred_near = {{7, "zone", LabelSelectorText{}, {}, {}}};
  text.preferred_far = {{-9, "zone", LabelSelectorText{{}, {{"app", Op::kGt, {"1"}}}, "Gt is no operator"}, {}, {}}};
  return text;
}

TEST_F(ProgramTest, EveryFieldArrives) {
  const ProgramPtr program = cluster.program(full_program().row());
  ASSERT_EQ(program->tolerations.size(), 2U);
  EXPECT_EQ(program->tolerations[0].op, Toleration::Op::kExists);
  EXPECT_EQ(program->tolerations[0].key, id("gpu"));
  EXPECT_EQ(program->tolerations[0].effect, TaintEffect::kNoSchedule);
  EXPECT_EQ(program->tolerations[1].op, Toleration::Op::kOther);
  EXPECT_EQ(program->tolerations[1].effect, TaintEffect::kAny);
  EXPECT_TRUE(program->has_node_selector);
  EXPECT_TRUE(program->has_required_affinity);
  EXPECT_TRUE(program->has_name_set);
  EXPECT_EQ(program->name_set, std::vector<StringId>{id("n1")});
  ASSERT_EQ(program->preferred.size(), 2U);
  EXPECT_EQ(program->preferred[0].weight, 10);
  EXPECT_EQ(program->preferred_error, "[1] is no term");
  ASSERT_EQ(program->ports.size(), 1U);
  EXPECT_EQ(program->ports[0].protocol, id("UDP"));
  EXPECT_EQ(program->ports[0].port, 53U);
  EXPECT_EQ(program->usage.milli_cpu, 100);
  EXPECT_EQ(program->usage.memory_bytes, 200);
  EXPECT_EQ(program->usage.ephemeral_bytes, 300);
  EXPECT_EQ(program->usage.scored_milli_cpu, 400);
  EXPECT_EQ(program->usage.scored_memory_bytes, 500);
  ASSERT_EQ(program->usage.scalars.size(), 1U);
  EXPECT_EQ(cluster.resources.scalar_column(program->usage.scalars[0].first).name, id("example.com/gpu"));
  EXPECT_EQ(program->fit_milli_cpu, 150);
  EXPECT_EQ(program->fit_memory_bytes, 250);
  EXPECT_EQ(program->images, (std::vector<StringId>{id("db:1"), id("web:latest")}));
  EXPECT_EQ(program->features, std::vector<StringId>{id("UserNamespacesHostNetworkSupport")});
  ASSERT_EQ(program->inline_volumes.size(), 2U);
  EXPECT_EQ(program->inline_volumes[0].handle, id("vol-1"));
  EXPECT_EQ(program->inline_volumes[1].error, "no such zone");
  ASSERT_EQ(program->disks.size(), 1U);
  EXPECT_EQ(program->disks[0].kind, DiskKind::kRbd);
  EXPECT_EQ(program->disks[0].monitors.size(), 2U);
  EXPECT_TRUE(program->disks[0].is_read_only);
}

TEST_F(ProgramTest, TermsAboutOtherPodsArrive) {
  const ProgramPtr program = cluster.program(full_program().row());
  ASSERT_EQ(program->spread.size(), 2U);
  EXPECT_EQ(program->spread[0].max_skew, 2);
  EXPECT_EQ(program->spread[0].domains_min, 3);
  EXPECT_EQ(program->spread[0].mode, SpreadMode::kHard);
  EXPECT_FALSE(program->spread[0].honors_affinity);
  EXPECT_TRUE(program->spread[0].honors_taints);
  EXPECT_FALSE(program->spread[0].is_nil);
  EXPECT_TRUE(program->spread[1].is_nil);
  EXPECT_TRUE(program->has_pod_terms());
  ASSERT_EQ(program->affinity.terms.size(), 1U);
  EXPECT_EQ(program->affinity.terms[0].namespaces, std::vector<StringId>{id("other")});
  EXPECT_FALSE(program->affinity.terms[0].in_own_namespace);
  EXPECT_TRUE(program->anti_affinity.terms[0].is_nil);
  EXPECT_TRUE(program->anti_affinity.terms[0].has_namespace_selector);
  EXPECT_FALSE(program->anti_affinity.terms[0].in_own_namespace);
  EXPECT_TRUE(program->preferred_near.terms[0].in_own_namespace);
  EXPECT_EQ(program->preferred_near.terms[0].weight, 7);
  EXPECT_EQ(program->preferred_far.terms[0].weight, -9);
  EXPECT_EQ(program->preferred_far.error, "Gt is no operator");
  EXPECT_FALSE(cluster.program(ProgramText().row())->has_pod_terms());
}

TEST_F(ProgramTest, EqualRowsAreOneProgram) {
  const ProgramPtr first = cluster.program(full_program().row());
  EXPECT_EQ(cluster.program(full_program().row()), first);
  EXPECT_NE(cluster.program(ProgramText().row()), first);
  EXPECT_EQ(first->content, full_program().row());
}

TEST_F(ProgramTest, ProgramsOfACopyLiveOn) {
  ProgramPtr program;
  {
    Cluster original;
    program = original.program(full_program().row());
    cluster = original;
  }
  EXPECT_EQ(cluster.program(full_program().row()), program) << "found by its content, which outlives the first cluster";
}

TEST_F(ProgramTest, APodIsItsOwnFields) {
  PodText text;
  text.space = "shop";
  text.name = "web-0";
  text.uid = "u";
  text.labels = {{"app", "web"}, {"tier", "front"}};
  text.is_terminating = true;
  text.owner_kind = OwnerKind::kStatefulSet;
  text.owner = "web";
  text.claims = {{"data", false}, {"web-0-scratch", true}, {"data", false}};
  const PodInstance pod = cluster.instance(text.row());
  EXPECT_EQ(pod.space, id("shop"));
  EXPECT_EQ(pod.name, id("web-0"));
  EXPECT_EQ(pod.uid, id("u"));
  EXPECT_EQ(pod.node, StringPool::kEmpty);
  EXPECT_EQ(cluster.label_sets.at(pod.labels).size(), 2U);
  EXPECT_TRUE(pod.is_terminating);
  EXPECT_EQ(pod.owner, (OwnerRef{OwnerKind::kStatefulSet, id("web")}));
  ASSERT_EQ(pod.claims.size(), 3U);
  EXPECT_EQ(pod.claims[0], pod.claims[2]) << "a claim used twice is there twice";
  EXPECT_TRUE(pod.claims[1].is_ephemeral);
  EXPECT_EQ(cluster.claim_key(pod.claims[0].claim), "shop/data");
}

TEST_F(ProgramTest, AnEmptyNodeSelectorIsGivenAndMatchesEveryNode) {
  cluster.put_node(NodeText{.name = "n0"}.row());
  ProgramText text;
  text.node_selector = Pairs{};
  const ProgramPtr program = cluster.program(text.row());
  EXPECT_TRUE(program->has_node_selector);
  EXPECT_EQ(rows_of(cluster.selectors.nodes(program->node_selector)), Rows{0});
}

TEST_F(ProgramTest, UnknownCodesBecomeWhatMatchesNothing) {
  ProgramText text;
  text.tolerations = {{static_cast<Toleration::Op>(9), "k", "v", static_cast<TaintEffect>(9)}};
  const ProgramPtr program = cluster.program(text.row());
  EXPECT_EQ(program->tolerations[0].op, Toleration::Op::kOther);
  EXPECT_EQ(program->tolerations[0].effect, TaintEffect::kOther);
}

}  // namespace
}  // namespace volsched::test
