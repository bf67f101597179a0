// The storage rows of spec/scheduling.md 13 (traps) and 7.2 (limits) by number, each as small as it can be said.

#include "storage_twin.hpp"

namespace volsched::test {
namespace {

constexpr const char* kBind = "node(s) didn't find available persistent volumes to bind";
constexpr const char* kAffinity = "node(s) didn't match PersistentVolume's node affinity";
constexpr const char* kStorage = "node(s) did not have enough free storage";
constexpr const char* kMissing = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
constexpr const char* kFull = "node(s) exceed max volume count";

class StorageTraps : public testing::Test {
 protected:
  World world;

  void SetUp() override {
    world.put(NodeText{.name = "a", .labels = {{"zone", "a"}}});
    world.put(NodeText{.name = "b", .labels = {{"zone", "b"}}});
    world.put(ClassText{.name = "static", .provisioner = "kubernetes.io/no-provisioner"});
    world.put(ClassText{.name = "fast"});
  }
  static PodOnNode pod(const Texts& claims, const std::string& name = "p") {
    return {{}, {.name = name, .uid = "uid-" + name, .claims = uses_of(claims)}};
  }
  PlainDecision decide(const PodOnNode& pending) { return plain(*world.engine, world.decide(pending)); }
  std::string refusal(const PodOnNode& pending) {
    const PlainDecision decision = decide(pending);
    return decision.refusal ? decision.refusal->plugin + ": " + decision.refusal->reasons.at(0) : "";
  }
  Texts reasons(const PodOnNode& pending, const std::string& node_name) {
    const PlainDecision decision = decide(pending);
    return decision.verdicts.contains(node_name) ? decision.verdicts.at(node_name).reasons : Texts{"no verdict"};
  }
  std::string bound(const PodOnNode& pending, const std::string& node_name, const std::string& claim_key) {
    const PlainDecision decision = decide(pending);
    if (!decision.bind.contains(node_name)) return {};
    for (const auto& [key, volume_name] : decision.bind.at(node_name)) {
      if (key == claim_key) return volume_name;
    }
    return {};
  }
  void claim(const std::string& name, std::int64_t gibibytes = 5, const std::string& storage_class = "static") {
    world.put(ClaimText{.name = name, .uid = "uid-" + name, .storage_class = storage_class, .bytes = gibibytes * kGi});
  }
  void volume(const std::string& name, std::int64_t gibibytes = 10, const std::optional<SelectorText>& affinity = {}) {
    world.put(VolumeText{.name = name, .storage_class = "static", .bytes = gibibytes * kGi, .affinity = affinity});
  }
  /// A claim that is fully bound to a CSI volume.
  void bound_claim(const std::string& name, const std::string& handle, const std::string& driver = "csi") {
    world.put(VolumeText{.name = "pv-" + name,
                         .storage_class = "static",
                         .phase = "Bound",
                         .source = VolumeSource::kCsi,
                         .driver = driver,
                         .handle = handle});
    world.put(ClaimText{.name = name,
                        .uid = "uid-" + name,
                        .storage_class = "static",
                        .volume = "pv-" + name,
                        .is_bind_completed = true});
  }
};

// PreFilter (13: 1 to 5)
// -------------------------------------------------------------------------------------------------------------------

TEST_F(StorageTraps, AClaimOfAClassThatDoesNotExistCountsAsImmediate) {
  claim("data", 5, "nowhere");
  EXPECT_EQ(refusal(pod({"data"})), "VolumeBinding: pod has unbound immediate PersistentVolumeClaims");
}

TEST_F(StorageTraps, AVolumeNameWithoutTheAnnotationIsNotBound) {
  volume("pv");
  world.put(ClaimText{.name = "data", .storage_class = "static", .volume = "pv"});
  EXPECT_EQ(refusal(pod({"data"})), "VolumeBinding: pod has unbound immediate PersistentVolumeClaims");
}

TEST_F(StorageTraps, AMissingVolumeIsVolumeZonesForClaimsAndVolumeBindingsForEphemeralOnes) {
  ClaimText text{.name = "data", .storage_class = "static", .volume = "gone", .is_bind_completed = true};
  world.put(text);
  EXPECT_EQ(refusal(pod({"data"})), "VolumeZone: persistentvolume \"gone\" not found");
  text.owner_uid = "uid-p";
  world.put(text);
  PodOnNode pending = pod({});
  pending.pod.claims = {{"data", true}};
  EXPECT_EQ(reasons(pending, "a"), Texts{kMissing});
}

TEST_F(StorageTraps, MissingClaimsAreReportedByTheFirstWhoLooks) {
  EXPECT_EQ(refusal(pod({"data"})), "VolumeRestrictions: persistentvolumeclaim \"data\" not found");
  PodOnNode pending = pod({});
  pending.pod.claims = {{"p-data", true}};
  EXPECT_EQ(refusal(pending),
            "VolumeBinding: waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-data\"");
}

TEST_F(StorageTraps, AClassWithoutAModeIsAnError) {
  world.put(ClassText{.name = "odd", .mode = BindingMode::kUnset});
  claim("data", 5, "odd");
  EXPECT_EQ(decide(pod({"data"})).error,
            "running PreFilter plugin \"VolumeBinding\": VolumeBindingMode not set for StorageClass \"odd\"");
}

TEST_F(StorageTraps, ForeignEphemeralClaimsAreRefused) {
  claim("p-data");
  PodOnNode pending = pod({});
  pending.pod.claims = {{"p-data", true}};
  EXPECT_EQ(refusal(pending), "VolumeBinding: PVC default/p-data was not created for pod default/p (pod is not owner)");
}

// Matching (13: 6 to 16)
// -------------------------------------------------------------------------------------------------------------------

TEST_F(StorageTraps, ASelectedNodeThatIsGoneFitsNowhere) {
  world.put(ClaimText{.name = "data", .storage_class = "fast", .selected_node = "gone"});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kBind});
  EXPECT_EQ(reasons(pod({"data"}), "b"), Texts{kBind});
}

