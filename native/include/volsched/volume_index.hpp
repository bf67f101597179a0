#pragma once

#include <list>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "volsched/amount.hpp"
#include "volsched/flat_map.hpp"
#include "volsched/group_space.hpp"
#include "volsched/ids.hpp"
#include "volsched/kept_column.hpp"
#include "volsched/labels.hpp"
#include "volsched/row_classes.hpp"
#include "volsched/selectors.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/sorted_ids.hpp"

namespace volsched {

/// Where a volume's data is, as far as attach limits and migration go.
enum class VolumeSource : std::uint8_t {
  kOther,       ///< not counted
  kCsi,         ///< `driver` and `handle`
  kMigratable,  ///< in-tree `plugin`; `driver`, `handle` and `migrated_affinity` are its translation unless
                ///< `translation_error` is set
};

/// A persistent volume. A slot with exists = false stands for a name that a claim refers to.
struct Volume {
  StringId name;
  StringId version;  ///< resourceVersion
  ClassId storage_class;
  StringId spec_class;  ///< spec.storageClassName, empty when unset
  Nanos capacity = 0;
  std::int64_t capacity_bytes = 0;
  std::uint32_t access_modes = 0;
  StringId volume_mode;
  StringId attributes_class;
  ClaimId claim;       ///< claimRef, or what an assumption set; invalid = none
  StringId claim_uid;  ///< empty = any
  StringId phase;
  LabelSetId labels = LabelSets::kEmpty;
  SelectorId affinity;
  SelectorId migrated_affinity;
  VolumeSource source = VolumeSource::kOther;
  bool exists = false;
  bool is_available = false;
  bool is_deleting = false;
  DriverId driver;
  StringId handle;
  StringId plugin;
  StringId translation_error;  ///< empty = fine
  GroupId group;
  VolumeId next_of_claim;  ///< next volume with the same claim, by name
};

/// All that matters of a claim when an unreserved volume is looked for.
struct Shape {
  ClassId storage_class;
  Nanos request = 0;
  std::int64_t request_bytes = 0;
  std::uint32_t access_modes = 0;
  StringId volume_mode;
  StringId attributes_class;
  LabelSelectorId selector;  ///< invalid = none
  bool operator==(const Shape&) const = default;
};

/// For claims of one class that a pod wants together, smallest first: which volume each gets on the nodes of a profile,
/// which nodes have one, and what VolumeBinding scores there. Follows the class's log, so it costs what has changed
/// since it was last used.
struct MatchColumn {
  std::vector<ShapeId> shapes;
  std::vector<std::vector<VolumeId>> group_picks;  ///< [shape][group]: best volume of the group for the shape alone
  std::vector<std::uint64_t> known_serial;         ///< by profile: for which serial the rest is valid
  std::vector<VolumeId> picks;                     ///< [profile * shapes + claim]
  std::vector<std::int32_t> profile_score;         ///< 0 where none matched
  std::size_t invalid_count = 0;                   ///< of them: not in 0..100
  std::vector<NodeMask> matched;                   ///< [claim]: nodes with a volume for it
  NodeMask any;                                    ///< nodes with a volume for some claim
  KeptColumn score;                                ///< by row; behind by what is unwritten, see VolumeIndex::score
  std::vector<std::uint32_t> unwritten;            ///< profiles, and rows as GroupSpace::kMoved
  bool all_unwritten = true;
  std::uint64_t cursor = 0;
  std::uint64_t last_used = 0;
};

/// Persistent volumes: class -> group of equal node affinity -> unreserved ones by size and name; and by the claim they
/// are reserved for. The order of a group is by exact capacity, then name: upstream's order of equal volumes is not
/// defined, here names decide (spec/scheduling.md 9.9). Each group keeps one run per (mode, access modes, attributes
/// class), so that finding the best volume of a group is a binary search per run unless the claim selects by volume
/// labels.
class VolumeIndex {
 public:
  /// The slot of a name, made when it is new.
  VolumeId slot(StringId name);
  [[nodiscard]] VolumeId find(StringId name) const { return VolumeId(by_name_.find(name.value())); }
  [[nodiscard]] const Volume& at(VolumeId id) const { return volumes_[id.index()]; }
  [[nodiscard]] std::size_t size() const { return volumes_.size(); }

  /// Replace what is known of a volume. `volume.name` has its slot; claim and claim_uid are the object's own.
  void put(VolumeId id, const Volume& volume, const SelectorIndex& selectors, const StringPool& strings,
           std::size_t rows);
  /// Forget the object; the slot stays.
  void erase(VolumeId id, const StringPool& strings);
  /// Set or clear the claim without touching anything else (assume and forget).
  void reserve(VolumeId id, ClaimId claim, StringId claim_uid, const StringPool& strings);

