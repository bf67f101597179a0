// Selectors as objects carry them: which are valid, what they match, their canonical form. spec/scheduling.md 6.1
// to 6.4.

#include "volsched/selectors.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

class SelectorsTest : public testing::Test {
 protected:
  StringPool strings;
  StringId name_key = strings.intern("\x01metadata.name");

  NodeSelector read(const SelectorText& text, FieldsAre fields = FieldsAre::kIgnored) {
    Packer to;
    pack(to, text);
    RowReader reader("selector", to.bytes());
    NodeSelector selector = read_node_selector(reader, strings, name_key, fields);
    reader.finish();
    return selector;
  }
  LabelSelector read(const LabelSelectorText& text) {
    Packer to;
    pack(to, text);
    RowReader reader("selector", to.bytes());
    LabelSelector selector = read_label_selector(reader, strings);
    reader.finish();
    return selector;
  }
  NodeSelector read_topologies(const ClassText& storage_class) {
    Packer to;
    to.u32(storage_class.allowed.size());
    for (const auto& term : storage_class.allowed) {
      to.u32(term.size());
      for (const TopologyText& expression : term) to.text(expression.key).texts(expression.values);
    }
    RowReader reader("topologies", to.bytes());
    NodeSelector selector = read_allowed_topologies(reader, strings);
    reader.finish();
    return selector;
  }
  Labels labels(const Pairs& pairs, const std::string& node_name = {}) {
    Labels made;
    if (!node_name.empty()) made.push_back({name_key, strings.intern(node_name)});
    for (const auto& [key, value] : pairs) made.push_back({strings.intern(key), strings.intern(value)});
    sort_labels(made);
    return made;
  }
  bool matches_any(const NodeSelector& selector, const Labels& on) {
    return std::any_of(selector.terms.begin(), selector.terms.end(),
                       [&](const Term& term) { return matches(term, on, strings); });
  }
  /// Whether one expression, as the only one of a volume's selector, matches these labels.
  bool holds(const Expression& expression, const Pairs& on) {
    return matches_any(read(SelectorText{{{expression}, {}}}), labels(on));
  }
};

// Operators (6.1)
// -------------------------------------------------------------------------------------------------------------------------

TEST_F(SelectorsTest, InNeedsTheLabelAndOneOfTheValues) {
  const Expression expression{"zone", Op::kIn, {"a", "b"}};
  EXPECT_TRUE(holds(expression, {{"zone", "a"}}));
  EXPECT_TRUE(holds(expression, {{"zone", "b"}}));
  EXPECT_FALSE(holds(expression, {{"zone", "c"}}));
  EXPECT_FALSE(holds(expression, {{"zone", ""}}));
  EXPECT_FALSE(holds(expression, {}));
  EXPECT_TRUE(holds({"zone", Op::kIn, {""}}, {{"zone", ""}})) << "the empty value is a value";
  EXPECT_FALSE(holds({"zone", Op::kIn, {""}}, {}));
}

TEST_F(SelectorsTest, NotInHoldsWithoutTheLabel) {
  const Expression expression{"zone", Op::kNotIn, {"a", "b"}};
  EXPECT_FALSE(holds(expression, {{"zone", "a"}}));
  EXPECT_TRUE(holds(expression, {{"zone", "c"}}));
  EXPECT_TRUE(holds(expression, {}));
}

TEST_F(SelectorsTest, ExistsAndDoesNotExistAskForTheKey) {
  EXPECT_TRUE(holds({"zone", Op::kExists, {}}, {{"zone", ""}}));
  EXPECT_FALSE(holds({"zone", Op::kExists, {}}, {{"disk", "a"}}));
  EXPECT_FALSE(holds({"zone", Op::kDoesNotExist, {}}, {{"zone", "a"}}));
  EXPECT_TRUE(holds({"zone", Op::kDoesNotExist, {}}, {}));
}

