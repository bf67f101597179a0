// CapacityIndex against a scan over all pools: which nodes have a pool that is large enough, which pool that is, how it
// scores.

#include "volsched/capacity_index.hpp"

#include "node_world.hpp"

namespace volsched::test {
namespace {

struct PlainPool {
  std::string space = "default";
  std::string name = {};
  std::uint32_t storage_class = 0;
  std::optional<SelectorText> topology = {};  ///< not set: the pool serves no node
  std::optional<std::int64_t> maximum = {};
  std::optional<std::int64_t> capacity = {};

  [[nodiscard]] std::optional<std::int64_t> limit() const { return maximum ? maximum : capacity; }
};

class CapacityIndexTest : public testing::Test {
 protected:
  NodeWorld world;
  CapacityIndex index;
  std::map<std::pair<std::string, std::string>, PlainPool> pools;    // by namespace and name, the order that decides
  std::map<std::pair<std::string, std::string>, std::int64_t> held;  // known pools or not

  void set_labels(std::uint32_t row, const std::optional<PlainLabels>& fresh) {
    for (const SelectorChange& change : world.set_node(row, fresh)) index.on_change(change, world.rows);
  }
  void put(const PlainPool& pool) {
    Pool made;
    made.storage_class = ClassId(pool.storage_class);
    if (pool.topology) made.topology = world.selector(*pool.topology);
    made.has_maximum = pool.maximum.has_value();
    made.maximum_bytes = pool.maximum.value_or(0);
    made.has_capacity = pool.capacity.has_value();
    made.capacity_bytes = pool.capacity.value_or(0);
    index.put(index.slot(world.id(pool.space), world.id(pool.name)), made, world.selectors, world.strings, world.rows);
    pools[{pool.space, pool.name}] = pool;
  }
  /// Bytes more, or less when negative.
  void hold(const std::vector<std::pair<std::string, std::string>>& names, std::int64_t bytes) {
    PoolHold hold;
    hold.bytes = bytes < 0 ? -bytes : bytes;
    for (const auto& [space, name] : names) {
      hold.pools.push_back(index.slot(world.id(space), world.id(name)));
      held[{space, name}] += bytes;
    }
    if (bytes < 0) {
      index.release(hold);
    } else {
      index.hold(hold);
    }
  }
  void erase(const std::string& space, const std::string& name) {
    index.erase(index.find(world.id(space), world.id(name)), world.strings);
    pools.erase({space, name});
  }
  std::int64_t room(const PlainPool& pool, bool is_exact) const {
    const auto known = held.find({pool.space, pool.name});
    return pool.capacity.value_or(0) - (is_exact && pool.capacity && known != held.end() ? known->second : 0);
  }
  std::string plain_pick(std::uint32_t storage_class, std::int64_t request, bool is_exact, std::uint32_t row) const {
    for (const auto& [key, pool] : pools) {
      if (pool.storage_class != storage_class || !pool.topology || !pool.limit() || *pool.limit() < request) continue;
      if (is_exact && pool.capacity && room(pool, true) < request) continue;
      if (world.matches(pool.topology, row)) return pool.space + "/" + pool.name;
    }
    return {};
  }
  std::string name_of(CapacityId id) const {
    return id.valid() ? world.strings.str(index.at(id).space) + "/" + world.strings.str(index.at(id).name)
                      : std::string();
  }
  void expect_right(std::uint32_t storage_class, std::int64_t request, bool is_exact = false) {
    const PoolColumn& column = index.column(ClassId(storage_class), request, is_exact, world.strings, world.rows);
    ASSERT_EQ(column.enough.size(), world.rows);
    ASSERT_SOUND(column.enough.validate());
    for (std::uint32_t row = 0; row < world.rows; ++row) {
      const std::string wanted = plain_pick(storage_class, request, is_exact, row);
      ASSERT_EQ(name_of(index.pick(column, ClassId(storage_class), NodeId(row))), wanted) << "row " << row;
      ASSERT_EQ(column.enough.test(NodeId(row)), !wanted.empty()) << "row " << row;
      std::int32_t score = 0;
      if (!wanted.empty()) {
        const std::size_t slash = wanted.find('/');
        const std::int64_t capacity = room(pools.at({wanted.substr(0, slash), wanted.substr(slash + 1)}), is_exact);
        score = capacity == 0 || request > capacity ? 0 : static_cast<std::int32_t>(100 - request * 100 / capacity);
      }
      ASSERT_EQ(column.score[row], score) << "row " << row;
    }
  }
  std::string validate() { return index.validate(world.selectors, world.strings, world.rows); }
};

TEST_F(CapacityIndexTest, ASlotIsMadeOnceAPair) {
  const CapacityId first = index.slot(world.id("a"), world.id("pool"));
  EXPECT_EQ(index.slot(world.id("a"), world.id("pool")), first);
  EXPECT_NE(index.slot(world.id("b"), world.id("pool")), first);
  EXPECT_EQ(index.find(world.id("a"), world.id("pool")), first);
  EXPECT_FALSE(index.find(world.id("a"), world.id("other")).valid());
  EXPECT_FALSE(index.at(first).exists);
  EXPECT_EQ(index.size(), 2U);
}

TEST_F(CapacityIndexTest, TheFirstPoolByNamespaceAndNameVouches) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  set_labels(1, PlainLabels{{"zone", "b"}});
  put({"b", "pool-1", 0, where("zone", {"a"}), {}, 100});
  put({"a", "pool-2", 0, where("zone", {"a"}), 50, 200});
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 50));
  const PoolColumn& small = index.column(ClassId(std::uint32_t{0}), 50, false, world.strings, world.rows);
  EXPECT_EQ(name_of(index.pick(small, ClassId(std::uint32_t{0}), node(0))), "a/pool-2");
  EXPECT_EQ(small.score[0], 75);
  EXPECT_FALSE(small.enough.test(node(1)));
  const PoolColumn& large = index.column(ClassId(std::uint32_t{0}), 51, false, world.strings, world.rows);
  EXPECT_EQ(name_of(index.pick(large, ClassId(std::uint32_t{0}), node(0))), "b/pool-1");
}

