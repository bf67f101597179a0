// A Cluster's objects: what each kind changes, rows that are used again, state that does not depend on the order things
// came in.

#include "volsched/cluster.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

class ClusterTest : public testing::Test {
 protected:
  Cluster cluster;

  void add_node(const std::string& name, const Pairs& labels = {}) {
    NodeText text;
    text.name = name;
    text.labels = labels;
    cluster.put_node(text.row());
  }
  void add_pod(const std::string& name, const std::string& node_name, const Texts& claims = {}) {
    PodText text;
    text.name = name;
    text.uid = "uid-" + name;
    text.node = node_name;
    text.claims = uses_of(claims);
    cluster.put_pod(ProgramText().row(), text.row(), {});
  }
  NodeId row(const std::string& name) const { return cluster.find_node(std::string_view(name)); }
  ClaimId claim(const std::string& name) const {
    return cluster.claims.find(cluster.strings.find("default"), cluster.strings.find(name));
  }
  Texts order() {
    cluster.order.refresh(cluster.rows());
    Texts names;
    for (const NodeId each : cluster.order.list()) names.push_back(cluster.strings.str(cluster.node(each).name));
    return names;
  }
};

TEST_F(ClusterTest, StartsEmpty) {
  EXPECT_EQ(cluster.rows(), 0U);
  EXPECT_EQ(cluster.node_count(), 0U);
  EXPECT_EQ(cluster.pod_count(), 0U);
  EXPECT_FALSE(row("n0").valid());
  EXPECT_EQ(cluster.digest(), "");
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, ANodeArrivesInEveryTable) {
  NodeText text;
  text.name = "n0";
  text.labels = {{"zone", "a"}};
  text.is_unschedulable = true;
  text.taints = {{"gpu", "yes", TaintEffect::kNoExecute}};
  text.milli_cpu = 2000;
  text.memory_bytes = 5;
  text.ephemeral_bytes = 6;
  text.pods = 7;
  text.scalars = {{"example.com/gpu", 3}};
  text.images = {{{"db:1", "db@sha256:0"}, 42}};
  text.features = {"F"};
  cluster.put_node(text.row());
  const NodeId at = row("n0");
  ASSERT_TRUE(at.valid());
  EXPECT_TRUE(cluster.node(at).exists);
  EXPECT_EQ(cluster.labels.value(at, cluster.strings.find("zone")), cluster.strings.find("a"));
  EXPECT_EQ(names_of(cluster, cluster.live()), std::set<std::string>{"n0"});
  EXPECT_EQ(names_of(cluster, cluster.unschedulable()), std::set<std::string>{"n0"});
  ASSERT_EQ(cluster.taints.of(at).size(), 1U);
  EXPECT_EQ(cluster.taints.at(cluster.taints.of(at)[0]).effect, TaintEffect::kNoExecute);
  EXPECT_EQ(cluster.resources.column(ResourceTable::kCpu).allocatable[at.index()], 2000);
  EXPECT_EQ(cluster.resources.column(ResourceTable::kMemory).allocatable[at.index()], 5);
  EXPECT_EQ(cluster.resources.column(ResourceTable::kEphemeral).allocatable[at.index()], 6);
  EXPECT_EQ(cluster.resources.pod_limit()[at.index()], 7);
  EXPECT_EQ(cluster.resources.column(ResourceTable::kScalars).allocatable[at.index()], 3);
  for (const char* name : {"db:1", "db@sha256:0"})
    EXPECT_EQ(cluster.images.bytes(cluster.images.find(cluster.strings.find(name))), 42);
  ASSERT_NE(cluster.features.nodes(cluster.strings.find("F")), nullptr);
  EXPECT_EQ(cluster.node_count(), 1U);
  EXPECT_EQ(order(), Texts{"n0"});
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, ReplacingANodeKeepsItsRowAndPlace) {
  add_node("n0", {{"zone", "a"}});
  add_node("n1");
  const NodeId at = row("n0");
  const std::uint64_t nodes = cluster.node_generation();
  const std::uint64_t generation = cluster.generation();
  add_node("n0", {{"zone", "b"}});
  EXPECT_EQ(row("n0"), at);
  EXPECT_EQ(cluster.node_count(), 2U);
  EXPECT_EQ(cluster.node_generation(), nodes) << "rows keep their meaning";
  EXPECT_GT(cluster.generation(), generation);
  EXPECT_EQ(order(), (Texts{"n0", "n1"}));
}