TEST_F(StorageTraps, ASelectedNodeProvisionsThereThoughAVolumeWouldMatch) {
  world.put(VolumeText{.name = "pv", .storage_class = "fast"});
  world.put(ClaimText{.name = "data", .storage_class = "fast", .selected_node = "a"});
  const PlainDecision decision = decide(pod({"data"}));
  EXPECT_TRUE(decision.bind.empty());
  EXPECT_EQ(decision.provision.at("a"), (PlainDecision::Steps{{"default/data", ""}}));
  EXPECT_EQ(decision.verdicts.at("b").reasons, Texts{kBind});
}

TEST_F(StorageTraps, TwoReasonsOnOneNode) {
  world.put(VolumeText{.name = "pv", .storage_class = "static", .phase = "Bound", .affinity = where("zone", {"a"})});
  world.put(ClaimText{.name = "bound", .storage_class = "static", .volume = "pv", .is_bind_completed = true});
  world.put(ClaimText{.name = "data", .storage_class = "fast", .selected_node = "a"});
  EXPECT_EQ(reasons(pod({"bound", "data"}), "a"), Texts());
  EXPECT_EQ(reasons(pod({"bound", "data"}), "b"), (Texts{kAffinity, kBind}));
}

TEST_F(StorageTraps, WithoutAProvisionerItIsTheBindReasonWithOneTheStorageReason) {
  claim("none");
  EXPECT_EQ(reasons(pod({"none"}), "a"), Texts{kBind});
  world.put(CsiDriverText{"csi.example.com", true, false});
  claim("small", 5, "fast");
  EXPECT_EQ(reasons(pod({"small"}), "a"), Texts{kStorage});
}

