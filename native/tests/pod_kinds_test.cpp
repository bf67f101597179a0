// Pods by what selectors can see of them, and how many of each kind are on which node, against a plain count.

#include "volsched/pod_kinds.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

class PodKindTest : public testing::Test {
 protected:
  Cluster cluster;
  PodKindTable table;
  ProgramPtr plain = cluster.program(ProgramText().row());

  StringId space(const std::string& name) { return cluster.strings.intern(name); }
  LabelSetId labels(const std::string& app) {
    return cluster.label_sets.intern({{cluster.strings.intern("app"), cluster.strings.intern(app)}});
  }
  ProgramPtr with_terms(const std::string& key) {
    ProgramText text;
    text.anti_affinity = {{1, key, LabelSelectorText{}, {}, {}}};
    return cluster.program(text.row());
  }
};

TEST_F(PodKindTest, PodsThatSelectorsCannotTellApartAreOneKind) {
  const KindId kind = table.intern(space("a"), labels("db"), false, plain);
  EXPECT_EQ(table.intern(space("a"), labels("db"), false, plain), kind);
  ProgramText larger;
  larger.usage.milli_cpu = 999;
  EXPECT_EQ(table.intern(space("a"), labels("db"), false, cluster.program(larger.row())), kind)
      << "what a pod takes does not matter";
  EXPECT_NE(table.intern(space("b"), labels("db"), false, plain), kind);
  EXPECT_NE(table.intern(space("a"), labels("web"), false, plain), kind);
  EXPECT_NE(table.intern(space("a"), labels("db"), true, plain), kind);
  EXPECT_EQ(table.size(), 4U);
  EXPECT_EQ(table.at(kind).terms, nullptr);
}

TEST_F(PodKindTest, PodsWithTermsOfTheirOwnAreKindsOfTheirOwn) {
  const KindId kind = table.intern(space("a"), labels("db"), false, with_terms("zone"));
  EXPECT_EQ(table.intern(space("a"), labels("db"), false, with_terms("zone")), kind);
  const KindId other = table.intern(space("a"), labels("db"), false, with_terms("host"));
  EXPECT_NE(other, kind);
  EXPECT_EQ(table.at(kind).terms, with_terms("zone"));
  static_cast<void>(table.intern(space("a"), labels("db"), false, plain));
  EXPECT_EQ(table.with_terms(), (std::vector<KindId>{kind, other}));
}

TEST_F(PodKindTest, APodThatWasNotThereCannotLeave) {
  const KindId kind = table.intern(space("a"), labels("db"), false, plain);
  EXPECT_EQ(error_of([&] { table.count(kind, node(3), -1); }), "a pod leaves a node that has none of its kind");
  EXPECT_TRUE(table.at(kind).places.empty());
  EXPECT_SOUND(table.validate());
}

TEST_F(PodKindTest, EqualsACountOverRandomPods) {
  Dice dice(1);
  std::vector<KindId> kinds;
  for (const char* app : {"a", "b", "c"}) kinds.push_back(table.intern(space("s"), labels(app), false, plain));
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::int32_t> twin;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::int32_t> by_log;
  std::uint64_t cursor = 0;
  static_cast<void>(table.log().replay(cursor, [](const KindChange&) {}));
  for (int step = 0; step < 3000; ++step) {
    const KindId kind = dice.one_of(kinds);
    const std::uint32_t row = dice.below32(20);
    auto& count = twin[{kind.value(), row}];
    const std::int32_t change = count > 0 && dice.percent(50) ? -1 : 1;
    table.count(kind, NodeId(row), change);
    count += change;
    ASSERT_SOUND(table.validate());
    if (step % 100 != 0) continue;
    ASSERT_TRUE(table.log().replay(
        cursor, [&](const KindChange& each) { by_log[{each.kind.value(), each.row.value()}] += each.change; }));
    for (const KindId each : kinds) {
      std::vector<std::pair<std::uint32_t, std::int32_t>> wanted;
      for (const auto& [key, pods] : twin) {
        if (key.first == each.value() && pods > 0) wanted.emplace_back(key.second, pods);
      }
      std::vector<std::pair<std::uint32_t, std::int32_t>> found;
      for (const PodKind::Place& place : table.at(each).places) found.emplace_back(place.row.value(), place.count);
      ASSERT_EQ(found, wanted);
    }
    for (const auto& [key, pods] : twin) ASSERT_EQ(by_log[key], pods) << "the log adds up to the same";
  }
  EXPECT_GT(table.bytes(), 0U);
}

}  // namespace
}  // namespace volsched::test
