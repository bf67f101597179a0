// RowReader: values as they are packed, and every way a row can be too short or too long.

#include "volsched/row_reader.hpp"

#include <limits>

#include "support.hpp"

namespace volsched::test {
namespace {

TEST(RowReader, ReadsLittleEndianValues) {
  const std::string row("\x01\x02\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f", 13);
  RowReader reader("test", row);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u32(), 2U);
  EXPECT_EQ(reader.i64(), std::numeric_limits<std::int64_t>::max());
  reader.finish();
}

TEST(RowReader, ReadsWhatWasPacked) {
  const Nanos large = (Nanos{0x0123456789abcdef} << 60) + 5;
  const std::string row = Packer()
                              .u8(255)
                              .flag(true)
                              .flag(false)
                              .u32(0xffffffff)
                              .i64(-1)
                              .nanos(large)
                              .nanos(-large)
                              .text("zone")
                              .text("")
                              .bytes();
  RowReader reader("test", row);
  EXPECT_EQ(reader.u8(), 255);
  EXPECT_TRUE(reader.flag());
  EXPECT_FALSE(reader.flag());
  EXPECT_EQ(reader.u32(), 0xffffffffU);
  EXPECT_EQ(reader.i64(), -1);
  EXPECT_TRUE(reader.nanos() == large);
  EXPECT_TRUE(reader.nanos() == -large);
  EXPECT_EQ(reader.text(), "zone");
  EXPECT_EQ(reader.text(), "");
  reader.finish();
}

TEST(RowReader, TextKeepsEveryByteAndPointsIntoTheRow) {
  const std::string odd("a\0\xff\n", 4);
  const std::string row = Packer().text(odd).bytes();
  RowReader reader("test", row);
  const std::string_view read = reader.text();
  EXPECT_EQ(read, odd);
  EXPECT_EQ(read.data(), row.data() + 4);
}

TEST(RowReader, SinceGivesWhatWasReadFromAPosition) {
  const std::string row = Packer().u8(1).text("abc").u8(2).bytes();
  RowReader reader("test", row);
  static_cast<void>(reader.u8());
  const std::size_t from = reader.position();
  EXPECT_EQ(from, 1U);
  static_cast<void>(reader.text());
  EXPECT_EQ(reader.since(from), std::string_view(row).substr(1, 7));
  EXPECT_EQ(reader.since(0).size(), 8U);
}

TEST(RowReader, NamesTheKindAndTheOffsetOfARowThatEndsTooSoon) {
  const std::string row = Packer().u8(1).u8(2).bytes();
  RowReader reader("node", row);
  static_cast<void>(reader.u8());
  EXPECT_EQ(error_of([&] { static_cast<void>(reader.i64()); }), "malformed node row: 8 bytes wanted at offset 1 of 2");
}

TEST(RowReader, RefusesATextThatReachesPastTheEnd) {
  const std::string row = Packer().u32(5).u8('a').bytes();
  RowReader reader("pod", row);
  EXPECT_EQ(error_of([&] { static_cast<void>(reader.text()); }), "malformed pod row: 5 bytes wanted at offset 4 of 5");
}

TEST(RowReader, RefusesAListLongerThanTheRowBeforeReservingAnything) {
  const std::string row = Packer().u32(0xffffffff).u8(0).bytes();
  RowReader reader("pod", row);
  EXPECT_EQ(error_of([&] { static_cast<void>(reader.count()); }),
            "malformed pod row: a list of 4294967295 entries at offset 4");
  const std::string exact = Packer().u32(2).u8(0).u8(0).bytes();
  RowReader fits("pod", exact);
  EXPECT_EQ(fits.count(), 2U);
}

TEST(RowReader, RefusesWhatIsLeftOver) {
  const std::string row = Packer().u8(1).u32(2).bytes();
  RowReader reader("node", row);
  static_cast<void>(reader.u8());
  EXPECT_EQ(error_of([&] { reader.finish(); }), "malformed node row: 4 bytes left over");
  static_cast<void>(reader.u32());
  reader.finish();
}

TEST(RowReader, AnEmptyRowHasNothingToRead) {
  RowReader reader("node", std::string_view());
  reader.finish();
  EXPECT_THROW(static_cast<void>(reader.u8()), Error);
  EXPECT_THROW(static_cast<void>(reader.u32()), Error);
  EXPECT_THROW(static_cast<void>(reader.nanos()), Error);
  EXPECT_THROW(static_cast<void>(reader.text()), Error);
  EXPECT_THROW(static_cast<void>(reader.count()), Error);
}

}  // namespace
}  // namespace volsched::test