TEST_F(ClusterTest, ARemovedNodesRowIsUsedAgainWithoutItsTraces) {
  NodeText text;
  text.name = "old";
  text.labels = {{"zone", "a"}};
  text.is_unschedulable = true;
  text.taints = {{"gpu", "", TaintEffect::kNoSchedule}};
  text.scalars = {{"example.com/gpu", 3}};
  text.images = {{{"db:1"}, 42}};
  text.features = {"F"};
  cluster.put_node(text.row());
  const NodeId at = row("old");
  cluster.remove_node("old");
  EXPECT_FALSE(row("old").valid());
  EXPECT_EQ(cluster.node_count(), 0U);
  EXPECT_EQ(cluster.digest(), "");
  add_node("new");
  EXPECT_EQ(row("new"), at);
  EXPECT_TRUE(cluster.unschedulable().none());
  EXPECT_TRUE(cluster.taints.of(at).empty());
  EXPECT_EQ(cluster.resources.column(ResourceTable::kScalars).allocatable[at.index()], 0);
  EXPECT_EQ(cluster.images.count(cluster.images.find(cluster.strings.find("db:1"))), 0);
  EXPECT_TRUE(cluster.features.nodes(cluster.strings.find("F"))->empty());
  EXPECT_FALSE(cluster.labels.value(at, cluster.strings.find("zone")).valid());
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, RemovingWhatIsNotThereChangesNothing) {
  add_node("n0");
  const std::string digest = cluster.digest();
  const std::uint64_t generation = cluster.generation();
  cluster.remove_node("other");
  cluster.remove_pod("default", "other");
  cluster.remove_volume("other");
  cluster.remove_claim("default", "other");
  cluster.remove_class("other");
  cluster.remove_csi_node("n0");
  cluster.remove_csi_driver("other");
  cluster.remove_capacity("default", "other");
  cluster.remove_attachment("other");
  EXPECT_EQ(cluster.generation(), generation);
  EXPECT_EQ(cluster.digest(), digest);
}

TEST_F(ClusterTest, PodsOnAMissingNodeWaitForIt) {
  add_pod("p0", "n0", {"data"});
  ASSERT_TRUE(row("n0").valid());
  EXPECT_FALSE(cluster.node(row("n0")).exists);
  EXPECT_TRUE(cluster.live().none());
  EXPECT_EQ(cluster.claims.use_count(claim("data")), 0) << "pods of nodes that are not there do not hold claims";
  EXPECT_EQ(cluster.claims.users(claim("data")).size(), 1U);
  EXPECT_SOUND(cluster.validate());
  add_node("n0");
  EXPECT_EQ(cluster.claims.use_count(claim("data")), 1);
  EXPECT_EQ(cluster.resources.pod_count()[row("n0").index()], 1);
  cluster.remove_node("n0");
  EXPECT_TRUE(row("n0").valid()) << "its pod keeps the row";
  EXPECT_EQ(cluster.claims.use_count(claim("data")), 0);
  cluster.remove_pod("default", "p0");
  EXPECT_FALSE(row("n0").valid());
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, ARowLivesWhileAnythingRefersToIt) {
  cluster.put_csi_node(CsiNodeText{"n0", {}, {{"csi", 3}}}.row());
  VolumeText volume;
  volume.name = "pv";
  cluster.put_volume(volume.row());
  cluster.put_attachment(AttachmentText{"va", "n0", "csi", "pv"}.row());
  add_node("n0");
  cluster.remove_node("n0");
  EXPECT_TRUE(row("n0").valid());
  cluster.remove_csi_node("n0");
  EXPECT_TRUE(row("n0").valid());
  cluster.remove_attachment("va");
  EXPECT_FALSE(row("n0").valid());
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, APodMovesReplacesAndGoes) {
  add_node("n0");
  add_node("n1");
  add_pod("p0", "n0", {"data"});
  EXPECT_EQ(cluster.pod_count(), 1U);
  add_pod("p0", "n1", {"data", "logs"});
  EXPECT_EQ(cluster.pod_count(), 1U);
  EXPECT_EQ(cluster.resources.pod_count()[row("n0").index()], 0);
  EXPECT_EQ(cluster.resources.pod_count()[row("n1").index()], 1);
  EXPECT_EQ(cluster.claims.use_count(claim("logs")), 1);
  add_pod("p0", "", {"data"});
  EXPECT_EQ(cluster.pod_count(), 0U) << "a pod without a node does not count";
  EXPECT_EQ(cluster.claims.use_count(claim("data")), 0);
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, APodsStatusMayChangeWhatItTakes) {
  add_node("n0");
  PodText pod;
  pod.name = "p0";
  pod.node = "n0";
  UsageText usage;
  usage.milli_cpu = 700;
  cluster.put_pod(ProgramText().row(), pod.row(), usage.row());
  EXPECT_EQ(cluster.resources.column(ResourceTable::kCpu).requested[0], 700);
  EXPECT_SOUND(cluster.validate());
  cluster.put_pod(ProgramText().row(), pod.row(), {});
  EXPECT_EQ(cluster.resources.column(ResourceTable::kCpu).requested[0], 100);
  cluster.put_pod(ProgramText().row(), pod.row(), UsageText().row());
  EXPECT_EQ(cluster.resources.column(ResourceTable::kCpu).requested[0], 100);
  cluster.remove_pod("default", "p0");
  EXPECT_EQ(cluster.resources.column(ResourceTable::kCpu).requested[0], 0);
}

