// Label lists, label sets and the index from labels to nodes, against std::map.

#include "volsched/labels.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

StringId text(std::uint32_t id) {
  return StringId(id);
}
Label label(std::uint32_t key, std::uint32_t value) {
  return {text(key), text(value)};
}

TEST(Labels, SortingKeepsTheLaterOfTwoValues) {
  Labels labels{label(3, 1), label(1, 5), label(3, 2), label(2, 9), label(3, 0)};
  sort_labels(labels);
  EXPECT_EQ(labels, (Labels{label(1, 5), label(2, 9), label(3, 0)}));
}

TEST(Labels, AMissingKeyHasNoValue) {
  const Labels labels{label(1, 5), label(3, 7)};
  EXPECT_EQ(label_value(labels, text(1)), text(5));
  EXPECT_EQ(label_value(labels, text(3)), text(7));
  for (const std::uint32_t key : {0U, 2U, 4U}) EXPECT_FALSE(label_value(labels, text(key)).valid());
  EXPECT_FALSE(label_value(labels, StringId()).valid());
  EXPECT_FALSE(label_value({}, text(1)).valid());
}

TEST(LabelSets, EqualSetsAreOne) {
  LabelSets sets;
  EXPECT_EQ(sets.size(), 1U);
  EXPECT_EQ(sets.intern({}), LabelSets::kEmpty);
  const LabelSetId first = sets.intern({label(1, 2)});
  EXPECT_EQ(sets.intern({label(1, 2)}), first);
  EXPECT_NE(sets.intern({label(1, 3)}), first);
  EXPECT_NE(sets.intern({label(2, 1)}), first);
  EXPECT_EQ(sets.at(first), Labels{label(1, 2)});
  EXPECT_EQ(sets.size(), 4U);
  EXPECT_GT(sets.bytes(), 0U);
}

class LabelIndexTest : public testing::Test {
 protected:
  StringPool strings;
  LabelIndex index{strings};

  StringId id(const std::string& value) { return strings.intern(value); }
  /// Labels of a node that exists, with its name.
  Labels labels_of(const std::string& name, const Pairs& pairs) {
    Labels labels{{index.name_key(), id(name)}};
    for (const auto& [key, value] : pairs) labels.push_back({id(key), id(value)});
    sort_labels(labels);
    return labels;
  }
  Rows with_pair(const std::string& key, const std::string& value) {
    const PairId pair = index.find_pair({id(key), id(value)});
    return pair.valid() ? rows_of(index.with_pair(pair)) : Rows();
  }
  Rows with_key(const std::string& key) {
    const NodeSet* nodes = index.with_key(id(key));
    return nodes == nullptr ? Rows() : rows_of(*nodes);
  }
};

TEST_F(LabelIndexTest, FindsNodesByPairAndByKey) {
  index.assign(node(0), labels_of("n0", {{"zone", "a"}, {"disk", "ssd"}}), 3);
  index.assign(node(2), labels_of("n2", {{"zone", "b"}}), 3);
  EXPECT_EQ(with_pair("zone", "a"), Rows{0});
  EXPECT_EQ(with_pair("zone", "b"), Rows{2});
  EXPECT_EQ(with_key("zone"), (Rows{0, 2}));
  EXPECT_EQ(with_key("disk"), Rows{0});
  EXPECT_EQ(rows_of(index.live()), (Rows{0, 2}));
  EXPECT_EQ(index.value(node(0), id("zone")), id("a"));
  EXPECT_FALSE(index.value(node(2), id("disk")).valid());
  EXPECT_EQ(index.with_key(id("rack")), nullptr) << "no node ever had the key";
  EXPECT_SOUND(index.validate());
}

TEST_F(LabelIndexTest, ANodesNameIsALabelNoObjectCanHave) {
  index.assign(node(1), labels_of("n1", {}), 2);
  const PairId pair = index.find_pair({index.name_key(), id("n1")});
  ASSERT_TRUE(pair.valid());
  EXPECT_EQ(rows_of(index.with_pair(pair)), Rows{1});
  EXPECT_FALSE(is_label_key(strings.view(index.name_key())));
}

TEST_F(LabelIndexTest, ReplacingMovesTheNodeBetweenValues) {
  index.assign(node(0), labels_of("n0", {{"zone", "a"}}), 1);
  index.assign(node(0), labels_of("n0", {{"zone", "b"}}), 1);
  EXPECT_EQ(with_pair("zone", "a"), Rows());
  EXPECT_EQ(with_pair("zone", "b"), Rows{0});
  EXPECT_EQ(with_key("zone"), Rows{0}) << "the key stays through a change of value";
  index.assign(node(0), {}, 1);
  EXPECT_EQ(with_key("zone"), Rows());
  EXPECT_TRUE(index.live().none());
  EXPECT_TRUE(index.of(node(0)).empty());
  EXPECT_SOUND(index.validate());
}

TEST_F(LabelIndexTest, PairsCanBeAskedForBeforeAnyNodeHasThem) {
  const PairId pair = index.pair({id("zone"), id("c")});
  EXPECT_TRUE(index.with_pair(pair).empty());
  EXPECT_EQ(index.pair({id("zone"), id("c")}), pair);
  EXPECT_EQ(index.label(pair), (Label{id("zone"), id("c")}));
  index.assign(node(0), labels_of("n0", {{"zone", "c"}}), 1);
  EXPECT_EQ(rows_of(index.with_pair(pair)), Rows{0});
  EXPECT_EQ(index.values_of(id("zone")), std::vector<PairId>{pair});
  EXPECT_TRUE(index.values_of(id("rack")).empty());
}

TEST_F(LabelIndexTest, EqualsThePlainPictureOverRandomUpdates) {
  const Texts keys{"zone", "disk", "rack", "arch"};
  const Texts values{"a", "b", "c", "d", ""};
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    Dice dice(seed);
    std::size_t rows = 3 + dice.below(130);
    index = LabelIndex(strings);
    std::map<std::uint32_t, std::map<std::string, std::string>> twin;
    for (int step = 0; step < 600; ++step) {
      if (dice.percent(3)) rows += dice.below(4);
      const std::uint32_t row = dice.below32(static_cast<std::uint32_t>(rows));
      if (dice.percent(15)) {
        index.assign(NodeId(row), {}, rows);
        twin.erase(row);
      } else {
        Pairs pairs;
        for (const std::string& key : keys) {
          if (dice.percent(60)) pairs.emplace_back(key, dice.one_of(values));
        }
        index.assign(NodeId(row), labels_of("n" + std::to_string(row), pairs), rows);
        twin[row] = {pairs.begin(), pairs.end()};
      }
      ASSERT_SOUND(index.validate());
      if (step % 10 != 0) continue;
      Rows live;
      for (const auto& [each, labels] : twin) live.insert(each);
      ASSERT_EQ(rows_of(index.live()), live);
      for (const std::string& key : keys) {
        Rows with;
        for (const auto& [each, labels] : twin) {
          if (labels.contains(key)) with.insert(each);
        }
        ASSERT_EQ(with_key(key), with);
        for (const std::string& value : values) {
          Rows matching;
          for (const auto& [each, labels] : twin) {
            if (labels.contains(key) && labels.at(key) == value) matching.insert(each);
          }
          ASSERT_EQ(with_pair(key, value), matching);
        }
      }
    }
    EXPECT_GT(index.bytes(), 0U);
  }
}

}  // namespace
}  // namespace volsched::test