TEST_F(CapacityIndexTest, PoolsWithoutLimitOrTopologyServeNobody) {
  set_labels(0, PlainLabels{});
  put({"a", "no-limit", 0, SelectorText{{{{"x", Op::kDoesNotExist, {}}}, {}}}, {}, {}});
  put({"a", "no-topology", 0, std::nullopt, {}, 1000});
  EXPECT_TRUE(index.column(ClassId(std::uint32_t{0}), 0, false, world.strings, world.rows).enough.none());
  EXPECT_SOUND(validate());
}

TEST_F(CapacityIndexTest, AMaximumWithoutCapacityScoresNothing) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  put({"a", "pool", 0, where("zone", {"a"}), 100, {}});
  const PoolColumn& column = index.column(ClassId(std::uint32_t{0}), 10, false, world.strings, world.rows);
  EXPECT_TRUE(column.enough.test(node(0)));
  EXPECT_EQ(column.score[0], 0);
}

TEST_F(CapacityIndexTest, AChangedCapacityChangesTheScoreOfTheSamePool) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  put({"a", "pool", 0, where("zone", {"a"}), {}, 100});
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 10));
  put({"a", "pool", 0, where("zone", {"a"}), 100, 1000});
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 10));
  erase("a", "pool");
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 10));
  put({"a", "pool", 0, where("zone", {"a"}), 100, 20});
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 10));
}

TEST_F(CapacityIndexTest, WhatIsHeldIsNotThereForWhoCountsExactly) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  put({"a", "pool", 0, where("zone", {"a"}), {}, 100});
  hold({{"a", "pool"}}, 60);
  for (const std::int64_t request : {40, 41}) {
    for (const bool is_exact : {false, true}) EXPECT_NO_FATAL_FAILURE(expect_right(0, request, is_exact));
  }
  EXPECT_EQ(index.room(index.find(world.id("a"), world.id("pool"))), 40);
  hold({{"a", "pool"}}, -60);
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 41, true));
}