TEST_F(ClusterTest, EphemeralClaimsHaveUsersButNoUses) {
  add_node("n0");
  PodText pod;
  pod.name = "p0";
  pod.node = "n0";
  pod.claims = {{"data", false}, {"data", false}, {"p0-scratch", true}};
  cluster.put_pod(ProgramText().row(), pod.row(), {});
  EXPECT_EQ(cluster.claims.use_count(claim("data")), 2) << "one a reference";
  EXPECT_EQ(cluster.claims.use_count(claim("p0-scratch")), 0);
  EXPECT_EQ(cluster.claims.users(claim("p0-scratch")).size(), 1U);
}

TEST_F(ClusterTest, ZonesAreReadFromBetaThenStableLabels) {
  add_node("n0", {{"topology.kubernetes.io/zone", "a"}});
  add_node("n1", {{"topology.kubernetes.io/zone", "a"}});
  add_node("n2", {{"topology.kubernetes.io/zone", "a"}, {"failure-domain.beta.kubernetes.io/zone", "b"}});
  add_node("n3", {{"topology.kubernetes.io/region", "a"}});
  add_node("n4");
  EXPECT_EQ(order(), (Texts{"n0", "n2", "n3", "n4", "n1"}));
}

TEST_F(ClusterTest, AMatchingVolumeZoneLabelIsASelector) {
  add_node("a", {{"topology.kubernetes.io/zone", "a"}});
  add_node("b", {{"topology.kubernetes.io/zone", "b"}});
  add_node("beta", {{"failure-domain.beta.kubernetes.io/zone", "a"}});
  add_node("none");
  const auto allowed = [&](const std::string& key, const std::string& value) {
    const SelectorId id = cluster.zone_selector({cluster.strings.intern(key), cluster.strings.intern(value)});
    if (!id.valid()) return std::set<std::string>{"ignored"};
    return names_of(cluster, cluster.selectors.nodes(id).within(cluster.live()));
  };
  using Names = std::set<std::string>;
  const std::string ga = "topology.kubernetes.io/zone";
  const std::string beta = "failure-domain.beta.kubernetes.io/zone";
  EXPECT_EQ(allowed(ga, "a"), (Names{"a", "none"}))
      << "a node without any zone label passes; beta does not stand in for stable";
  EXPECT_EQ(allowed(beta, "a"), (Names{"a", "beta", "none"})) << "stable stands in for beta";
  EXPECT_EQ(allowed(ga, "a__b"), (Names{"a", "b", "none"}));
  EXPECT_EQ(allowed(ga, " a __ c"), (Names{"a", "none"}));
  for (const char* odd : {"", "__", "a__", "__a", "a____b", " "}) EXPECT_EQ(allowed(ga, odd), Names{"ignored"}) << odd;
  EXPECT_EQ(allowed(ga, "a"), (Names{"a", "none"})) << "asked again";
}

TEST_F(ClusterTest, InTreeVolumesAreReachedAsTheNodeSeesThem) {
  for (const char* name : {"old", "new"}) add_node(name, {{"kind", name}});
  cluster.put_csi_node(CsiNodeText{"new", {"kubernetes.io/disk"}, {}}.row());
  VolumeText volume;
  volume.name = "pv";
  volume.source = VolumeSource::kMigratable;
  volume.plugin = "kubernetes.io/disk";
  volume.affinity = where("kind", {"old"});
  volume.migrated_affinity = where("kind", {"new"});
  cluster.put_volume(volume.row());
  const Volume& stored = cluster.volumes.at(cluster.volumes.find(cluster.strings.find("pv")));
  EXPECT_TRUE(cluster.unreachable(stored, cluster.live()).none());
  cluster.put_csi_node(CsiNodeText{"old", {"kubernetes.io/disk"}, {}}.row());
  EXPECT_EQ(names_of(cluster, cluster.unreachable(stored, cluster.live())), std::set<std::string>{"old"});
  cluster.remove_csi_node("new");
  EXPECT_EQ(names_of(cluster, cluster.unreachable(stored, cluster.live())), (std::set<std::string>{"new", "old"}));
}

