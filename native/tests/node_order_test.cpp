// NodeOrder against upstream's tree written plainly: zones in order of appearance, one node of each zone in turn, a
// list that is only made anew by a decision that finds other nodes than the last one did. spec/scheduling.md 9.2.

#include "volsched/node_order.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

using Rows = std::vector<std::uint32_t>;

StringId zone(std::size_t at) {
  return StringId(at);
}

/// The name of a node that is always on the same row.
StringId name(std::uint32_t row) {
  return StringId(1000 + row);
}

Rows rows_of(const std::vector<NodeId>& list) {
  Rows rows;
  for (const NodeId row : list) rows.push_back(row.value());
  return rows;
}
Rows listed(const NodeOrder& order) {
  return rows_of(order.list());
}

void add(NodeOrder& order, std::uint32_t row, std::size_t in) {
  order.add(NodeId(row), name(row), zone(in));
}
void remove(NodeOrder& order, std::uint32_t row) {
  order.remove(NodeId(row), name(row));
}

class Twin {
 public:
  void add(std::uint32_t row, std::size_t in) { put(row, in); }
  void remove(std::uint32_t row) { take(row); }
  void rezone(std::uint32_t row, std::size_t in) {
    if (zone_of_[row] == in) return;
    take(row);
    put(row, in);
  }
  [[nodiscard]] Rows next() const {
    Rows had = list_;
    Rows have;
    for (const auto& [row, in] : zone_of_) have.push_back(row);
    std::sort(had.begin(), had.end());
    return had == have ? list_ : in_turn();
  }
  const Rows& decide() { return list_ = next(); }
  [[nodiscard]] bool has(std::uint32_t row) const { return zone_of_.contains(row); }

 private:
  void put(std::uint32_t row, std::size_t in) {
    auto at = std::find_if(zones_.begin(), zones_.end(), [&](const auto& entry) { return entry.first == in; });
    if (at == zones_.end()) at = zones_.insert(zones_.end(), {in, {}});
    at->second.push_back(row);
    zone_of_[row] = in;
  }
  void take(std::uint32_t row) {
    for (auto& [key, rows] : zones_) std::erase(rows, row);
    std::erase_if(zones_, [](const auto& entry) { return entry.second.empty(); });
    zone_of_.erase(row);
  }
  [[nodiscard]] Rows in_turn() const {
    Rows list;
    for (std::size_t turn = 0; list.size() < zone_of_.size(); ++turn) {
      for (const auto& [key, rows] : zones_) {
        if (turn < rows.size()) list.push_back(rows[turn]);
      }
    }
    return list;
  }
  std::vector<std::pair<std::size_t, Rows>> zones_;
  std::map<std::uint32_t, std::size_t> zone_of_;
  Rows list_;
};

TEST(NodeOrder, StartsEmpty) {
  NodeOrder order;
  order.refresh(0);
  EXPECT_TRUE(order.list().empty());
  EXPECT_SOUND(order.validate());
}

TEST(NodeOrder, TakesOneNodeOfEachZoneInTurn) {
  NodeOrder order;
  for (const std::uint32_t row : {0, 1, 2}) add(order, row, 7);
  add(order, 3, 5);
  add(order, 4, 5);
  add(order, 5, 9);
  order.refresh(6);
  EXPECT_EQ(listed(order), (Rows{0, 3, 5, 1, 4, 2}));
  EXPECT_EQ(order.positions(), (Rows{0, 3, 5, 1, 4, 2}));
}

TEST(NodeOrder, AZoneThatEmptiesComesBackLast) {
  NodeOrder order;
  add(order, 0, 1);
  add(order, 1, 2);
  remove(order, 0);
  add(order, 0, 1);
  order.refresh(2);
  EXPECT_EQ(listed(order), (Rows{1, 0}));
}

