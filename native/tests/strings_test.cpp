// StringPool against std::map: one id per text, whatever the text holds.

#include "volsched/strings.hpp"

#include "support.hpp"

namespace volsched::test {
namespace {

TEST(StringPool, KnowsTheEmptyTextFromTheStart) {
  StringPool pool;
  EXPECT_EQ(pool.size(), 1U);
  EXPECT_EQ(pool.intern(""), StringPool::kEmpty);
  EXPECT_EQ(pool.intern(std::string_view()), StringPool::kEmpty) << "a view of nothing is empty text";
  EXPECT_EQ(pool.find(std::string_view()), StringPool::kEmpty);
  EXPECT_EQ(pool.view(StringPool::kEmpty), "");
  EXPECT_EQ(pool.size(), 1U);
}

TEST(StringPool, EqualTextHasOneId) {
  StringPool pool;
  const StringId first = pool.intern("topology.kubernetes.io/zone");
  EXPECT_EQ(pool.intern(std::string("topology.kubernetes.io/") + "zone"), first);
  EXPECT_NE(pool.intern("topology.kubernetes.io/zonf"), first);
  EXPECT_EQ(pool.str(first), "topology.kubernetes.io/zone");
}

TEST(StringPool, FindDoesNotMakeIds) {
  StringPool pool;
  EXPECT_FALSE(pool.find("a").valid());
  EXPECT_EQ(pool.size(), 1U);
  const StringId id = pool.intern("a");
  EXPECT_EQ(pool.find("a"), id);
  EXPECT_FALSE(pool.find(std::string_view("a\0", 2)).valid()) << "a zero byte is text like any other";
}

TEST(StringPool, TellsTextsApartThatDifferOnlyInZeroBytesOrLength) {
  StringPool pool;
  std::set<std::uint32_t> ids;
  for (std::size_t length = 0; length < 40; ++length) ids.insert(pool.intern(std::string(length, '\0')).value());
  EXPECT_EQ(ids.size(), 40U);
}

TEST(StringPool, InternsTextThatLiesInItsOwnBuffer) {
  StringPool pool;
  // each text is a piece of one that is in the pool already, so the source moves when the buffer grows
  StringId id = pool.intern(std::string(300, 'x') + "end");
  for (int step = 0; step < 300; ++step) {
    const std::string expected = pool.str(id).substr(1);
    id = pool.intern(pool.view(id).substr(1));
    ASSERT_EQ(pool.view(id), expected);
  }
}

TEST(StringPool, CopiesAreIndependent) {
  StringPool pool;
  const StringId shared = pool.intern("shared");
  StringPool copy = pool;
  const StringId only_here = pool.intern("here");
  const StringId only_there = copy.intern("there");
  EXPECT_EQ(copy.view(shared), "shared");
  EXPECT_EQ(pool.view(only_here), "here");
  EXPECT_EQ(copy.view(only_there), "there");
  EXPECT_FALSE(copy.find("here").valid());
}

TEST(StringPool, EqualsAMapOverManyTexts) {
  Dice dice(1);
  StringPool pool;
  std::map<std::string, StringId> twin;
  for (int step = 0; step < 30000; ++step) {
    std::string text;
    for (std::size_t length = dice.below(20); length > 0; --length)
      text += static_cast<char>(dice.percent(80) ? 'a' + dice.below(3) : dice.below(256));
    if (dice.percent(20)) {
      const auto known = twin.find(text);
      ASSERT_EQ(pool.find(text),
                known == twin.end() ? (text.empty() ? StringPool::kEmpty : StringId()) : known->second);
      continue;
    }
    const StringId id = pool.intern(text);
    const auto [known, is_new] = twin.try_emplace(text, id);
    ASSERT_EQ(known->second, id);
    if (is_new && !text.empty()) {
      ASSERT_EQ(pool.size(), twin.size() + (twin.contains("") ? 0U : 1U));
    }
  }
  for (const auto& [text, id] : twin) ASSERT_EQ(pool.view(id), text);
  EXPECT_GE(pool.bytes(), twin.size() * 4);
}

}  // namespace
}  // namespace volsched::test
