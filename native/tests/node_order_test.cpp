// NodeOrder against upstream's tree written plainly: zones in order of appearance, one node of each zone in turn, a
// list that is only made anew when a node came or went. spec/scheduling.md 9.2.

#include "volsched/node_order.hpp"

#include <algorithm>

#include "support.hpp"

namespace volsched::test {
namespace {

StringId zone(std::size_t at) {
  return StringId(at);
}

std::vector<std::uint32_t> listed(const NodeOrder& order) {
  std::vector<std::uint32_t> rows;
  for (const NodeId row : order.list()) rows.push_back(row.value());
  return rows;
}

class Twin {
 public:
  void add(std::uint32_t row, std::size_t in) {
    put(row, in);
    rebuild();
  }
  void remove(std::uint32_t row) {
    take(row);
    rebuild();
  }
  void rezone(std::uint32_t row, std::size_t in) {
    if (zone_of_[row] == in) return;
    take(row);
    put(row, in);
  }
  [[nodiscard]] const std::vector<std::uint32_t>& list() const { return list_; }
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
  void rebuild() {
    list_.clear();
    for (std::size_t turn = 0; list_.size() < zone_of_.size(); ++turn) {
      for (const auto& [key, rows] : zones_) {
        if (turn < rows.size()) list_.push_back(rows[turn]);
      }
    }
  }
  std::vector<std::pair<std::size_t, std::vector<std::uint32_t>>> zones_;
  std::map<std::uint32_t, std::size_t> zone_of_;
  std::vector<std::uint32_t> list_;
};

TEST(NodeOrder, StartsEmpty) {
  NodeOrder order;
  order.refresh(0);
  EXPECT_TRUE(order.list().empty());
  EXPECT_SOUND(order.validate());
}

TEST(NodeOrder, TakesOneNodeOfEachZoneInTurn) {
  NodeOrder order;
  for (const std::size_t row : {0, 1, 2}) order.add(node(row), zone(7));
  order.add(node(3), zone(5));
  order.add(node(4), zone(5));
  order.add(node(5), zone(9));
  order.refresh(6);
  EXPECT_EQ(listed(order), (std::vector<std::uint32_t>{0, 3, 5, 1, 4, 2}));
  EXPECT_EQ(order.positions(), (std::vector<std::uint32_t>{0, 3, 5, 1, 4, 2}));
}

TEST(NodeOrder, AZoneThatEmptiesComesBackLast) {
  NodeOrder order;
  order.add(node(0), zone(1));
  order.add(node(1), zone(2));
  order.remove(node(0));
  order.add(node(0), zone(1));
  order.refresh(2);
  EXPECT_EQ(listed(order), (std::vector<std::uint32_t>{1, 0}));
}

TEST(NodeOrder, AMoveToAnotherZoneShowsWithTheNextArrival) {
  NodeOrder order;
  order.add(node(0), zone(1));
  order.add(node(1), zone(1));
  order.add(node(2), zone(2));
  order.refresh(3);
  EXPECT_EQ(listed(order), (std::vector<std::uint32_t>{0, 2, 1}));
  const std::uint64_t version = order.version();
  order.rezone(node(0), zone(2));
  order.refresh(3);
  EXPECT_EQ(listed(order), (std::vector<std::uint32_t>{0, 2, 1}));
  EXPECT_EQ(order.version(), version);
  order.add(node(3), zone(1));
  order.refresh(4);
  EXPECT_EQ(listed(order), (std::vector<std::uint32_t>{1, 2, 3, 0}));
  EXPECT_GT(order.version(), version);
}

TEST(NodeOrder, RowsOutsideTheListAreNowhere) {
  NodeOrder order;
  order.add(node(1), zone(1));
  order.refresh(4);
  EXPECT_EQ(order.positions(),
            (std::vector<std::uint32_t>{NodeOrder::kNowhere, 0, NodeOrder::kNowhere, NodeOrder::kNowhere}));
}

TEST(NodeOrder, MoreRowsWithoutMoreNodesOnlyWidenThePositions) {
  NodeOrder order;
  order.add(node(0), zone(1));
  order.refresh(1);
  order.refresh(3);
  EXPECT_EQ(order.positions().size(), 3U);
  EXPECT_EQ(listed(order), std::vector<std::uint32_t>{0});
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
        order.add(NodeId(row), zone(in));
        twin.add(row, in);
      } else if (dice.percent(60)) {
        order.rezone(NodeId(row), zone(in));
        twin.rezone(row, in);
      } else {
        order.remove(NodeId(row));
        twin.remove(row);
      }
      ASSERT_SOUND(order.validate());
      // A list that is due is made anew before upstream would look at it again, so both are compared only where both
      // are looked at.
      order.refresh(rows);
      ASSERT_SOUND(order.validate());
      ASSERT_EQ(listed(order), twin.list()) << "seed " << seed << " step " << step;
      for (std::uint32_t at = 0; at < twin.list().size(); ++at) ASSERT_EQ(order.positions()[twin.list()[at]], at);
    }
  }
}

}  // namespace
}  // namespace volsched::test
