// SelectorIndex: node sets of selectors that stay right while nodes come, go and change their labels, against a scan of
// all nodes with a matcher of its own.

#include "node_world.hpp"

namespace volsched::test {
namespace {

class SelectorIndexTest : public testing::Test {
 protected:
  NodeWorld world;
  StringPool& strings = world.strings;
  LabelIndex& labels = world.labels;
  SelectorIndex& index = world.selectors;

  NodeSelector read(const SelectorText& text) { return world.read(text); }
  SelectorId intern(const SelectorText& text) { return world.selector(text); }
  std::vector<SelectorChange> update(std::uint32_t row, const std::optional<PlainLabels>& plain) {
    return world.set_node(row, plain);
  }
};

TEST_F(SelectorIndexTest, EqualSelectorsAreOne) {
  const SelectorId first = intern(where("zone", {"a", "b"}));
  EXPECT_EQ(intern(where("zone", {"b", "a", "a"})), first);
  EXPECT_NE(intern(where("zone", {"a"})), first);
  EXPECT_EQ(index.size(), 2U);
  EXPECT_EQ(index.selector(first), read(where("zone", {"a", "b"})));
  NodeSelector doubled = read(where("zone", {"a", "b"}));
  doubled.terms.push_back(doubled.terms.front());
  EXPECT_EQ(index.intern(doubled, labels, strings), first) << "what is interned need not be canonical";
  EXPECT_GT(index.bytes(), 0U);
}

TEST_F(SelectorIndexTest, ANewSelectorKnowsTheNodesThatAreThere) {
  update(0, PlainLabels{{"zone", "a"}});
  update(1, PlainLabels{{"zone", "b"}});
  update(2, std::nullopt);
  EXPECT_EQ(rows_of(index.nodes(intern(where("zone", {"a"})))), Rows{0});
  EXPECT_EQ(rows_of(index.nodes(intern({{{{"zone", Op::kNotIn, {"a"}}}, {}}}))), Rows{1})
      << "rows without a node match nothing";
  EXPECT_EQ(rows_of(index.nodes(index.intern(NodeSelector::everything(), labels, strings))), (Rows{0, 1}));
  EXPECT_TRUE(index.nodes(index.intern(NodeSelector::nothing(), labels, strings)).empty());
  EXPECT_SOUND(index.validate(labels, strings));
}

TEST_F(SelectorIndexTest, ChangesTellWhoJoinedAndWhoLeft) {
  const SelectorId in_a = intern(where("zone", {"a"}));
  const SelectorId not_a = intern({{{{"zone", Op::kNotIn, {"a"}}}, {}}});
  const SelectorId disk = intern({{{{"disk", Op::kExists, {}}}, {}}});
  const auto summary = [](const std::vector<SelectorChange>& changes) {
    std::map<std::uint32_t, bool> found;
    for (const SelectorChange& change : changes) found[change.selector.value()] = change.joined;
    return found;
  };
  using Summary = std::map<std::uint32_t, bool>;
  EXPECT_EQ(summary(update(0, PlainLabels{{"zone", "a"}})), (Summary{{in_a.value(), true}}));
  EXPECT_EQ(summary(update(0, PlainLabels{{"zone", "b"}})), (Summary{{in_a.value(), false}, {not_a.value(), true}}));
  EXPECT_EQ(summary(update(0, PlainLabels{{"zone", "b"}, {"disk", ""}})), (Summary{{disk.value(), true}}));
  EXPECT_EQ(summary(update(0, PlainLabels{{"zone", "b"}, {"disk", "x"}})), Summary());
  EXPECT_EQ(summary(update(0, std::nullopt)), (Summary{{not_a.value(), false}, {disk.value(), false}}));
}

TEST_F(SelectorIndexTest, VersionGrowsOnlyWithTheNodeSet) {
  const SelectorId in_a = intern(where("zone", {"a"}));
  const std::uint64_t version = index.version(in_a);
  update(0, PlainLabels{{"zone", "b"}});
  EXPECT_EQ(index.version(in_a), version);
  update(0, PlainLabels{{"zone", "a"}});
  EXPECT_GT(index.version(in_a), version);
}

TEST_F(SelectorIndexTest, ATermMayWaitAtAPairNoNodeHadYet) {
  const SelectorId later = intern({{{{"zone", Op::kIn, {"z1", "z2"}}, {"disk", Op::kIn, {"ssd"}}}, {}}});
  EXPECT_TRUE(index.nodes(later).empty());
  update(0, PlainLabels{{"zone", "z2"}, {"disk", "ssd"}});
  EXPECT_EQ(rows_of(index.nodes(later)), Rows{0});
}

class SelectorChance {
 public:
  explicit SelectorChance(std::uint64_t seed) : dice(seed) {}