TEST_F(StorageTraps, APreboundVolumeNeedsOnlySizeModeAndNode) {
  world.put(VolumeText{.name = "pv",
                       .storage_class = "static",
                       .access_modes = {"ReadOnlyMany"},
                       .claim = ClaimRefText{"default", "data", ""},
                       .phase = "Pending"});
  claim("data");
  EXPECT_EQ(bound(pod({"data"}), "a", "default/data"), "pv");
  world.put(
      VolumeText{.name = "pv", .storage_class = "static", .bytes = kGi, .claim = ClaimRefText{"default", "data", ""}});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kBind}) << "but it must be large enough";
}

TEST_F(StorageTraps, APreboundVolumeElsewhereBlocksOthers) {
  volume("free");
  world.put(VolumeText{.name = "mine",
                       .storage_class = "static",
                       .claim = ClaimRefText{"default", "data", "uid-data"},
                       .affinity = where("zone", {"b"})});
  claim("data");
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kBind});
  EXPECT_EQ(bound(pod({"data"}), "b", "default/data"), "mine");
}

TEST_F(StorageTraps, AnotherUidIsAnotherClaim) {
  world.put(VolumeText{
      .name = "pv", .storage_class = "static", .claim = ClaimRefText{"default", "data", "uid-of-an-older-one"}});
  claim("data");
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kBind});
}

TEST_F(StorageTraps, SmallClaimsChooseFirst) {
  volume("ten", 10);
  claim("large", 10);
  claim("small", 5);
  EXPECT_EQ(reasons(pod({"large", "small"}), "a"), Texts{kBind}) << "the small one takes it";
  volume("twenty", 20);
  const PlainDecision decision = decide(pod({"large", "small"}));
  EXPECT_EQ(decision.bind.at("a"), (PlainDecision::Steps{{"default/small", "ten"}, {"default/large", "twenty"}}));
}

TEST_F(StorageTraps, SizesAreComparedExactly) {
  world.put(VolumeText{.name = "pv", .storage_class = "static", .bytes = kGi});
  world.put(ClaimText{.name = "data", .storage_class = "static", .bytes = 1000000000});
  EXPECT_EQ(bound(pod({"data"}), "a", "default/data"), "pv");
  world.put(VolumeText{.name = "pv", .storage_class = "static", .bytes = 1000000000});
  world.put(ClaimText{.name = "data", .storage_class = "static", .bytes = kGi});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kBind});
}

TEST_F(StorageTraps, AClaimUsedTwiceIsMatchedTwice) {
  volume("ten", 10);
  volume("twenty", 20);
  claim("data");
  const Decision decision = world.decide(pod({"data", "data"}));
  const Plan plan = world.engine->plan(decision, world.row_of("a"));
  ASSERT_EQ(plan.bind.size(), 2U);
  EXPECT_NE(plan.bind[0].volume, plan.bind[1].volume);
  world.remove_volume("twenty");
  EXPECT_EQ(reasons(pod({"data", "data"}), "a"), Texts{kBind});
}

TEST_F(StorageTraps, AClaimUsedTwiceWithAReservedVolumeTakesAnotherForTheSecond) {
  volume("free", 20);
  world.put(
      VolumeText{.name = "mine", .storage_class = "static", .claim = ClaimRefText{"default", "data", "uid-data"}});
  claim("data");
  const Plan plan = world.engine->plan(world.decide(pod({"data", "data"})), world.row_of("a"));
  ASSERT_EQ(plan.bind.size(), 2U);
  EXPECT_EQ(world.cluster().strings.view(world.cluster().volumes.at(plan.bind[0].volume).name), "mine");
  EXPECT_EQ(world.cluster().strings.view(world.cluster().volumes.at(plan.bind[1].volume).name), "free");
}

TEST_F(StorageTraps, EachClaimIsTestedAloneAgainstThePool) {
  world.put(CsiDriverText{"csi.example.com", true, false});
  world.put(CapacityText{.name = "pool", .storage_class = "fast", .capacity = 100 * kGi});
  for (const char* name : {"one", "two", "three"}) claim(name, 60, "fast");
  const PlainDecision decision = decide(pod({"one", "two", "three"}));
  EXPECT_EQ(decision.verdicts.at("a"), NodeVerdict());
  EXPECT_EQ(decision.scores.at("a").at("VolumeBinding"), 0) << "but 180 of 100 are full";
  EXPECT_EQ(decide(pod({"one"})).scores.at("a").at("VolumeBinding"), 40);
}

