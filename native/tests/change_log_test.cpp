// ChangeLog: readers at different places, and readers that fell too far behind.

#include "volsched/change_log.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

struct Reader {
  std::uint64_t cursor = 0;
  std::vector<std::uint32_t> read = {};

  bool catch_up(const ChangeLog& log) {
    read.clear();
    return log.replay(cursor, [&](std::uint32_t entry) { read.push_back(entry); });
  }
};

TEST(ChangeLog, AReaderThatHasNeverReadMustRebuild) {
  const ChangeLog log;
  Reader reader;
  EXPECT_FALSE(reader.catch_up(log));
  EXPECT_EQ(reader.cursor, log.end());
  EXPECT_TRUE(reader.catch_up(log)) << "after that it is up to date";
  EXPECT_TRUE(reader.read.empty());
}

TEST(ChangeLog, EntriesComeInOrderAndOnce) {
  ChangeLog log;
  Reader reader;
  static_cast<void>(reader.catch_up(log));
  for (const std::uint32_t entry : {5U, 3U, 5U}) log.push(entry);
  EXPECT_TRUE(reader.catch_up(log));
  EXPECT_EQ(reader.read, (std::vector<std::uint32_t>{5, 3, 5}));
  EXPECT_TRUE(reader.catch_up(log));
  EXPECT_TRUE(reader.read.empty());
}

TEST(ChangeLog, AReaderTooFarBehindIsToldSoAndVisitsNothing) {
  ChangeLog log(8);
  Reader slow;
  Reader quick;
  static_cast<void>(slow.catch_up(log));
  static_cast<void>(quick.catch_up(log));
  for (std::uint32_t entry = 0; entry < 8; ++entry) log.push(entry);
  EXPECT_TRUE(quick.catch_up(log));
  EXPECT_EQ(quick.read.size(), 8U) << "a full log still has everything";
  log.push(8);
  EXPECT_FALSE(slow.catch_up(log)) << "the older half is gone";
  EXPECT_TRUE(slow.read.empty());
  EXPECT_EQ(slow.cursor, log.end());
  EXPECT_TRUE(quick.catch_up(log));
  EXPECT_EQ(quick.read, std::vector<std::uint32_t>{8});
}

TEST(ChangeLog, KeepOnlyEverRaisesTheLimit) {
  ChangeLog log(4);
  log.keep(100);
  log.keep(2);
  Reader reader;
  static_cast<void>(reader.catch_up(log));
  for (std::uint32_t entry = 0; entry < 100; ++entry) log.push(entry);
  EXPECT_TRUE(reader.catch_up(log));
  EXPECT_EQ(reader.read.size(), 100U);
}

TEST(ChangeLog, EqualsAListOverRandomReaders) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Dice dice(seed);
    const std::size_t limit = 2 + dice.below(40);
    ChangeLog log(limit);
    std::vector<std::uint32_t> all;
    std::vector<Reader> readers(4);
    std::vector<std::size_t> seen(4, 0);
    for (Reader& reader : readers) static_cast<void>(reader.catch_up(log));
    for (std::uint32_t step = 0; step < 2000; ++step) {
      log.push(step * 7);
      all.push_back(step * 7);
      for (std::size_t at = 0; at < readers.size(); ++at) {
        if (!dice.percent(40 / (at * at * at + 1))) continue;
        const std::size_t behind = all.size() - seen[at];
        const bool caught_up = readers[at].catch_up(log);
        if (behind <= limit / 2) {
          ASSERT_TRUE(caught_up) << "half of the limit is always there";
        }
        if (behind > limit) {
          ASSERT_FALSE(caught_up);
        }
        const std::vector<std::uint32_t> missed(all.begin() + static_cast<std::ptrdiff_t>(seen[at]), all.end());
        if (caught_up) {
          ASSERT_EQ(readers[at].read, missed);
        }
        seen[at] = all.size();
      }
    }
  }
}

}  // namespace
}  // namespace volsched::test