  /// The first volume reserved for a claim, by name; follow next_of_claim.
  [[nodiscard]] VolumeId first_of_claim(ClaimId claim) const {
    return claim.index() < first_of_claim_.size() ? first_of_claim_[claim.index()] : VolumeId();
  }

  ShapeId shape(const Shape& shape);
  [[nodiscard]] const Shape& shape_at(ShapeId id) const { return shapes_[id.index()]; }
  LabelSelectorId selector(LabelSelector selector);
  [[nodiscard]] const LabelSelector& selector_at(LabelSelectorId id) const { return selectors_[id.index()]; }

  /// The column of a tuple of shapes of one class, up to date; valid until the next call.
  MatchColumn& column(std::span<const ShapeId> shapes, const LabelSets& labels, const StringPool& strings,
                      std::size_t rows);
  /// The scores of a column that is up to date, by row.
  const KeptColumn& score(MatchColumn& column) const;
  /// The nodes by profile, each class with its profile for a signature; nullptr where that are too many.
  const RowClasses* classes(ClassId storage_class, std::size_t rows);
  /// The volume a claim gets on a node by a column: `claim` counts within the tuple.
  [[nodiscard]] VolumeId pick(const MatchColumn& column, std::size_t claim, NodeId row) const;
  /// The best unreserved volume for a shape that a profile's nodes reach.
  [[nodiscard]] VolumeId best_for(const Shape& shape, ProfileId profile, std::span<const VolumeId> excluded,
                                  const LabelSets& labels, const StringPool& strings) const;
  [[nodiscard]] ProfileId profile_of(ClassId storage_class, NodeId row) const;
  [[nodiscard]] std::size_t profile_count(ClassId storage_class) const;

  void on_change(const SelectorChange& change, std::size_t rows);

  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate(const SelectorIndex& selectors, const LabelSets& labels, const StringPool& strings,
                                     std::size_t rows);

 private:
  struct Run {
    StringId volume_mode;
    StringId attributes_class;
    std::uint32_t access_modes = 0;
    SortedIds volumes;
  };
  struct Group {
    SelectorId selector;
    std::vector<Run> runs;
  };
  struct ClassVolumes {
    GroupSpace space;
    SharedVector<Group> groups;
    FlatMap by_selector;
    std::list<MatchColumn> columns;  ///< references stay valid while others are added
    RowClasses profiles;
    std::size_t profiles_rows = 0;  ///< rows that `profiles` has, 0 while it is not kept
    std::uint64_t profiles_cursor = 0;
  };
  struct Watch {
    ClassId storage_class;
    GroupId group;
  };

  [[nodiscard]] bool is_unreserved(const Volume& volume) const {
    return volume.exists && volume.is_available && !volume.is_deleting && !volume.claim.valid();
  }
  [[nodiscard]] bool less(VolumeId left, VolumeId right, const StringPool& strings) const;
  ClassVolumes& class_entry(ClassId storage_class);
  [[nodiscard]] const ClassVolumes* find_class(ClassId storage_class) const;
  GroupId group_of(ClassId storage_class, SelectorId affinity, const SelectorIndex& selectors, std::size_t rows);
  void list(VolumeId id, const StringPool& strings);
  void unlist(VolumeId id, const StringPool& strings);
  void link(VolumeId id, const StringPool& strings);
  void unlink(VolumeId id);
  /// Where a claim's volume after `before` is written, the first one when that is none.
  VolumeId& next_link(ClaimId claim, VolumeId before);
  [[nodiscard]] VolumeId best_in_group(const Group& group, const Shape& shape, std::span<const VolumeId> excluded,
                                       const LabelSets& labels, const StringPool& strings) const;
  void rebuild(MatchColumn& column, const ClassVolumes& entry, const LabelSets& labels, const StringPool& strings,
               std::size_t rows) const;
  void compute(MatchColumn& column, const ClassVolumes& entry, ProfileId profile, const LabelSets& labels,
               const StringPool& strings) const;
  static void write_masks(MatchColumn& column, ProfileId profile, NodeId row);
  static void leave_unwritten(MatchColumn& column, std::uint32_t entry);
  void reshape(MatchColumn& column, const ClassVolumes& entry, std::size_t rows) const;
  void evict(ClassVolumes& entry) const;

  SharedVector<Volume> volumes_;
  FlatMap by_name_;
  SharedVector<VolumeId> first_of_claim_;     ///< by ClaimId
  std::vector<ClassVolumes> classes_;         ///< by ClassId
  SharedVector<std::vector<Watch>> watches_;  ///< by SelectorId
  std::vector<Shape> shapes_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> shape_ids_;
  std::vector<LabelSelector> selectors_;
  std::uint64_t uses_ = 0;
};

}  // namespace volsched