// Capacity (13: 17 to 21)
// ------------------------------------------------------------------------------------------------------------------

TEST_F(StorageTraps, LimitsOfPools) {
  world.put(CsiDriverText{"csi.example.com", true, false});
  claim("data", 60, "fast");
  const auto with = [&](const CapacityText& pool) {
    world.put(pool);
    return reasons(pod({"data"}), "a");
  };
  CapacityText pool{.space = "csi", .name = "pool", .storage_class = "fast", .capacity = 1000 * kGi};
  EXPECT_EQ(with(pool), Texts()) << "in any namespace";
  pool.maximum = 50 * kGi;
  EXPECT_EQ(with(pool), Texts{kStorage}) << "the maximum counts, not the capacity";
  pool.maximum = 60 * kGi;
  pool.capacity = std::nullopt;
  EXPECT_EQ(with(pool), Texts());
  pool.maximum = std::nullopt;
  EXPECT_EQ(with(pool), Texts{kStorage}) << "neither";
  pool.capacity = 1000 * kGi;
  pool.topology = std::nullopt;
  EXPECT_EQ(with(pool), Texts{kStorage}) << "no topology serves no node";
  pool.topology = LabelSelectorText{};
  EXPECT_EQ(with(pool), Texts()) << "an empty one serves all";
  pool.topology = LabelSelectorText{{}, {{"zone", Op::kGt, {"1"}}}, "no selector"};
  EXPECT_EQ(with(pool), Texts{kStorage}) << "an invalid one serves none";
  world.remove_driver("csi.example.com");
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts()) << "without the CSIDriver nothing is asked";
}

TEST_F(StorageTraps, AClaimWithoutARequestNeedsNoPool) {
  world.put(CsiDriverText{"csi.example.com", true, false});
  world.put(ClaimText{.name = "data", .storage_class = "fast", .has_request = false});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts());
}

TEST_F(StorageTraps, StaticMatchesAreScoredBeforeProvisionedOnes) {
  world.put(CsiDriverText{"csi.example.com", true, false});
  world.put(CapacityText{.name = "pool", .storage_class = "fast", .capacity = 100 * kGi});
  volume("pv", 10, where("zone", {"a"}));
  claim("existing", 5);
  claim("new", 10, "fast");
  EXPECT_EQ(decide(pod({"existing", "new"})).scores.at("a").at("VolumeBinding"), 50) << "5 of 10; the pool is left out";
}

// Topology (13: 22 to 28)
// ------------------------------------------------------------------------------------------------------------------

TEST_F(StorageTraps, AnEmptyAllowedTermMatchesNoNode) {
  claim("data", 5, "fast");
  world.put(ClassText{.name = "fast", .allowed = {{}}});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kBind});
  world.put(ClassText{.name = "fast", .allowed = {{{"zone", {"a"}}}}});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts());
  EXPECT_EQ(reasons(pod({"data"}), "b"), Texts{kBind});
}

