// ResourceTable: columns of what nodes offer and what their pods take, against sums over a list.

#include "volsched/resources.hpp"

#include <limits>

#include "support.hpp"

namespace volsched::test {
namespace {

class ResourceTableTest : public testing::Test {
 protected:
  StringPool strings;
  ResourceTable table{strings};
};

TEST_F(ResourceTableTest, StartsWithTheThreeNamedColumns) {
  ASSERT_EQ(table.column_count(), 3U);
  EXPECT_EQ(strings.view(table.column(ResourceTable::kCpu).name), "cpu");
  EXPECT_EQ(strings.view(table.column(ResourceTable::kMemory).name), "memory");
  EXPECT_EQ(strings.view(table.column(ResourceTable::kEphemeral).name), "ephemeral-storage");
}

TEST_F(ResourceTableTest, AScalarIsAColumnMadeOnce) {
  table.resize(2);
  const std::uint32_t gpu = table.scalar(strings.intern("example.com/gpu"));
  EXPECT_EQ(table.scalar(strings.intern("example.com/gpu")), gpu);
  EXPECT_NE(table.scalar(strings.intern("hugepages-2Mi")), gpu);
  EXPECT_EQ(table.column_count(), 5U);
  EXPECT_EQ(table.scalar_column(gpu).allocatable, (std::vector<std::int64_t>{0, 0})) << "as long as there are rows";
  EXPECT_EQ(&table.scalar_column(gpu), &table.column(ResourceTable::kScalars + gpu));
}

TEST_F(ResourceTableTest, SettingWhatANodeOffersReplacesAllOfIt) {
  table.resize(2);
  const std::uint32_t gpu = table.scalar(strings.intern("example.com/gpu"));
  table.set_allocatable(node(1), {4000, 8, 9, 110, {{gpu, 2}}});
  EXPECT_EQ(table.column(ResourceTable::kCpu).allocatable[1], 4000);
  EXPECT_EQ(table.column(ResourceTable::kMemory).allocatable[1], 8);
  EXPECT_EQ(table.column(ResourceTable::kEphemeral).allocatable[1], 9);
  EXPECT_EQ(table.pod_limit()[1], 110);
  EXPECT_EQ(table.scalar_column(gpu).allocatable[1], 2);
  table.set_allocatable(node(1), {1, 2, 3, 4, {}});
  EXPECT_EQ(table.scalar_column(gpu).allocatable[1], 0) << "a scalar no longer offered is gone";
  EXPECT_EQ(table.column(ResourceTable::kCpu).allocatable[0], 0) << "other rows stay";
}

TEST_F(ResourceTableTest, EveryChangeIsLoggedByRow) {
  table.resize(3);
  std::uint64_t cursor = table.log().end();
  table.set_allocatable(node(1), {});
  table.add(node(2), {});
  table.subtract(node(2), {});
  std::vector<std::uint32_t> rows;
  EXPECT_TRUE(table.log().replay(cursor, [&](std::uint32_t row) { rows.push_back(row); }));
  EXPECT_EQ(rows, (std::vector<std::uint32_t>{1, 2, 2}));
}

TEST_F(ResourceTableTest, SumsGoAroundAsInGo) {
  table.resize(1);
  const Usage most{std::numeric_limits<std::int64_t>::max(), 0, 0, 0, 0, {}};
  const Usage one{1, 0, 0, 0, 0, {}};
  table.add(node(0), most);
  table.add(node(0), one);
  EXPECT_EQ(table.column(ResourceTable::kCpu).requested[0], std::numeric_limits<std::int64_t>::min());
  table.subtract(node(0), most);
  EXPECT_EQ(table.column(ResourceTable::kCpu).requested[0], 1) << "what goes comes back exactly";
}

TEST_F(ResourceTableTest, EqualsSumsOverAListOverRandomPods) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Dice dice(seed);
    table = ResourceTable(strings);
    std::size_t rows = 2;
    table.resize(rows);
    std::vector<std::pair<std::uint32_t, Usage>> pods;
    for (int step = 0; step < 500; ++step) {
      if (dice.percent(5)) table.resize(rows += dice.below(3));
      if (pods.empty() || dice.percent(60)) {
        Usage usage;
        usage.milli_cpu = dice.between(0, 1000);
        usage.memory_bytes = dice.between(0, 1000);
        usage.ephemeral_bytes = dice.between(0, 10);
        usage.scored_milli_cpu = dice.between(100, 1000);
        usage.scored_memory_bytes = dice.between(100, 1000);
        if (dice.percent(40))
          usage.scalars = {{table.scalar(strings.intern("s" + std::to_string(dice.below(4)))), dice.between(1, 5)}};
        pods.emplace_back(dice.below32(static_cast<std::uint32_t>(rows)), usage);
        table.add(NodeId(pods.back().first), usage);
      } else {
        const std::size_t at = dice.below(pods.size());
        table.subtract(NodeId(pods[at].first), pods[at].second);
        pods.erase(pods.begin() + static_cast<std::ptrdiff_t>(at));
      }
      if (step % 25 != 0) continue;
      std::vector<Usage> sums(rows);
      std::vector<std::int64_t> counts(rows, 0);
      std::vector<std::vector<std::int64_t>> scalars(table.column_count() - ResourceTable::kScalars,
                                                     std::vector<std::int64_t>(rows, 0));
      for (const auto& [row, usage] : pods) {
        ++counts[row];
        sums[row].milli_cpu += usage.milli_cpu;
        sums[row].memory_bytes += usage.memory_bytes;
        sums[row].ephemeral_bytes += usage.ephemeral_bytes;
        sums[row].scored_milli_cpu += usage.scored_milli_cpu;
        sums[row].scored_memory_bytes += usage.scored_memory_bytes;
        for (const auto& [scalar, amount] : usage.scalars) scalars[scalar][row] += amount;
      }
      ASSERT_EQ(table.pod_count(), counts);
      for (std::size_t row = 0; row < rows; ++row) {
        ASSERT_EQ(table.column(ResourceTable::kCpu).requested[row], sums[row].milli_cpu);
        ASSERT_EQ(table.column(ResourceTable::kMemory).requested[row], sums[row].memory_bytes);
        ASSERT_EQ(table.column(ResourceTable::kEphemeral).requested[row], sums[row].ephemeral_bytes);
        ASSERT_EQ(table.scored_cpu()[row], sums[row].scored_milli_cpu);
        ASSERT_EQ(table.scored_memory()[row], sums[row].scored_memory_bytes);
        for (std::uint32_t scalar = 0; scalar < scalars.size(); ++scalar) {
          ASSERT_EQ(table.scalar_column(scalar).requested[row], scalars[scalar][row]);
        }
      }
    }
    EXPECT_GT(table.bytes(), 0U);
  }
}

}  // namespace
}  // namespace volsched::test