TEST(NodeOrder, AMoveToAnotherZoneShowsWithTheNextArrival) {
  NodeOrder order;
  add(order, 0, 1);
  add(order, 1, 1);
  add(order, 2, 2);
  order.refresh(3);
  EXPECT_EQ(listed(order), (Rows{0, 2, 1}));
  const std::uint64_t version = order.version();
  order.rezone(node(0), zone(2));
  order.refresh(3);
  EXPECT_EQ(listed(order), (Rows{0, 2, 1}));
  EXPECT_EQ(order.version(), version);
  add(order, 3, 1);
  order.refresh(4);
  EXPECT_EQ(listed(order), (Rows{1, 2, 3, 0}));
  EXPECT_GT(order.version(), version);
}

TEST(NodeOrder, AZoneLeftBeforeTheFirstDecisionIsNone) {
  NodeOrder order;
  add(order, 0, 1);
  add(order, 1, 1);
  order.rezone(node(0), zone(2));
  order.refresh(2);
  EXPECT_EQ(listed(order), (Rows{1, 0}));
}

TEST(NodeOrder, ANodeThatIsBackByTheNextDecisionKeepsItsPlace) {
  NodeOrder order;
  for (const std::uint32_t row : {0, 1, 2}) add(order, row, 1);
  order.refresh(3);
  remove(order, 0);
  EXPECT_EQ(rows_of(order.next()), (Rows{1, 2}));
  order.add(node(3), name(0), zone(1));  // on another row
  EXPECT_EQ(rows_of(order.next()), (Rows{3, 1, 2}));
  const std::uint64_t version = order.version();
  order.refresh(4);
  EXPECT_EQ(listed(order), (Rows{3, 1, 2}));
  EXPECT_EQ(order.positions(), (Rows{NodeOrder::kNowhere, 1, 2, 0}));
  EXPECT_GT(order.version(), version) << "rows have changed";
  add(order, 4, 1);
  order.refresh(5);
  EXPECT_EQ(listed(order), (Rows{1, 2, 3, 4})) << "in the tree it came last but one";
}

TEST(NodeOrder, LookingChangesNothing) {
  NodeOrder order;
  add(order, 0, 1);
  add(order, 1, 2);
  EXPECT_EQ(rows_of(order.next()), (Rows{0, 1}));
  order.rezone(node(0), zone(2));
  EXPECT_EQ(rows_of(order.next()), (Rows{1, 0}));
  order.refresh(2);
  EXPECT_EQ(listed(order), (Rows{1, 0}));
}

TEST(NodeOrder, RowsOutsideTheListAreNowhere) {
  NodeOrder order;
  add(order, 1, 1);
  order.refresh(4);
  EXPECT_EQ(order.positions(), (Rows{NodeOrder::kNowhere, 0, NodeOrder::kNowhere, NodeOrder::kNowhere}));
}

TEST(NodeOrder, MoreRowsWithoutMoreNodesOnlyWidenThePositions) {
  NodeOrder order;
  add(order, 0, 1);
  order.refresh(1);
  order.refresh(3);
  EXPECT_EQ(order.positions().size(), 3U);
  EXPECT_EQ(listed(order), Rows{0});
}

TEST(NodeOrder, EqualsThePlainTreeOverRandomEvents) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Dice dice(seed);
    NodeOrder order;
    Twin twin;
    const std::uint32_t rows = 4 + dice.below32(40);
    const std::size_t zones = 1 + dice.below(6);
    for (int step = 0; step < 400; ++step) {
      const std::uint32_t row = dice.below32(rows);
      const std::size_t in = dice.below(zones);
      if (!twin.has(row)) {
        add(order, row, in);
        twin.add(row, in);
      } else if (dice.percent(60)) {
        order.rezone(NodeId(row), zone(in));
        twin.rezone(row, in);
      } else {
        remove(order, row);
        twin.remove(row);
      }
      ASSERT_SOUND(order.validate());
      ASSERT_EQ(rows_of(order.next()), twin.next()) << "seed " << seed << " step " << step;
      if (dice.percent(40)) continue;  // nobody decides yet
      order.refresh(rows);
      ASSERT_SOUND(order.validate());
      const Rows& list = twin.decide();
      ASSERT_EQ(listed(order), list) << "seed " << seed << " step " << step;
      for (std::uint32_t at = 0; at < list.size(); ++at) ASSERT_EQ(order.positions()[list[at]], at);
    }
  }
}

}  // namespace
}  // namespace volsched::test
