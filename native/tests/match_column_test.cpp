// Match columns: for claims that a pod wants together, what each gets on each node and how the node scores, kept up to
// date by the log of the class. Compared with the rules applied node by node.

#include <cmath>

#include "volsched/volume_index.hpp"
#include "volume_world.hpp"

namespace volsched::test {
namespace {

class MatchColumnTest : public testing::Test {
 protected:
  VolumeWorld world;

  std::uint32_t asked = 0;

  std::vector<ShapeId> ids_of(const std::vector<PlainShape>& shapes) {
    std::vector<ShapeId> ids;
    for (const PlainShape& shape : shapes) ids.push_back(world.index.shape(world.shape(shape)));
    return ids;
  }
  MatchColumn& column(const std::vector<PlainShape>& shapes) {
    return world.index.column(ids_of(shapes), world.label_sets, world.strings, world.rows);
  }
  /// What each claim gets on a node by the rules, claim after claim.
  Texts plain_picks(const std::vector<PlainShape>& shapes, std::uint32_t row) const {
    Texts picks;
    Texts taken;
    for (const PlainShape& shape : shapes) {
      picks.push_back(world.plain_best(shape, row, taken));
      if (!picks.back().empty()) taken.push_back(picks.back());
    }
    return picks;
  }
  /// spec/scheduling.md 4.5: fills by the volumes' own class, averaged, half away from zero.
  std::int32_t plain_score(const std::vector<PlainShape>& shapes, const Texts& picks) const {
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> fills;
    for (std::size_t at = 0; at < shapes.size(); ++at) {
      if (picks[at].empty()) continue;
      const PlainVolume& volume = world.volumes.at(picks[at]);
      fills[volume.spec_class].first += shapes[at].request_bytes;
      fills[volume.spec_class].second += volume.capacity_bytes;
    }
    if (fills.empty()) return 0;
    double sum = 0;
    for (const auto& [name, fill] : fills) {
      const auto [requested, capacity] = fill;
      const std::int64_t used = capacity == 0 || requested > capacity ? 100 : requested * 100 / capacity;
      sum += static_cast<double>(100 - used);
    }
    return static_cast<std::int32_t>(std::round(sum / static_cast<double>(fills.size())));
  }
  /// Scores by row are asked for now and then, so that changes pile up.
  void expect_right(const std::vector<PlainShape>& shapes) {
    MatchColumn& found = column(shapes);
    const KeptColumn* scores = ++asked % 3 == 0 ? &world.index.score(found) : nullptr;
    const RowClasses* classes =
        world.index.classes(world.index.shape_at(found.shapes.front()).storage_class, world.rows);
    ASSERT_NE(classes, nullptr);
    ASSERT_EQ(found.matched.size(), shapes.size());
    ASSERT_EQ(found.any.size(), world.rows);
    ASSERT_SOUND(found.any.validate());
    for (std::uint32_t row = 0; row < world.rows; ++row) {
      const Texts wanted = plain_picks(shapes, row);
      bool some = false;
      for (std::size_t claim = 0; claim < shapes.size(); ++claim) {
        ASSERT_EQ(world.name_of_volume(world.index.pick(found, claim, NodeId(row))), wanted[claim])
            << "row " << row << " claim " << claim;
        ASSERT_EQ(found.matched[claim].test(NodeId(row)), !wanted[claim].empty())
            << "row " << row << " claim " << claim;
        some = some || !wanted[claim].empty();
      }
      ASSERT_EQ(found.any.test(NodeId(row)), some) << "row " << row;
      const std::int32_t score = plain_score(shapes, wanted);
      const auto profile = static_cast<std::size_t>(classes->signature(classes->of(row))[0]);
      ASSERT_EQ(found.profile_score[profile], score) << "row " << row;
      if (scores != nullptr) {
        ASSERT_EQ((*scores)[row], score) << "row " << row;
      }
    }
  }
};

TEST_F(MatchColumnTest, ClaimsOfAPodDoNotShareAVolume) {
  world.set_labels(0, PlainLabels{{"zone", "a"}});
  world.set_labels(1, PlainLabels{{"zone", "b"}});
  for (const auto& [name, bytes, zone] : {std::tuple{"pv-10", 10, ""}, std::tuple{"pv-20", 20, "a"}}) {
    PlainVolume volume;
    volume.name = name;
    volume.capacity_bytes = bytes;
    volume.capacity = Nanos{bytes} * kNanosPerByte;
    if (*zone != '\0') volume.affinity = where("zone", {zone});
    world.put(volume);
  }
  PlainShape five;
  five.request_bytes = 5;
  five.request = Nanos{5} * kNanosPerByte;
  PlainShape ten = five;
  ten.request_bytes = 10;
  ten.request = Nanos{10} * kNanosPerByte;
  MatchColumn& found = column({five, ten});
  EXPECT_EQ(world.name_of_volume(world.index.pick(found, 0, node(0))), "pv-10");
  EXPECT_EQ(world.name_of_volume(world.index.pick(found, 1, node(0))), "pv-20");
  EXPECT_EQ(world.name_of_volume(world.index.pick(found, 0, node(1))), "pv-10");
  EXPECT_FALSE(world.index.pick(found, 1, node(1)).valid()) << "the smaller claim has taken the only volume";
  EXPECT_EQ(world.index.score(found)[0], 50) << "15 of 30";
  EXPECT_EQ(world.index.score(found)[1], 50) << "5 of 10";
  EXPECT_NO_FATAL_FAILURE(expect_right({five, ten}));
}

TEST_F(MatchColumnTest, OneTupleHasOneColumn) {
  world.set_labels(0, PlainLabels{});
  const PlainShape shape;
  const MatchColumn& first = column({shape});
  EXPECT_EQ(&column({shape}), &first);
  EXPECT_NE(&column({shape, shape}), &first);
}

TEST_F(MatchColumnTest, AColumnOfAnUnknownClassMatchesNothing) {
  world.set_labels(0, PlainLabels{{"zone", "a"}});
  PlainShape shape;
  shape.storage_class = 4000;
  EXPECT_TRUE(column({shape}).any.none());
}

// A cycle keeps a reference to the column of one class while it asks for that of another, which may be the first of its
// class.
TEST_F(MatchColumnTest, AColumnStaysWhereItIsWhileOthersAreMade) {
  world.set_labels(0, PlainLabels{{"zone", "a"}});
  PlainVolume volume;
  volume.name = "pv";
  volume.capacity = 10;
  world.put(volume);
  const PlainShape shape;
  const MatchColumn& kept = column({shape});
  for (std::uint32_t each = 1; each < 300; ++each) {
    PlainShape other;
    other.storage_class = each;
    static_cast<void>(column({other}));
  }
  EXPECT_TRUE(kept.any.test(node(0)));
  EXPECT_EQ(&column({shape}), &kept);
}

TEST_F(MatchColumnTest, TooManyProfilesAreNoClasses) {
  for (std::uint32_t row = 0; row < RowClasses::kClassesMax + 1; ++row) {
    world.set_labels(row, PlainLabels{{"host", std::to_string(row)}});
    PlainVolume volume;
    volume.name = "pv-" + std::to_string(row);
    volume.affinity = where("host", {std::to_string(row)});
    world.put(volume);
  }
  const PlainShape shape;
  const MatchColumn& found = column({shape});
  EXPECT_EQ(world.index.classes(world.index.shape_at(found.shapes.front()).storage_class, world.rows), nullptr);
}

TEST_F(MatchColumnTest, MoreTuplesThanAreKeptAreStillAnsweredRightly) {
  VolumeChance chance(5);
  for (std::uint32_t row = 0; row < 5; ++row) world.set_labels(row, chance.node_labels());
  for (int at = 0; at < 20; ++at) world.put(chance.volume("pv-" + std::to_string(at), 1));
  std::vector<PlainShape> shapes;
  for (int at = 0; at < 120; ++at) {
    PlainShape shape;
    shape.request_bytes = at % 9;
    shape.request = Nanos{at} * kNanosPerByte / 12;
    shapes.push_back(shape);
  }
  for (int round = 0; round < 3; ++round) {
    for (const PlainShape& shape : shapes) ASSERT_NO_FATAL_FAILURE(expect_right({shape}));
    chance.change(world, 5, 1, 20);
  }
  ASSERT_SOUND(world.validate());
}

TEST_F(MatchColumnTest, FollowsRandomChanges) {
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    VolumeChance chance(seed * 31 + 1);
    world = VolumeWorld();
    std::uint32_t nodes = seed % 4 == 3 ? 66 : 8;
    const std::uint32_t classes = 1 + chance.dice.below32(2);
    const std::size_t volumes = seed % 2 == 0 ? 8 : 30;
    for (std::uint32_t row = 0; row < nodes; ++row) world.set_labels(row, chance.node_labels());
    std::vector<std::vector<PlainShape>> tuples(6);
    for (auto& tuple : tuples) {
      for (std::size_t claims = 1 + chance.dice.below(3); claims > 0; --claims) {
        tuple.push_back(chance.shape(classes));
        tuple.back().storage_class = tuple.front().storage_class;
      }
      std::stable_sort(tuple.begin(), tuple.end(),
                       [](const PlainShape& a, const PlainShape& b) { return a.request < b.request; });
    }
    for (int step = 0; step < 300; ++step) {
      for (std::size_t more = chance.dice.below(4); more > 0; --more) chance.change(world, nodes, classes, volumes);
      if (chance.dice.percent(3)) world.set_labels(nodes++, chance.node_labels());
      // only some columns are looked at each time, so that they catch up over different stretches of the log
      ASSERT_NO_FATAL_FAILURE(expect_right(chance.dice.one_of(tuples))) << "seed " << seed << " step " << step;
      if (step % 30 == 0) {
        ASSERT_SOUND(world.validate()) << "seed " << seed << " step " << step;
      }
    }
    for (const auto& tuple : tuples) ASSERT_NO_FATAL_FAILURE(expect_right(tuple));
  }
}

TEST_F(MatchColumnTest, AColumnThatFellBehindTheLogIsMadeAnew) {
  VolumeChance chance(3);
  for (std::uint32_t row = 0; row < 6; ++row) world.set_labels(row, chance.node_labels());
  for (int at = 0; at < 20; ++at) world.put(chance.volume("pv-" + std::to_string(at), 1));
  const std::vector<PlainShape> tuple{chance.shape(1), chance.shape(1)};
  ASSERT_NO_FATAL_FAILURE(expect_right(tuple));
  for (int step = 0; step < 5000; ++step) chance.change(world, 6, 1, 20);
  ASSERT_NO_FATAL_FAILURE(expect_right(tuple));
  ASSERT_SOUND(world.validate());
}

TEST_F(MatchColumnTest, ACopyOfTheIndexFollowsItsOwnChanges) {
  VolumeChance chance(8);
  for (std::uint32_t row = 0; row < 6; ++row) world.set_labels(row, chance.node_labels());
  for (int at = 0; at < 15; ++at) world.put(chance.volume("pv-" + std::to_string(at), 1));
  const std::vector<PlainShape> tuple{chance.shape(1)};
  ASSERT_NO_FATAL_FAILURE(expect_right(tuple));
  const VolumeWorld kept = world;
  for (int step = 0; step < 50; ++step) chance.change(world, 6, 1, 15);
  ASSERT_NO_FATAL_FAILURE(expect_right(tuple));
  world = kept;
  ASSERT_NO_FATAL_FAILURE(expect_right(tuple));
  ASSERT_SOUND(world.validate());
}

}  // namespace
}  // namespace volsched::test
