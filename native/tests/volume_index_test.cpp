// VolumeIndex against a scan over all volumes: the best free volume of a class for a claim on a node, whatever came,
// went or was reserved.

#include "volsched/volume_index.hpp"

#include "volume_world.hpp"

namespace volsched::test {
namespace {

PlainVolume sized(const std::string& name, std::int64_t bytes) {
  PlainVolume made;
  made.name = name;
  made.capacity_bytes = bytes;
  made.capacity = Nanos{bytes} * kNanosPerByte;
  return made;
}

PlainShape wanting(std::int64_t bytes) {
  PlainShape made;
  made.request_bytes = bytes;
  made.request = Nanos{bytes} * kNanosPerByte;
  return made;
}

class VolumeIndexTest : public testing::Test {
 protected:
  VolumeWorld world;

  void SetUp() override {
    world.set_labels(0, PlainLabels{{"zone", "a"}});
    world.set_labels(1, PlainLabels{{"zone", "b"}});
  }
};

TEST_F(VolumeIndexTest, ASlotIsMadeOnceAName) {
  const VolumeId slot = world.index.slot(world.id("pv"));
  EXPECT_EQ(world.index.slot(world.id("pv")), slot);
  EXPECT_EQ(world.index.find(world.id("pv")), slot);
  EXPECT_FALSE(world.index.find(world.id("other")).valid());
  EXPECT_FALSE(world.index.at(slot).exists) << "a claim may name a volume that does not exist";
  EXPECT_EQ(world.index.size(), 1U);
  EXPECT_SOUND(world.validate());
}

TEST_F(VolumeIndexTest, TheSmallestThatIsLargeEnoughWins) {
  world.put(sized("large", 20));
  world.put(sized("small", 5));
  world.put(sized("fits", 10));
  EXPECT_EQ(world.best(wanting(6), 0), "fits");
  EXPECT_EQ(world.best(wanting(5), 0), "small");
  EXPECT_EQ(world.best(wanting(0), 0), "small") << "a claim without a request takes the smallest";
  EXPECT_EQ(world.best(wanting(21), 0), "");
}

TEST_F(VolumeIndexTest, SizesAreComparedToTheNano) {
  PlainVolume almost = sized("almost", 10);
  almost.capacity -= 1;
  world.put(almost);
  EXPECT_EQ(world.best(wanting(10), 0), "");
  PlainShape less = wanting(10);
  less.request -= 1;
  EXPECT_EQ(world.best(less, 0), "almost");
}

TEST_F(VolumeIndexTest, NamesDecideAmongEqualSizes) {
  for (const char* name : {"pv-b", "pv-a", "pv-10", "pv-c"}) world.put(sized(name, 10));
  EXPECT_EQ(world.best(wanting(10), 0), "pv-10");
  EXPECT_EQ(world.best(wanting(10), 0, {"pv-10", "pv-a"}), "pv-b");
  PlainVolume other_run = sized("pv-0", 10);
  other_run.access_modes = 3;
  world.put(other_run);
  EXPECT_EQ(world.best(wanting(10), 0), "pv-0") << "also across access modes";
}

TEST_F(VolumeIndexTest, EveryPropertyOfAClaimIsAsked) {
  PlainVolume volume = sized("pv", 10);
  volume.access_modes = 0b101;
  volume.mode = "Block";
  volume.attributes_class = "gold";
  volume.labels = {{"tier", "fast"}};
  volume.storage_class = 3;
  world.put(volume);
  PlainShape claim = wanting(10);
  claim.access_modes = 0b100;
  claim.mode = "Block";
  claim.attributes_class = "gold";
  claim.selector = LabelSelectorText{{{"tier", "fast"}}, {}};
  claim.storage_class = 3;
  EXPECT_EQ(world.best(claim, 0), "pv");
  const auto without = [&](auto&& change) {
    PlainShape changed = claim;
    change(changed);
    return world.best(changed, 0);
  };
  EXPECT_EQ(without([](PlainShape& shape) { shape.access_modes = 0b110; }), "") << "a mode the volume lacks";
  EXPECT_EQ(without([](PlainShape& shape) { shape.mode = "Filesystem"; }), "");
  EXPECT_EQ(without([](PlainShape& shape) { shape.attributes_class = ""; }), "");
  EXPECT_EQ(without([](PlainShape& shape) { shape.selector = LabelSelectorText{{{"tier", "slow"}}, {}}; }), "");
  EXPECT_EQ(without([](PlainShape& shape) { shape.selector = LabelSelectorText{}; }), "pv")
      << "an empty selector is no constraint";
  EXPECT_EQ(without([](PlainShape& shape) { shape.selector = std::nullopt; }), "pv");
  EXPECT_EQ(without([](PlainShape& shape) { shape.storage_class = 2; }), "");
  EXPECT_EQ(without([](PlainShape& shape) { shape.storage_class = 77; }), "") << "a class never heard of";
}

TEST_F(VolumeIndexTest, OnlyFreeVolumesCount) {
  const auto with = [&](auto&& change) {
    PlainVolume volume = sized("pv", 10);
    change(volume);
    world.put(volume);
    EXPECT_SOUND(world.validate());
    return world.best(wanting(5), 0);
  };
  EXPECT_EQ(with([](PlainVolume&) {}), "pv");
  EXPECT_EQ(with([](PlainVolume& volume) { volume.is_available = false; }), "");
  EXPECT_EQ(with([](PlainVolume& volume) { volume.is_deleting = true; }), "");
  EXPECT_EQ(with([](PlainVolume& volume) { volume.claim = 4; }), "");
  EXPECT_EQ(with([](PlainVolume&) {}), "pv");
  world.erase("pv");
  EXPECT_EQ(world.best(wanting(5), 0), "");
  EXPECT_SOUND(world.validate());
}

TEST_F(VolumeIndexTest, AVolumeIsReachedFromTheNodesOfItsAffinity) {
  PlainVolume volume = sized("pv", 10);
  volume.affinity = where("zone", {"a"});
  world.put(volume);
  EXPECT_EQ(world.best(wanting(5), 0), "pv");
  EXPECT_EQ(world.best(wanting(5), 1), "");
  world.set_labels(1, PlainLabels{{"zone", "a"}});
  EXPECT_EQ(world.best(wanting(5), 1), "pv") << "a node that moves into the zone";
  world.set_labels(0, std::nullopt);
  EXPECT_EQ(world.best(wanting(5), 0), "") << "a node that is gone";
  volume.affinity = SelectorText{};
  world.put(volume);
  EXPECT_EQ(world.best(wanting(5), 1), "") << "no terms match no node";
  EXPECT_SOUND(world.validate());
}

TEST_F(VolumeIndexTest, ReservingAndReleasingTouchNothingElse) {
  world.put(sized("pv", 10));
  const Volume before = world.index.at(world.index.find(world.id("pv")));
  world.reserve("pv", 2, "uid-2");
  const VolumeId id = world.index.find(world.id("pv"));
  EXPECT_EQ(world.index.at(id).claim, ClaimId(std::uint32_t{2}));
  EXPECT_EQ(world.index.at(id).claim_uid, world.id("uid-2"));
  EXPECT_EQ(world.index.at(id).phase, before.phase);
  EXPECT_EQ(world.best(wanting(5), 0), "");
  world.reserve("pv", std::nullopt, "");
  EXPECT_EQ(world.best(wanting(5), 0), "pv");
  EXPECT_SOUND(world.validate());
}

TEST_F(VolumeIndexTest, VolumesOfAClaimAreListedByName) {
  for (const char* name : {"pv-c", "pv-a", "pv-b"}) {
    PlainVolume volume = sized(name, 10);
    volume.claim = 7;
    world.put(volume);
  }
  const auto listed = [&](std::uint32_t claim) {
    Texts names;
    for (VolumeId at = world.index.first_of_claim(ClaimId(claim)); at.valid(); at = world.index.at(at).next_of_claim) {
      names.push_back(world.name_of_volume(at));
    }
    return names;
  };
  EXPECT_EQ(listed(7), (Texts{"pv-a", "pv-b", "pv-c"}));
  world.reserve("pv-b", 8, "uid");
  EXPECT_EQ(listed(7), (Texts{"pv-a", "pv-c"}));
  EXPECT_EQ(listed(8), Texts{"pv-b"});
  world.erase("pv-a");
  EXPECT_EQ(listed(7), Texts{"pv-c"});
  EXPECT_EQ(listed(5000), Texts());
}

TEST_F(VolumeIndexTest, EqualShapesAndSelectorsAreOne) {
  PlainShape plain = wanting(5);
  plain.selector = LabelSelectorText{{{"tier", "fast"}}, {}};
  const ShapeId first = world.index.shape(world.shape(plain));
  EXPECT_EQ(world.index.shape(world.shape(plain)), first);
  EXPECT_EQ(world.index.shape_at(first), world.shape(plain));
  const auto differs = [&](auto&& change) {
    PlainShape changed = plain;
    change(changed);
    EXPECT_NE(world.index.shape(world.shape(changed)), first);
  };
  differs([](PlainShape& shape) { shape.request += 1; });
  differs([](PlainShape& shape) { shape.request += Nanos{1} << 64; });
  differs([](PlainShape& shape) { shape.request_bytes += 1; });
  differs([](PlainShape& shape) { shape.storage_class = 1; });
  differs([](PlainShape& shape) { shape.mode = "Block"; });
  differs([](PlainShape& shape) { shape.attributes_class = "gold"; });
  differs([](PlainShape& shape) { shape.access_modes = 2; });
  differs([](PlainShape& shape) { shape.selector = std::nullopt; });
  differs([](PlainShape& shape) { shape.selector = LabelSelectorText{}; });
  const LabelSelectorId selector = world.index.selector(world.read(LabelSelectorText{{{"tier", "fast"}}, {}}));
  EXPECT_EQ(world.index.selector_at(selector).requirements,
            world.read(LabelSelectorText{{{"tier", "fast"}}, {}}).requirements);
}

TEST_F(VolumeIndexTest, BestFitEqualsAScanOverRandomChanges) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    VolumeChance chance(seed);
    world = VolumeWorld();
    const std::uint32_t nodes = seed < 8 ? 6 : 130;
    const std::uint32_t classes = 1 + chance.dice.below32(3);
    const std::size_t volumes = seed % 2 == 0 ? 12 : 60;
    for (std::uint32_t row = 0; row < nodes; ++row) world.set_labels(row, chance.node_labels());
    for (int step = 0; step < 400; ++step) {
      chance.change(world, nodes, classes, volumes);
      ASSERT_SOUND(world.validate()) << "seed " << seed << " step " << step;
      for (int check = 0; check < 5; ++check) {
        const PlainShape shape = chance.shape(classes);
        const std::uint32_t row = chance.dice.below32(nodes);
        Texts excluded;
        for (std::size_t more = chance.dice.below(4); more > 0; --more) {
          const std::string best = world.plain_best(shape, row, excluded);
          const std::string name = chance.dice.percent(70) ? best : "pv-" + std::to_string(chance.dice.below(volumes));
          if (world.volumes.contains(name)) excluded.push_back(name);
        }
        ASSERT_EQ(world.best(shape, row, excluded), world.plain_best(shape, row, excluded))
            << "seed " << seed << " step " << step;
      }
      const std::uint32_t claim = chance.dice.below32(5);
      Texts wanted;
      for (const auto& [name, volume] : world.volumes) {
        if (volume.claim == claim) wanted.push_back(name);
      }
      Texts listed;
      for (VolumeId at = world.index.first_of_claim(ClaimId(claim)); at.valid();
           at = world.index.at(at).next_of_claim) {
        listed.push_back(world.name_of_volume(at));
      }
      ASSERT_EQ(listed, wanted);
    }
    EXPECT_GT(world.index.bytes(), 0U);
    for (std::uint32_t each = 0; each < classes; ++each) EXPECT_LE(world.index.profile_count(ClassId(each)), nodes + 2);
  }
}

TEST_F(VolumeIndexTest, RunsLongerThanAChunkStayInOrder) {
  VolumeChance chance(99);
  for (int at = 0; at < 1500; ++at) {
    PlainVolume volume = sized("pv-" + std::to_string(at), chance.dice.between(1, 40));
    if (chance.dice.percent(50)) volume.affinity = where("zone", {"a"});
    world.put(volume);
  }
  ASSERT_SOUND(world.validate());
  for (int round = 0; round < 200; ++round) {
    const std::string name = "pv-" + std::to_string(chance.dice.below(1500));
    if (world.volumes[name].claim) {
      world.reserve(name, std::nullopt, "");
    } else {
      world.reserve(name, 1, "");
    }
    const PlainShape shape = wanting(chance.dice.between(0, 42));
    ASSERT_EQ(world.best(shape, 0), world.plain_best(shape, 0));
    ASSERT_EQ(world.best(shape, 1), world.plain_best(shape, 1));
  }
  EXPECT_SOUND(world.validate());
}

}  // namespace
}  // namespace volsched::test