TEST_F(CapacityIndexTest, WhatIsHeldInAPoolThatComesLaterCounts) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  hold({{"a", "pool"}}, 60);
  put({"a", "pool", 0, where("zone", {"a"}), {}, 100});
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 41, true));
  erase("a", "pool");
  hold({{"a", "pool"}}, -60);
  put({"a", "pool", 0, where("zone", {"a"}), {}, 100});
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 100, true));
}

TEST_F(CapacityIndexTest, MoreThanIsPublishedMayBeHeld) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  put({"a", "pool", 0, where("zone", {"a"}), {}, 100});
  hold({{"a", "pool"}}, 160);
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 0, true));
  EXPECT_NO_FATAL_FAILURE(expect_right(0, 0, false));
}

TEST_F(CapacityIndexTest, AMaximumWithoutCapacityCannotBeCounted) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  put({"a", "pool", 0, where("zone", {"a"}), 100, {}});
  hold({{"a", "pool"}}, 60);
  for (const std::int64_t request : {100, 101}) EXPECT_NO_FATAL_FAILURE(expect_right(0, request, true));
}

TEST_F(CapacityIndexTest, MoreSizesThanAreKeptAreStillAnsweredRightly) {
  set_labels(0, PlainLabels{{"zone", "a"}});
  put({"a", "pool", 0, where("zone", {"a"}), 60, 100});
  for (int round = 0; round < 2; ++round) {
    for (std::int64_t request = 0; request < 120; ++request) ASSERT_NO_FATAL_FAILURE(expect_right(0, request));
    put({"a", "pool", 0, where("zone", {"a"}), 90, 100});
  }
  EXPECT_SOUND(validate());
}

TEST_F(CapacityIndexTest, EqualsAScanOverRandomChanges) {
  const Texts zones{"a", "b", "c"};
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Dice dice(seed);
    world = NodeWorld();
    index = CapacityIndex();
    pools.clear();
    held.clear();
    std::uint32_t nodes = seed % 3 == 2 ? 130 : 7;
    const auto node_labels = [&] {
      PlainLabels made;
      if (dice.percent(90)) made["zone"] = dice.one_of(zones);
      if (dice.percent(50)) made["rack"] = std::to_string(dice.below(4));
      return made;
    };
    for (std::uint32_t row = 0; row < nodes; ++row) set_labels(row, node_labels());
    for (int step = 0; step < 400; ++step) {
      const std::string space = dice.one_of(Texts{"x", "y"});
      const std::string name = "pool-" + std::to_string(dice.below(8));
      const std::size_t action = dice.below(100);
      if (action < 30) {
        set_labels(dice.below32(nodes), dice.percent(10) ? std::nullopt : std::optional(node_labels()));
      } else if (action < 33) {
        set_labels(nodes++, node_labels());
      } else if (action < 50 && pools.contains({space, name})) {
        erase(space, name);
      } else if (action < 65) {
        const std::int64_t now = held[{space, name}];
        hold({{space, name}, {"z", "never-published"}}, now > 8 ? -now : dice.between(1, 9));
      } else {
        PlainPool pool{space, name, dice.below32(2), where("zone", {dice.one_of(zones)}), {}, {}};
        if (dice.percent(90)) pool.capacity = dice.between(0, 20);
        if (dice.percent(50)) pool.maximum = dice.between(0, 20);
        if (dice.percent(15)) pool.topology = std::nullopt;
        if (dice.percent(15))
          pool.topology = SelectorText{{{{"rack", Op::kExists, {}}, {"zone", Op::kNotIn, {"b"}}}, {}}};
        put(pool);
      }
      if (dice.percent(50)) {
        ASSERT_NO_FATAL_FAILURE(expect_right(dice.below32(3), dice.between(0, 22), dice.percent(50)))
            << "seed " << seed << " step " << step;
      }
      ASSERT_SOUND(validate()) << "seed " << seed << " step " << step;
    }
    EXPECT_GT(index.bytes(), 0U);
  }
}

}  // namespace
}  // namespace volsched::test
