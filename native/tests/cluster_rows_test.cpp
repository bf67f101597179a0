// The border of a Cluster: rows cut short at every byte, rows with something left over, rows with bytes turned at
// random. Each is refused with an error that names its kind, or is a row of its own right; a refused row changes
// nothing.

#include <functional>

#include "support.hpp"

namespace volsched::test {
namespace {

struct KindOfRow {
  std::string name;  ///< as it stands in errors
  std::string row;
  std::function<void(Cluster&, std::string_view)> put;
};

ProgramText rich_program() {
  ProgramText text;
  text.tolerations = {{Toleration::Op::kExists, "gpu", "", TaintEffect::kNoSchedule}};
  text.node_selector = Pairs{{"disk", "ssd"}};
  text.required = where("zone", {"a"});
  text.name_set = Texts{"n1"};
  text.preferred = std::vector<ProgramText::Preferred>{{10, {{{"zone", Op::kIn, {"b"}}}, {}}}};
  text.ports = {{"UDP", "10.0.0.1", 53}};
  text.usage.scalars = {{"example.com/gpu", 2}};
  text.images = {"db:1"};
  text.features = {"F"};
  text.inline_volumes = {{"disk.csi", "vol-1", ""}, {"", "", "no"}};
  text.disks = {{DiskKind::kRbd, "image", "pool", true, {"m1"}}};
  text.spread = {{"zone", 2, 3, SpreadMode::kHard, false, true, LabelSelectorText{{{"app", "db"}}, {}}}};
  text.affinity = {{1, "zone", LabelSelectorText{{{"app", "db"}}, {}}, {"other"}, LabelSelectorText{}}};
  return text;
}

std::vector<KindOfRow> kinds() {
  NodeText node_text{.name = "n1", .labels = {{"zone", "a"}}, .taints = {{"t", "v", TaintEffect::kNoExecute}}};
  node_text.scalars = {{"example.com/gpu", 1}};
  node_text.images = {{{"db:1"}, 5}};
  node_text.features = {"F"};
  VolumeText volume{.name = "pv1", .storage_class = "fast"};
  volume.claim = ClaimRefText{"default", "c1", "u"};
  volume.labels = {{"tier", "x"}};
  volume.affinity = SelectorText{{{{"zone", Op::kIn, {"a"}}}, {{"metadata.name", Op::kIn, {"n1"}}}}};
  volume.source = VolumeSource::kMigratable;
  volume.plugin = "kubernetes.io/disk";
  volume.driver = "disk.csi";
  volume.handle = "h";
  volume.migrated_affinity = where("zone", {"b"});
  ClaimText claim{.name = "c1", .uid = "u", .storage_class = "fast"};
  claim.selector = LabelSelectorText{{{"tier", "x"}}, {{"tier", Op::kExists, {}}}};
  claim.volume = "pv1";
  claim.selected_node = "n1";
  ClassText storage_class{.name = "fast"};
  storage_class.allowed = {{{"zone", {"a", "b"}}}};
  CapacityText capacity{.name = "pool", .storage_class = "fast"};
  capacity.topology = LabelSelectorText{{{"zone", "a"}}, {}};
  capacity.maximum = 5;
  PodText pod{.name = "p1", .uid = "u", .node = "n1", .labels = {{"app", "db"}}};
  pod.claims = uses_of({"c1"});
  UsageText usage;
  usage.scalars = {{"example.com/gpu", 1}};
  const auto simple = [](void (Cluster::*put)(std::string_view)) {
    return [put](Cluster& cluster, std::string_view row) { (cluster.*put)(row); };
  };
  return {
      {"node", node_text.row(), simple(&Cluster::put_node)},
      {"PersistentVolume", volume.row(), simple(&Cluster::put_volume)},
      {"PersistentVolumeClaim", claim.row(), simple(&Cluster::put_claim)},
      {"StorageClass", storage_class.row(), simple(&Cluster::put_class)},
      {"CSINode", CsiNodeText{"n1", {"kubernetes.io/disk"}, {{"disk.csi", 4}, {"fast.csi", std::nullopt}}}.row(),
       simple(&Cluster::put_csi_node)},
      {"CSIDriver", CsiDriverText{"fast.csi", true, true}.row(), simple(&Cluster::put_csi_driver)},
      {"CSIStorageCapacity", capacity.row(), simple(&Cluster::put_capacity)},
      {"VolumeAttachment", AttachmentText{"va", "n1", "fast.csi", "pv1"}.row(), simple(&Cluster::put_attachment)},
      {"Service", ServiceText{"default", "web", Pairs{{"app", "db"}}}.row(), simple(&Cluster::put_service)},
      {"controller", ControllerText{OwnerKind::kReplicaSet, "default", "web", {{{"app", "db"}}, {}}}.row(),
       simple(&Cluster::put_controller)},
      {"Namespace", NamespaceText{"default", {{"team", "x"}}}.row(), simple(&Cluster::put_namespace)},
      {"pod template", rich_program().row(),
       [pod](Cluster& cluster, std::string_view row) { cluster.put_pod(row, pod.row(), {}); }},
      {"pod", pod.row(),
       [](Cluster& cluster, std::string_view row) { cluster.put_pod(rich_program().row(), row, {}); }},
      {"pod usage", usage.row(),
       [pod](Cluster& cluster, std::string_view row) { cluster.put_pod(rich_program().row(), pod.row(), row); }},
  };
}

/// A cluster that has every kind of object already.
Cluster filled() {
  Cluster cluster;
  for (const KindOfRow& kind : kinds()) kind.put(cluster, kind.row);
  return cluster;
}

TEST(ClusterRows, WholeRowsAreTaken) {
  Cluster cluster = filled();
  EXPECT_EQ(cluster.node_count(), 1U);
  EXPECT_EQ(cluster.pod_count(), 1U);
  EXPECT_SOUND(cluster.validate());
  const std::string digest = cluster.digest();
  for (const KindOfRow& kind : kinds()) {
    if (kind.name == "pod usage") continue;  // the others put the pod without it
    kind.put(cluster, kind.row);
  }
  kinds().back().put(cluster, kinds().back().row);
  EXPECT_EQ(cluster.digest(), digest) << "the same objects again";
}

TEST(ClusterRows, RowsCutShortAnywhereAreRefusedAndChangeNothing) {
  for (const KindOfRow& kind : kinds()) {
    Cluster cluster = filled();
    const std::string digest = cluster.digest();
    const std::uint64_t generation = cluster.generation();
    for (std::size_t length = kind.name == "pod usage" ? 1 : 0; length < kind.row.size(); ++length) {
      // an exact copy on the heap, so that reading past its end is seen by the sanitizer
      const std::vector<char> cut(kind.row.begin(), kind.row.begin() + static_cast<std::ptrdiff_t>(length));
      const std::string error = error_of([&] { kind.put(cluster, {cut.data(), cut.size()}); });
      ASSERT_EQ(error.rfind("malformed " + kind.name + " row: ", 0), 0U)
          << kind.name << " at " << length << ": " << error;
    }
    EXPECT_EQ(cluster.generation(), generation) << kind.name;
    EXPECT_EQ(cluster.digest(), digest) << kind.name;
    EXPECT_SOUND(cluster.validate());
  }
}

TEST(ClusterRows, RowsWithSomethingLeftOverAreRefusedAndChangeNothing) {
  for (const KindOfRow& kind : kinds()) {
    Cluster cluster = filled();
    const std::string digest = cluster.digest();
    EXPECT_EQ(error_of([&] { kind.put(cluster, kind.row + std::string(1, '\0')); }),
              "malformed " + kind.name + " row: 1 bytes left over");
    EXPECT_EQ(cluster.digest(), digest) << kind.name;
    EXPECT_SOUND(cluster.validate());
  }
}

TEST(ClusterRows, TurnedBytesNeverBreakTheCluster) {
  Dice dice(12);
  std::size_t refused = 0;
  std::size_t taken = 0;
  for (const KindOfRow& kind : kinds()) {
    Cluster cluster = filled();
    for (int round = 0; round < 150; ++round) {
      std::string row = kind.row;
      for (std::size_t more = 1 + dice.below(3); more > 0; --more) {
        row[dice.below(row.size())] = static_cast<char>(dice.percent(50) ? dice.below(256) : dice.below(4));
      }
      const std::string before = cluster.digest();
      try {
        kind.put(cluster, row);
        ++taken;
      } catch (const Error&) {
        ++refused;
        ASSERT_EQ(cluster.digest(), before) << kind.name;
      }
      if (round % 10 == 0) {
        ASSERT_SOUND(cluster.validate()) << kind.name;
      }
    }
    ASSERT_SOUND(cluster.validate()) << kind.name;
  }
  EXPECT_GT(refused, 100U);
  EXPECT_GT(taken, 100U);
}

}  // namespace
}  // namespace volsched::test
