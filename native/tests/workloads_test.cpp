// Services, controllers and namespaces: the selector by which pods spread that say nothing of it, and namespaces by
// label.

#include "volsched/workloads.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

class WorkloadTest : public testing::Test {
 protected:
  StringPool strings;
  LabelSets sets;
  WorkloadTable table;

  StringId id(const std::string& text) { return strings.intern(text); }
  Labels labels(const Pairs& pairs) {
    Labels made;
    for (const auto& [key, value] : pairs) made.push_back({id(key), id(value)});
    sort_labels(made);
    return made;
  }
  LabelSelector selector(const LabelSelectorText& text) {
    Packer to;
    pack(to, text);
    RowReader reader("selector", to.bytes());
    return read_label_selector(reader, strings);
  }
  void service(const std::string& name, const std::optional<Pairs>& selects, const std::string& space = "default") {
    table.put_service(id(space), id(name), selects.has_value(), labels(selects.value_or(Pairs{})));
  }
  Term merged(const Pairs& pod, const OwnerRef& owner = {}, const std::string& space = "default") {
    return table.default_selector(id(space), labels(pod), owner);
  }
  bool selects(const Term& term, const Pairs& pod) { return matches(term, labels(pod), strings); }
};

TEST_F(WorkloadTest, NothingSelectsAPodOfNobody) {
  EXPECT_TRUE(merged({{"app", "db"}}).empty());
  service("web", Pairs{{"app", "web"}});
  EXPECT_TRUE(merged({{"app", "db"}}).empty());
  EXPECT_TRUE(merged({{"app", "web"}}, {}, "other").empty()) << "services of other namespaces do not count";
}

TEST_F(WorkloadTest, ServicesThatSelectThePodAreMerged) {
  service("web", Pairs{{"app", "web"}});
  service("front", Pairs{{"tier", "front"}});
  service("none", std::nullopt);
  const Term term = merged({{"app", "web"}, {"tier", "front"}});
  EXPECT_EQ(term.size(), 2U);
  EXPECT_TRUE(selects(term, {{"app", "web"}, {"tier", "front"}, {"x", "y"}}));
  EXPECT_FALSE(selects(term, {{"app", "web"}}));
  EXPECT_EQ(merged({{"app", "web"}}).size(), 1U);
  table.remove_service(id("default"), id("web"));
  EXPECT_TRUE(merged({{"app", "web"}}).empty());
}

TEST_F(WorkloadTest, AControllersSelectorCountsWithoutBeingTested) {
  table.put_controller(OwnerKind::kReplicaSet, id("default"), id("rs"),
                       selector({{{"app", "web"}}, {{"tier", Op::kNotIn, {"back"}}}}));
  const OwnerRef owner{OwnerKind::kReplicaSet, id("rs")};
  EXPECT_EQ(merged({{"something", "else"}}, owner).size(), 2U);
  EXPECT_TRUE(merged({}, {OwnerKind::kStatefulSet, id("rs")}).empty()) << "kinds do not meet";
  EXPECT_TRUE(merged({}, {OwnerKind::kReplicaSet, id("other")}).empty());
  EXPECT_TRUE(merged({}, owner, "other").empty());
  table.remove_controller(OwnerKind::kReplicaSet, id("default"), id("rs"));
  EXPECT_TRUE(merged({}, owner).empty());
}

TEST_F(WorkloadTest, AReplicationControllersValuesReplaceThoseOfServices) {
  service("web", Pairs{{"app", "web"}});
  table.put_controller(OwnerKind::kReplicationController, id("default"), id("rc"), selector({{{"app", "db"}}, {}}));
  table.put_controller(OwnerKind::kReplicaSet, id("default"), id("rs"), selector({{{"app", "db"}}, {}}));
  const Term replaced = merged({{"app", "web"}}, {OwnerKind::kReplicationController, id("rc")});
  EXPECT_EQ(replaced.size(), 1U);
  EXPECT_TRUE(selects(replaced, {{"app", "db"}}));
  EXPECT_EQ(merged({{"app", "web"}}, {OwnerKind::kReplicaSet, id("rs")}).size(), 2U)
      << "others are added and select nothing together";
}

TEST_F(WorkloadTest, AnInvalidControllerSelectorIsLeftOut) {
  table.put_controller(OwnerKind::kStatefulSet, id("default"), id("db"),
                       selector({{}, {{"app", Op::kIn, {}}}, "no selector"}));
  EXPECT_TRUE(merged({}, {OwnerKind::kStatefulSet, id("db")}).empty());
}

TEST_F(WorkloadTest, NamespacesAreFoundByLabel) {
  table.put_namespace(id("a"), sets.intern(labels({{"team", "x"}})));
  table.put_namespace(id("b"), sets.intern(labels({{"team", "y"}})));
  EXPECT_EQ(table.labels_of(id("a")), sets.intern(labels({{"team", "x"}})));
  EXPECT_EQ(table.labels_of(id("unknown")), LabelSets::kEmpty);
  const auto named = [&](const LabelSelectorText& text) {
    return table.namespaces_matching(selector(text).requirements, sets, strings);
  };
  EXPECT_EQ(named({{{"team", "x"}}, {}}), std::vector<StringId>{id("a")});
  EXPECT_EQ(named({}).size(), 2U);
  table.put_namespace(id("a"), LabelSets::kEmpty);
  EXPECT_TRUE(named({{{"team", "x"}}, {}}).empty());
  table.remove_namespace(id("b"));
  EXPECT_EQ(named({}), std::vector<StringId>{id("a")});
}

TEST_F(WorkloadTest, VersionsTellCachesWhatChanged) {
  const auto versions = [&] { return std::pair(table.version(), table.namespace_version()); };
  auto before = versions();
  service("web", Pairs{{"app", "web"}});
  EXPECT_GT(versions().first, before.first);
  EXPECT_EQ(versions().second, before.second);
  before = versions();
  table.put_namespace(id("a"), LabelSets::kEmpty);
  EXPECT_GT(versions().second, before.second);
  before = versions();
  table.put_controller(OwnerKind::kReplicaSet, id("default"), id("rs"), {});
  table.remove_controller(OwnerKind::kReplicaSet, id("default"), id("rs"));
  EXPECT_GE(versions().first, before.first + 2);
}

}  // namespace
}  // namespace volsched::test