TEST_F(StorageTraps, VolumeAffinitiesThatLookOdd) {
  claim("data");
  const auto nodes = [&](const std::optional<SelectorText>& affinity) {
    volume("pv", 10, affinity);
    std::set<std::string> found;
    for (const auto& [name, plans] : decide(pod({"data"})).bind) found.insert(name);
    return found;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(nodes(std::nullopt), (Names{"a", "b"}));
  EXPECT_EQ(nodes(SelectorText{}), Names()) << "zero terms";
  EXPECT_EQ(nodes(SelectorText{{{}, {{"metadata.name", Op::kIn, {"a"}}}}}), (Names{"a", "b"})) << "fields alone";
  EXPECT_EQ(nodes(SelectorText{{{{"rack", Op::kNotIn, {"1"}}}, {}}}), (Names{"a", "b"})) << "NotIn without the label";
  EXPECT_EQ(nodes(SelectorText{{{{"zone", Op::kGt, {"1"}}}, {}}}), Names()) << "Gt on text";
  EXPECT_EQ(nodes(SelectorText{{{{"zone", Op::kIn, {}}}, {}}, {{{"zone", Op::kIn, {"b"}}}, {}}}), Names{"b"})
      << "one invalid term";
}

TEST_F(StorageTraps, ZoneLabelsAreStrippedAndAliased) {
  world.put(NodeText{.name = "z", .labels = {{"topology.kubernetes.io/zone", "b"}}});
  bound_claim("data", "h");
  VolumeText text = world.volumes.at("pv-data");
  text.labels = {{"topology.kubernetes.io/zone", "a__b"}};
  world.put(text);
  EXPECT_EQ(reasons(pod({"data"}), "z"), Texts());
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts()) << "a node without any zone label";
  text.labels = {{"failure-domain.beta.kubernetes.io/zone", "b"}};
  world.put(text);
  EXPECT_EQ(reasons(pod({"data"}), "z"), Texts());
  text.labels = {{"failure-domain.beta.kubernetes.io/zone", "c"}};
  world.put(text);
  EXPECT_EQ(reasons(pod({"data"}), "z"), Texts{"node(s) had no available volume zone"});
}

TEST_F(StorageTraps, AFailingTranslationFailsTheCycleWhereThePluginIsMigrated) {
  VolumeText text{.name = "pv", .storage_class = "static", .phase = "Bound"};
  text.source = VolumeSource::kMigratable;
  text.plugin = "kubernetes.io/disk";
  text.translation_error = "no zone";
  world.put(text);
  world.put(ClaimText{.name = "data", .storage_class = "static", .volume = "pv", .is_bind_completed = true});
  EXPECT_EQ(decide(pod({"data"})).error, "") << "no node has migrated it";
  world.put(CsiNodeText{"b", {"kubernetes.io/disk"}, {}});
  EXPECT_EQ(decide(pod({"data"})).error, "running \"VolumeBinding\" filter plugin: could not translate pv: no zone");
}

// One pod only (13: 30 to 32)
// --------------------------------------------------------------------------------------------------------------

TEST_F(StorageTraps, AClaimForOnePodIsFreeWhenItsHolderGoes) {
  bound_claim("data", "h");
  ClaimText text = world.claims.at("default/data");
  text.access_modes = {"ReadWriteOncePod"};
  world.put(text);
  PodOnNode holder = pod({"data"}, "holder");
  holder.pod.node = "b";
  world.put(holder);
  const PlainDecision decision = decide(pod({"data"}));
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(decision.verdicts.at(name).plugin, "VolumeRestrictions");
    EXPECT_EQ(decision.verdicts.at(name).code, Code::kUnschedulable);
  }
  world.remove_pod("default", "holder");
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts());
}

// Limits (7.2; 13: 33, 34)
// -----------------------------------------------------------------------------------------------------------------

TEST_F(StorageTraps, AVolumeAttachedWithoutAPodCountsTwice) {
  bound_claim("data", "h");
  world.put(AttachmentText{"va", "a", "csi", "pv-data"});
  world.put(CsiNodeText{"a", {}, {{"csi", 2}}});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts()) << "1 + 1";
  world.put(CsiNodeText{"a", {}, {{"csi", 1}}});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kFull}) << "though it is attached already";
  PodOnNode user = pod({"data"}, "user");
  user.pod.node = "a";
  world.put(user);
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts()) << "with a pod there it is not new";
}

TEST_F(StorageTraps, NodesWithoutCsiNodeHaveNoLimitsUnlessTheDriverMustBeThere) {
  bound_claim("data", "h");
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts());
  world.put(CsiDriverText{"csi", false, true});
  const NodeVerdict missing{"NodeVolumeLimits", Code::kUnschedulable, {"csi CSI driver is not installed on the node"}};
  EXPECT_EQ(decide(pod({"data"})).verdicts.at("a"), missing);
  world.put(CsiNodeText{"a", {}, {}});
  EXPECT_EQ(decide(pod({"data"})).verdicts.at("a"), missing) << "a CSINode that does not list it";
  world.put(CsiNodeText{"a", {}, {{"csi", std::nullopt}}});
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts());
}