TEST_F(SelectorsTest, GtAndLtCompareWholeNumbers) {
  EXPECT_TRUE(holds({"cpus", Op::kGt, {"4"}}, {{"cpus", "5"}}));
  EXPECT_FALSE(holds({"cpus", Op::kGt, {"4"}}, {{"cpus", "4"}}));
  EXPECT_TRUE(holds({"cpus", Op::kLt, {"4"}}, {{"cpus", "3"}}));
  EXPECT_FALSE(holds({"cpus", Op::kLt, {"4"}}, {{"cpus", "4"}}));
  EXPECT_TRUE(holds({"cpus", Op::kGt, {"9"}}, {{"cpus", "10"}})) << "as numbers, not as text";
  EXPECT_TRUE(holds({"cpus", Op::kGt, {"010"}}, {{"cpus", "11"}})) << "leading zeros are decimal";
  EXPECT_FALSE(holds({"cpus", Op::kGt, {"010"}}, {{"cpus", "9"}}));
  for (const char* odd : {"abc", "", "4.5", "0x10", "1e3", "9223372036854775808"}) {
    EXPECT_FALSE(holds({"cpus", Op::kGt, {"0"}}, {{"cpus", odd}})) << odd;
    EXPECT_FALSE(holds({"cpus", Op::kLt, {"9"}}, {{"cpus", odd}})) << odd;
  }
  EXPECT_FALSE(holds({"cpus", Op::kGt, {"0"}}, {}));
  EXPECT_FALSE(holds({"cpus", Op::kLt, {"9"}}, {}));
  EXPECT_TRUE(holds({"cpus", Op::kLt, {"9"}}, {{"cpus", "-5"}})) << "a node may carry what the API would not accept";
  EXPECT_TRUE(holds({"cpus", Op::kGt, {"9223372036854775806"}}, {{"cpus", "9223372036854775807"}}));
}

// Validity (6.1)
// --------------------------------------------------------------------------------------------------------------------------

TEST_F(SelectorsTest, AnInvalidExpressionMatchesNothing) {
  const std::string long_value(64, 'a');
  const std::vector<Expression> invalid{{"zone", Op::kIn, {}},           {"zone", Op::kNotIn, {}},
                                        {"zone", Op::kExists, {"a"}},    {"zone", Op::kDoesNotExist, {"a"}},
                                        {"zone", Op::kGt, {}},           {"zone", Op::kGt, {"1", "2"}},
                                        {"zone", Op::kGt, {"a"}},        {"zone", Op::kGt, {"-1"}},
                                        {"zone", Op::kLt, {"+1"}},       {"zone", Op::kLt, {""}},
                                        {"zone", Op::kLt, {"1.5"}},      {"zone", Op::kUnknown, {"a"}},
                                        {"zone", Op::kUnknown, {}},      {"", Op::kExists, {}},
                                        {"-zone", Op::kExists, {}},      {"zo ne", Op::kExists, {}},
                                        {"a/b/c", Op::kExists, {}},      {"/zone", Op::kExists, {}},
                                        {"x.com/", Op::kExists, {}},     {"X.com/zone", Op::kExists, {}},
                                        {"zone", Op::kIn, {"-a"}},       {"zone", Op::kNotIn, {"a", "b-"}},
                                        {"zone", Op::kIn, {"a b"}},      {"zone", Op::kNotIn, {long_value}},
                                        {long_value, Op::kNotIn, {"a"}}, {"zone", Op::kGt, {"99999999999999999999"}}};
  for (const Expression& expression : invalid) {
    for (const Pairs& on : {Pairs{}, Pairs{{"zone", "a"}}, Pairs{{"zone", "5"}}}) {
      EXPECT_FALSE(holds(expression, on)) << expression.key << " " << static_cast<int>(expression.op);
    }
  }
}

TEST_F(SelectorsTest, AnInvalidExpressionKillsItsTermOnly) {
  const Expression invalid{"zone", Op::kIn, {}};
  const Expression valid{"zone", Op::kIn, {"a"}};
  EXPECT_FALSE(matches_any(read(SelectorText{{{valid, invalid}, {}}}), labels({{"zone", "a"}})));
  EXPECT_TRUE(matches_any(read(SelectorText{{{invalid}, {}}, {{valid}, {}}}), labels({{"zone", "a"}})));
}