TEST_F(ClusterTest, MoreAccessModesThanBitsAreRefused) {
  VolumeText volume;
  volume.name = "pv";
  volume.access_modes.clear();
  for (int mode = 0; mode < 33; ++mode) volume.access_modes.push_back("mode-" + std::to_string(mode));
  EXPECT_EQ(error_of([&] { cluster.put_volume(volume.row()); }),
            "more than 32 different access modes; Kubernetes has four");
  EXPECT_EQ(cluster.digest(), "");
  EXPECT_SOUND(cluster.validate());
}

TEST_F(ClusterTest, BytesAreGivenByPart) {
  add_node("n0");
  add_pod("p0", "n0", {"data"});
  std::set<std::string> parts;
  for (const auto& [part, bytes] : cluster.bytes()) {
    parts.insert(part);
    if (part == "text" || part == "labels" || part == "resources" || part == "claims" || part == "pods" ||
        part == "nodes") {
      EXPECT_GT(bytes, 0U) << part;
    }
  }
  EXPECT_TRUE(parts.contains("text"));
  EXPECT_TRUE(parts.contains("attachments"));
}

// Taints, images, ports, disks and usage under random updates: the sums must come out right and everything must be gone
// in the end.
TEST_F(ClusterTest, RandomNodesAndPodsLeaveNoTraces) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Dice dice(seed);
    cluster = Cluster();
    std::set<std::string> nodes;
    std::set<std::string> pods;
    for (int step = 0; step < 400; ++step) {
      const std::string node_name = "n" + std::to_string(dice.below(9));
      const std::string pod_name = "p" + std::to_string(dice.below(30));
      switch (dice.below(5)) {
        case 0: {
          NodeText text;
          text.name = node_name;
          if (dice.percent(50)) text.labels = {{"topology.kubernetes.io/zone", std::to_string(dice.below(3))}};
          if (dice.percent(30)) text.taints = {{"t", std::to_string(dice.below(3)), TaintEffect::kNoSchedule}};
          if (dice.percent(30)) text.images = {{{"i" + std::to_string(dice.below(3))}, 5}};
          text.is_unschedulable = dice.percent(20);
          cluster.put_node(text.row());
          nodes.insert(node_name);
          break;
        }
        case 1:
          cluster.remove_node(node_name);
          nodes.erase(node_name);
          break;
        case 2:
          cluster.remove_pod("default", pod_name);
          pods.erase(pod_name);
          break;
        default: {
          ProgramText program;
          program.usage.milli_cpu = dice.between(0, 500);
          if (dice.percent(40)) program.ports = {{"TCP", "0.0.0.0", 80 + dice.below32(3)}};
          if (dice.percent(30))
            program.disks = {{DiskKind::kIscsi, "d" + std::to_string(dice.below(3)), "", dice.percent(50), {}}};
          if (dice.percent(30)) program.anti_affinity = {{1, "zone", LabelSelectorText{}, {}, {}}};
          PodText pod;
          pod.name = pod_name;
          pod.node = node_name;
          pod.is_terminating = dice.percent(10);
          pod.labels = {{"app", std::to_string(dice.below(3))}};
          pod.claims = uses_of({"c" + std::to_string(dice.below(4))});
          UsageText usage;
          usage.milli_cpu = 77;
          cluster.put_pod(program.row(), pod.row(), dice.percent(20) ? usage.row() : std::string());
          pods.insert(pod_name);
        }
      }
      ASSERT_SOUND(cluster.validate()) << "seed " << seed << " step " << step;
      ASSERT_EQ(cluster.node_count(), nodes.size());
      ASSERT_EQ(cluster.pod_count(), pods.size());
      ASSERT_LE(cluster.rows(), 9U) << "rows are used again";
    }
    for (const std::string& name : nodes) cluster.remove_node(name);
    for (const std::string& name : pods) cluster.remove_pod("default", name);
    EXPECT_EQ(cluster.digest(), "");
    NodeMask taken(cluster.rows());
    for (std::uint32_t port = 80; port < 83; ++port) {
      cluster.ports.add_conflicts({cluster.strings.intern("TCP"), cluster.ports.any_ip(), port}, taken);
    }
    for (const char* disk : {"d0", "d1", "d2"}) {
      cluster.disks.add_conflicts({DiskKind::kIscsi, cluster.strings.intern(disk), StringPool::kEmpty, false, {}},
                                  taken);
    }
    EXPECT_TRUE(taken.none());
    for (std::size_t kind = 0; kind < cluster.kinds.size(); ++kind)
      EXPECT_TRUE(cluster.kinds.at(KindId(kind)).places.empty());
    EXPECT_SOUND(cluster.validate());
  }
}

}  // namespace
}  // namespace volsched::test