TEST_F(StorageTraps, OfSeveralMissingDriversTheFirstByNameIsReported) {
  bound_claim("one", "h", "z.csi");
  bound_claim("two", "h", "a.csi");
  for (const char* name : {"z.csi", "a.csi"}) world.put(CsiDriverText{name, false, true});
  EXPECT_EQ(reasons(pod({"one", "two"}), "a"), Texts{"a.csi CSI driver is not installed on the node"});
}

TEST_F(StorageTraps, SharedVolumesCountOnceAndDriversApart) {
  world.put(CsiNodeText{"a", {}, {{"csi", 2}, {"other", 1}}});
  bound_claim("one", "h1");
  bound_claim("same", "h1");
  bound_claim("two", "h2");
  bound_claim("three", "h3");
  bound_claim("foreign", "h1", "other");
  EXPECT_EQ(reasons(pod({"one", "same", "two", "foreign"}), "a"), Texts());
  EXPECT_EQ(reasons(pod({"one", "two", "three"}), "a"), Texts{kFull});
  PodOnNode user = pod({"one", "two"}, "user");
  user.pod.node = "a";
  world.put(user);
  EXPECT_EQ(reasons(pod({"one", "same", "two"}), "a"), Texts());
  EXPECT_EQ(reasons(pod({"one", "three"}), "a"), Texts{kFull});
}

TEST_F(StorageTraps, AClaimWithoutAVolumeCountsForItsProvisioner) {
  world.put(CsiNodeText{"a", {}, {{"csi.example.com", 0}}});
  claim("data", 5, "fast");
  EXPECT_EQ(reasons(pod({"data"}), "a"), Texts{kFull});
  EXPECT_EQ(reasons(pod({"data"}), "b"), Texts());
}

TEST_F(StorageTraps, InlineVolumesCountWhereACsiNodeIs) {
  PodOnNode pending = pod({});
  pending.program.inline_volumes = {{"disk.csi", "h", ""}};
  world.put(CsiNodeText{"a", {}, {{"disk.csi", 0}}});
  EXPECT_EQ(reasons(pending, "a"), Texts{kFull});
  EXPECT_EQ(reasons(pending, "b"), Texts());
  pending.program.inline_volumes = {{"", "", "bad disk"}};
  EXPECT_EQ(decide(pending).error, "running \"NodeVolumeLimits\" filter plugin: bad disk");
  world.remove_csi_node("a");
  EXPECT_EQ(decide(pending).error, "");
}

TEST_F(StorageTraps, APodWithAForeignEphemeralClaimMakesANodeWithLimitsUncountable) {
  claim("user-data");
  PodOnNode user = pod({}, "user");
  user.pod.node = "a";
  user.pod.claims = {{"user-data", true}};
  world.put(user);
  bound_claim("data", "h");
  EXPECT_EQ(decide(pod({"data"})).error, "") << "a node without limits is not counted";
  world.put(CsiNodeText{"a", {}, {{"csi", 5}}});
  EXPECT_EQ(decide(pod({"data"})).error,
            "running \"NodeVolumeLimits\" filter plugin: PVC default/user-data was not created for pod default/user "
            "(pod is not owner)");
  EXPECT_EQ(decide(pod({})).error, "") << "a pod without volumes does not ask";
  ClaimText owned = world.claims.at("default/user-data");
  owned.owner_uid = "uid-user";
  world.put(owned);
  EXPECT_EQ(decide(pod({"data"})).error, "");
  owned.owner_uid = "";
  world.put(owned);
  EXPECT_NE(decide(pod({"data"})).error, "");
  world.remove_pod("default", "user");
  EXPECT_EQ(decide(pod({"data"})).error, "");
  ASSERT_SOUND(world.cluster().validate());
}

}  // namespace
}  // namespace volsched::test