TEST_F(SelectorsTest, LabelKeysFollowKubernetes) {
  const std::string name63(63, 'n');
  const std::string prefix253 =
      std::string(62, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(62, 'd');
  ASSERT_EQ(prefix253.size(), 253U);
  for (const std::string& key : {std::string("zone"), std::string("topology.kubernetes.io/zone"), std::string("a"),
                                 std::string("A_b.c-9"), name63, prefix253 + "/" + name63, std::string("1.2/3")}) {
    EXPECT_TRUE(is_label_key(key)) << key;
  }
  for (const std::string& key :
       {std::string(), name63 + "n", prefix253 + "e/zone", std::string("_zone"), std::string("zone."),
        std::string("a//b"), std::string("a..b/zone"), std::string("-a/zone"), std::string("a-/zone"),
        std::string("a_b/zone"), std::string("zone\n"), std::string("z\xc3\xb6ne"), std::string("zone\0", 5)}) {
    EXPECT_FALSE(is_label_key(key)) << key;
  }
}

TEST_F(SelectorsTest, LabelValuesFollowKubernetes) {
  const std::string value63(63, 'v');
  for (const std::string& value : {std::string(), std::string("a"), std::string("A_b.c-9"), value63})
    EXPECT_TRUE(is_label_value(value)) << value;
  for (const std::string& value :
       {value63 + "v", std::string("-a"), std::string("a_"), std::string("a/b"), std::string(" "), std::string("\t")}) {
    EXPECT_FALSE(is_label_value(value)) << value;
  }
}

TEST_F(SelectorsTest, NumbersParseAsInGo) {
  const auto parsed = [](std::string_view text) {
    std::int64_t value = 0;
    return parse_int64(text, value) ? std::optional(value) : std::nullopt;
  };
  EXPECT_EQ(parsed("0"), 0);
  EXPECT_EQ(parsed("007"), 7);
  EXPECT_EQ(parsed("+5"), 5);
  EXPECT_EQ(parsed("-5"), -5);
  EXPECT_EQ(parsed("-0"), 0);
  EXPECT_EQ(parsed("9223372036854775807"), 9223372036854775807LL);
  EXPECT_EQ(parsed("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  for (const char* odd : {"", "+", "-", "+-5", "-+5", "++5", " 5", "5 ", "5a", "a5", "1_000", "0x5",
                          "9223372036854775808", "-9223372036854775809"}) {
    EXPECT_EQ(parsed(odd), std::nullopt) << odd;
  }
  EXPECT_EQ(parsed(std::string_view()), std::nullopt);
}

// Node selectors (6.2)
// --------------------------------------------------------------------------------------------------------------------

TEST_F(SelectorsTest, NoTermsAndEmptyTermsMatchNothing) {
  EXPECT_EQ(read(SelectorText{}), NodeSelector::nothing());
  EXPECT_EQ(read(SelectorText{{}, {}}), NodeSelector::nothing());
  EXPECT_TRUE(matches_any(read(SelectorText{{}, {{{"zone", Op::kExists, {}}}, {}}}), labels({{"zone", "a"}})))
      << "an empty term hurts no other";
}

TEST_F(SelectorsTest, ExpressionsOfATermMustAllHold) {
  const SelectorText text{{{{"zone", Op::kIn, {"a"}}, {"disk", Op::kExists, {}}}, {}},
                          {{{"zone", Op::kIn, {"b"}}}, {}}};
  const NodeSelector selector = read(text);
  EXPECT_TRUE(matches_any(selector, labels({{"zone", "a"}, {"disk", "ssd"}})));
  EXPECT_FALSE(matches_any(selector, labels({{"zone", "a"}})));
  EXPECT_TRUE(matches_any(selector, labels({{"zone", "b"}})));
}

TEST_F(SelectorsTest, AVolumesFieldsAreIgnoredWhenValid) {
  const Expression by_name{"metadata.name", Op::kIn, {"n1"}};
  EXPECT_EQ(read(SelectorText{{{}, {by_name}}}), NodeSelector::everything())
      << "a term of fields alone matches every node";
  EXPECT_EQ(read(SelectorText{{{}, {{"spec.other", Op::kIn, {"x"}}}}}), NodeSelector::everything());
  EXPECT_EQ(read(SelectorText{{{}, {{"metadata.name", Op::kIn, {"n1", "n2"}}}}}), NodeSelector::nothing())
      << "two values are invalid";
  EXPECT_EQ(read(SelectorText{{{}, {{"metadata.name", Op::kExists, {}}}}}), NodeSelector::nothing());
  EXPECT_EQ(read(SelectorText{{{{"zone", Op::kIn, {"a"}}}, {{"metadata.name", Op::kIn, {}}}}}),
            NodeSelector::nothing());
}

TEST_F(SelectorsTest, APodsFieldsAreComparedWithTheNode) {
  const NodeSelector named = read(SelectorText{{{}, {{"metadata.name", Op::kIn, {"n1"}}}}}, FieldsAre::kCompared);
  EXPECT_TRUE(matches_any(named, labels({}, "n1")));
  EXPECT_FALSE(matches_any(named, labels({}, "n2")));
  const NodeSelector other = read(SelectorText{{{}, {{"metadata.name", Op::kNotIn, {"n1"}}}}}, FieldsAre::kCompared);
  EXPECT_FALSE(matches_any(other, labels({}, "n1")));
  EXPECT_TRUE(matches_any(other, labels({}, "n2")));
  EXPECT_FALSE(matches_any(named, labels({{"metadata.name", "n1"}}, "n2"))) << "a label of that name is something else";
}

TEST_F(SelectorsTest, AnyOtherFieldReadsAsEmptyText) {
  const auto reads = [&](Op op, const std::string& value) {
    return matches_any(read(SelectorText{{{}, {{"spec.other", op, {value}}}}}, FieldsAre::kCompared), labels({}, "n1"));
  };
  EXPECT_TRUE(reads(Op::kIn, ""));
  EXPECT_FALSE(reads(Op::kIn, "x"));
  EXPECT_FALSE(reads(Op::kNotIn, ""));
  EXPECT_TRUE(reads(Op::kNotIn, "x"));
}

TEST_F(SelectorsTest, APreferredTermThatIsEmptyOrInvalidSelectsNothing) {
  const auto read_term = [&](const TermText& text) {
    Packer to;
    pack(to, text);
    RowReader reader("term", to.bytes());
    NodeSelector selector = read_preferred_term(reader, strings, name_key);
    reader.finish();
    return selector;
  };
  EXPECT_EQ(read_term({}), NodeSelector::nothing());
  EXPECT_TRUE(matches_any(read_term({{{"zone", Op::kIn, {"a"}}}, {}}), labels({{"zone", "a"}})));
  EXPECT_EQ(read_term({{{"zone", Op::kIn, {"a"}}, {"zone", Op::kIn, {}}}, {}}), NodeSelector::nothing());
  EXPECT_EQ(read_term({{}, {{"metadata.name", Op::kGt, {"1"}}}}), NodeSelector::nothing());
}

// Allowed topologies (6.3)
// ----------------------------------------------------------------------------------------------------------------

TEST_F(SelectorsTest, NoAllowedTopologiesAllowEveryNode) {
  EXPECT_EQ(read_topologies({}), NodeSelector::everything());
}

TEST_F(SelectorsTest, AnEmptyTopologyTermAllowsNothing) {
  EXPECT_EQ(read_topologies({.allowed = {{}}}), NodeSelector::nothing());
  const NodeSelector selector = read_topologies({.allowed = {{}, {{"zone", {"a", "b"}}}}});
  EXPECT_TRUE(matches_any(selector, labels({{"zone", "b"}})));
  EXPECT_FALSE(matches_any(selector, labels({{"zone", "c"}})));
  EXPECT_FALSE(matches_any(selector, labels({})));
}

TEST_F(SelectorsTest, AnInvalidTopologyTermIsSkipped) {
  EXPECT_EQ(read_topologies({.allowed = {{{"zone", {}}}}}), NodeSelector::nothing());
  EXPECT_EQ(read_topologies({.allowed = {{{"zone", {"-"}}}}}), NodeSelector::nothing());
  const NodeSelector selector = read_topologies({.allowed = {{{"zone", {"a"}}, {"disk", {}}}, {{"zone", {"b"}}}}});
  EXPECT_FALSE(matches_any(selector, labels({{"zone", "a"}})));
  EXPECT_TRUE(matches_any(selector, labels({{"zone", "b"}})));
}

// Label selectors (6.5)
// -------------------------------------------------------------------------------------------------------------------

TEST_F(SelectorsTest, AnEmptyLabelSelectorMatchesEverything) {
  const LabelSelector selector = read(LabelSelectorText{});
  EXPECT_TRUE(selector.matches({}, strings));
  EXPECT_TRUE(selector.matches(labels({{"app", "db"}}), strings));
}

TEST_F(SelectorsTest, LabelsAndExpressionsMustAllHold) {
  const LabelSelector selector = read(LabelSelectorText{{{"app", "db"}}, {{"tier", Op::kNotIn, {"test"}}}});
  EXPECT_TRUE(selector.matches(labels({{"app", "db"}}), strings));
  EXPECT_FALSE(selector.matches(labels({{"app", "db"}, {"tier", "test"}}), strings));
  EXPECT_FALSE(selector.matches(labels({{"tier", "prod"}}), strings));
}

TEST_F(SelectorsTest, WhatIsWrongWithALabelSelectorIsKept) {
  for (const Op op : {Op::kIn, Op::kExists, Op::kGt, Op::kLt, Op::kUnknown}) {
    EXPECT_EQ(read(LabelSelectorText{{{"", "-"}}, {{"app", op, {}}}, "no selector"}).error, "no selector");
  }
  EXPECT_EQ(read(LabelSelectorText{{{"app", ""}}, {{"tier", Op::kDoesNotExist, {}}}}).error, "");
}

// Canonical form
// --------------------------------------------------------------------------------------------------------------------------

TEST_F(SelectorsTest, OrderAndDoublesDoNotMatter) {
  const Expression zone{"zone", Op::kIn, {"a", "b"}};
  const Expression zone_again{"zone", Op::kIn, {"b", "a", "b"}};
  const Expression disk{"disk", Op::kExists, {}};
  EXPECT_EQ(read(SelectorText{{{zone, disk}, {}}}), read(SelectorText{{{disk, zone_again, disk}, {}}}));
  EXPECT_EQ(read(SelectorText{{{zone}, {}}, {{disk}, {}}}),
            read(SelectorText{{{disk}, {}}, {{zone}, {}}, {{zone_again}, {}}}));
  EXPECT_EQ(read(LabelSelectorText{{{"app", "db"}}, {}}).requirements,
            read(LabelSelectorText{{}, {{"app", Op::kIn, {"db"}}}}).requirements);
}

TEST_F(SelectorsTest, DifferentSelectorsStayDifferent) {
  std::vector<NodeSelector> selectors{NodeSelector::everything(),
                                      NodeSelector::nothing(),
                                      read(where("zone", {"a"})),
                                      read(where("zone", {"b"})),
                                      read(where("zone", {"a", "b"})),
                                      read(where("disk", {"a"})),
                                      read(SelectorText{{{{"zone", Op::kNotIn, {"a"}}}, {}}}),
                                      read(SelectorText{{{{"zone", Op::kGt, {"1"}}}, {}}}),
                                      read(SelectorText{{{{"zone", Op::kGt, {"2"}}}, {}}}),
                                      read(SelectorText{{{{"zone", Op::kLt, {"1"}}}, {}}}),
                                      read(SelectorText{{{{"zone", Op::kExists, {}}}, {}}})};
  for (std::size_t left = 0; left < selectors.size(); ++left) {
    for (std::size_t right = 0; right < left; ++right)
      EXPECT_FALSE(selectors[left] == selectors[right]) << left << " " << right;
  }
}

TEST_F(SelectorsTest, ATermThatAlwaysHoldsMakesTheOthersPointless) {
  NodeSelector selector = read(where("zone", {"a"}));
  selector.terms.push_back({});
  selector.canonicalize();
  EXPECT_EQ(selector, NodeSelector::everything());
}

TEST_F(SelectorsTest, CanonicalFormMatchesTheSameLabels) {
  Dice dice(4);
  const Texts keys{"zone", "disk", "cpus"};
  const Texts values{"a", "b", "1", "5", ""};
  for (int round = 0; round < 2000; ++round) {
    NodeSelector selector;
    for (std::size_t term = dice.below(4); term > 0; --term) {
      Term made;
      for (std::size_t at = dice.below(4); at > 0; --at) {
        Requirement requirement{strings.intern(dice.one_of(keys)), static_cast<Op>(dice.below(6)), 0, {}};
        if (requirement.op == Op::kIn || requirement.op == Op::kNotIn) {
          std::set<StringId> listed{strings.intern(dice.one_of(values)), strings.intern(dice.one_of(values))};
          requirement.values.assign(listed.begin(), listed.end());
        }
        if (requirement.op == Op::kGt || requirement.op == Op::kLt) requirement.bound = dice.between(0, 6);
        made.push_back(requirement);
      }
      selector.terms.push_back(made);
    }
    NodeSelector canonical = selector;
    canonical.canonicalize();
    NodeSelector twice = canonical;
    twice.canonicalize();
    ASSERT_EQ(canonical, twice);
    for (int check = 0; check < 6; ++check) {
      Pairs pairs;
      for (const std::string& key : keys) {
        if (dice.percent(60)) pairs.emplace_back(key, dice.one_of(values));
      }
      ASSERT_EQ(matches_any(selector, labels(pairs)), matches_any(canonical, labels(pairs)));
    }
  }
}

}  // namespace
}  // namespace volsched::test