  Dice dice;

  Expression expression() {
    static const Texts kKeys{"zone", "disk", "cpus", "rack"};
    static const Texts kValues{"a", "b", "c", "1", "5", "12", ""};
    Expression made{dice.one_of(kKeys), static_cast<Op>(dice.below(6)), {}};
    if (made.op == Op::kIn || made.op == Op::kNotIn) {
      for (std::size_t count = 1 + dice.below(3); count > 0; --count) made.values.push_back(dice.one_of(kValues));
    } else if (made.op == Op::kGt || made.op == Op::kLt) {
      made.values = {std::to_string(dice.below(13))};
    }
    return made;
  }
  SelectorText selector() {
    SelectorText made;
    for (std::size_t terms = dice.below(4); terms > 0; --terms) {
      TermText term;
      for (std::size_t count = dice.below(4); count > 0; --count) term.labels.push_back(expression());
      if (dice.percent(15)) {
        term.fields.push_back(
            {"metadata.name", dice.percent(50) ? Op::kIn : Op::kNotIn, {"n" + std::to_string(dice.below(20))}});
      }
      made.push_back(term);
    }
    return made;
  }
  PlainLabels labels() {
    PlainLabels made;
    for (const char* key : {"zone", "disk", "rack"}) {
      if (dice.percent(70)) made[key] = std::string(1, static_cast<char>('a' + dice.below(4)));
    }
    if (dice.percent(70)) made["cpus"] = dice.percent(85) ? std::to_string(dice.below(14)) : "many";
    return made;
  }
};

TEST_F(SelectorIndexTest, NodeSetsStayRightUnderRandomLabelUpdates) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    SelectorChance chance(seed);
    world = NodeWorld();
    const std::uint32_t nodes = 3 + chance.dice.below32(seed % 2 == 0 ? 20 : 140);
    std::vector<std::pair<SelectorText, SelectorId>> selectors;
    for (int step = 0; step < 500; ++step) {
      if (selectors.size() < 60 && chance.dice.percent(20)) {
        const SelectorText text = chance.selector();
        selectors.emplace_back(text, intern(text));
      }
      const std::uint32_t row = chance.dice.below32(nodes);
      std::optional<PlainLabels> fresh;
      if (!chance.dice.percent(10)) fresh = chance.labels();
      std::map<SelectorId, bool> before;
      for (const auto& [text, id] : selectors) before[id] = index.nodes(id).contains(NodeId(row));
      const auto changes = update(row, fresh);
      std::map<SelectorId, bool> told;
      for (const SelectorChange& change : changes) {
        ASSERT_EQ(change.row, NodeId(row));
        ASSERT_TRUE(told.emplace(change.selector, change.joined).second) << "a selector is named once";
      }
      for (const auto& [text, id] : selectors) {
        const bool now = fresh && plain_matches(text, *fresh, "n" + std::to_string(row));
        ASSERT_EQ(index.nodes(id).contains(NodeId(row)), now) << "seed " << seed << " step " << step;
        ASSERT_EQ(told.contains(id), before[id] != now);
        if (told.contains(id)) {
          ASSERT_EQ(told[id], now);
        }
      }
      if (step % 25 != 0) continue;
      ASSERT_SOUND(index.validate(labels, strings));
      for (const auto& [text, id] : selectors) {
        Rows wanted;
        for (const auto& [each, plain] : world.plain) {
          if (world.matches(text, each)) wanted.insert(each);
        }
        ASSERT_EQ(rows_of(index.nodes(id)), wanted) << "seed " << seed << " step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace volsched::test
