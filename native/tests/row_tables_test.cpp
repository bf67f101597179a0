// Rows from patterns and columns: the bytes an encoder would have written, in the order asked for, and tables that do
// not fit together are refused before anything is taken in.

#include "volsched/row_tables.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

/// A row with marks in it, as a pattern: each mark is a text of its own, column numbers are given in order.
RowPattern pattern_of(std::string row, const std::vector<std::pair<std::string, std::uint32_t>>& marks) {
  RowPattern made;
  for (const auto& [mark, column] : marks) {
    const std::size_t at = row.find(mark);
    if (at == std::string::npos) throw std::logic_error("no such mark");
    made.holes.push_back({row.substr(0, at - sizeof(std::uint32_t)), column, "", ""});
    row = row.substr(at + mark.size());
  }
  made.rest = std::move(row);
  return made;
}

ByteColumn texts(std::string_view values, std::size_t width) {
  return {values, width, {}, 0};
}

std::string node_row(const std::string& name) {
  NodeText text{.name = name, .labels = {{"host", name}}};
  return text.row();
}

RowTable nodes(std::size_t count, std::string_view names, std::size_t width) {
  NodeText text{.name = "MARK1", .labels = {{"host", "MARK2"}}};
  return {RowKind::kNode,
          count,
          {{RowUse::kPut, {pattern_of(text.row(), {{"MARK1", 0}, {"MARK2", 0}})}}},
          {},
          {texts(names, width)}};
}

TEST(RowTablesTest, APatternIsTheRowWithTheTextsPutIn) {
  NodeText text{.name = "MARK1", .labels = {{"host", "MARK2"}}};
  const RowPattern pattern = pattern_of(text.row(), {{"MARK1", 0}, {"MARK2", 0}});
  const std::vector<ByteColumn> columns = {texts(std::string_view("a\0\0node", 7 - 1), 3)};
  std::string row = "what was there before";
  pattern.fill(columns, 0, row);
  EXPECT_EQ(row, node_row("a"));
  pattern.fill(columns, 1, row);
  EXPECT_EQ(row, node_row("nod"));
}

TEST(RowTablesTest, ATextMayHaveSomethingFixedAroundIt) {
  RowPattern pattern;
  pattern.holes.push_back({"x", 0, "<", ">>"});
  pattern.rest = "y";
  std::string row;
  pattern.fill(std::vector<ByteColumn>{texts("ab", 2)}, 0, row);
  EXPECT_EQ(row, std::string("x\x05\0\0\0<ab>>y", 11));
}

TEST(RowTablesTest, CodesNameValues) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
    std::string codes;
    for (const char code : {'\1', '\0', '\1', '\2'}) codes += std::string(1, code) + std::string(bytes - 1, '\0');
    const ByteColumn column{"aabb", 2, codes, bytes};
    EXPECT_EQ(column.count(), 4U);
    EXPECT_EQ(column.text(0), "bb");
    EXPECT_EQ(column.text(1), "aa");
    EXPECT_THROW((void)column.text(3), Error);
  }
}

TEST(RowTablesTest, TablesAreTakenInTheOrderAskedFor) {
  const RowTable left = nodes(2, "acbd", 2);  // ac, bd
  const RowTable right = nodes(1, "x", 1);
  const std::vector<const RowTable*> tables = {&left, &right};
  Cluster cluster;
  PodBatch batch;
  load_tables(tables, std::vector<std::uint32_t>{0, 1, 0}, cluster, batch);
  std::vector<std::string> names;
  for (const NodeId row : cluster.order.next()) names.push_back(cluster.strings.str(cluster.node(row).name));
  EXPECT_EQ(names, (std::vector<std::string>{"ac", "x", "bd"}));
  Cluster other;
  for (const char* name : {"ac", "x", "bd"}) other.put_node(node_row(name));
  EXPECT_EQ(cluster.digest(), other.digest());

  for (const auto& order : std::vector<std::vector<std::uint32_t>>{{0, 0}, {0, 0, 0}, {0, 0, 2}, {1, 1, 0}}) {
    Cluster untouched;
    EXPECT_THROW(load_tables(tables, order, untouched, batch), Error);
    EXPECT_EQ(untouched.node_count(), 0U);
  }
}

TEST(RowTablesTest, APodIsCountedOrWaitsOrHasEnded) {
  const auto shape = [](RowUse use, const std::string& node) {
    PodText text{.name = "MARK", .uid = "u", .node = node};
    return RowShape{use, {{{}, ProgramText{}.row()}, pattern_of(text.row(), {{"MARK", 0}}), {{}, ""}}};
  };
  const std::vector<RowShape> shapes = {shape(RowUse::kPut, "n"), shape(RowUse::kPending, ""),
                                        shape(RowUse::kGone, "n")};
  const RowTable table(RowKind::kPod, 5, shapes, {0, 0, 1, 2, 1}, {texts("abcad", 1)});
  Cluster cluster;
  PodBatch batch;
  load_tables(std::vector<const RowTable*>{&table}, {}, cluster, batch);
  EXPECT_EQ(cluster.pod_count(), 1U);  // a has ended since
  EXPECT_TRUE(cluster.find_pod(cluster.strings.find("default"), cluster.strings.find("b")).valid());
  ASSERT_EQ(batch.size(), 2U);
  EXPECT_EQ(cluster.strings.view(batch.pod(0).name), "c");
  EXPECT_EQ(cluster.strings.view(batch.pod(1).name), "d");
  EXPECT_EQ(batch.program_count(), 1U);
}

TEST(RowTablesTest, WhatDoesNotFitIsRefused) {
  const RowShape plain{RowUse::kPut, {{{}, "row"}}};
  const RowShape with_hole{RowUse::kPut, {{{{"", 1, "", ""}}, ""}}};
  const RowShape pending{RowUse::kPending, {{{}, "row"}}};
  const auto made = [](RowKind kind, std::size_t count, std::vector<RowShape> shapes, std::vector<std::uint32_t> of,
                       std::vector<ByteColumn> columns) {
    return RowTable(kind, count, std::move(shapes), std::move(of), std::move(columns));
  };
  EXPECT_THROW(made(RowKind::kNode, 1, {}, {}, {}), Error);
  EXPECT_THROW(made(RowKind::kNode, 2, {plain}, {0}, {}), Error);
  EXPECT_THROW(made(RowKind::kNode, 1, {plain}, {1}, {}), Error);
  EXPECT_THROW(made(RowKind::kNode, 1, {with_hole}, {}, {texts("a", 1)}), Error);
  EXPECT_THROW(made(RowKind::kNode, 2, {plain}, {}, {texts("a", 1)}), Error);
  EXPECT_THROW(made(RowKind::kNode, 1, {plain}, {}, {texts("a", 0)}), Error);
  EXPECT_THROW(made(RowKind::kNode, 1, {plain}, {}, {{"a", 1, "abc", 3}}), Error);
  EXPECT_THROW(made(RowKind::kNode, 1, {pending}, {}, {}), Error);
  EXPECT_THROW(made(RowKind::kPod, 1, {plain}, {}, {}), Error);
  EXPECT_EQ(made(RowKind::kNode, 0, {}, {}, {}).count(), 0U);
}

}  // namespace
}  // namespace volsched::test
