#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "volsched/amount.hpp"
#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// A claim. A slot with exists = false stands for a name that a pod or a volume refers to.
struct Claim {
  StringId space;  ///< namespace
  StringId name;
  StringId uid;
  StringId version;       ///< resourceVersion
  ClassId storage_class;  ///< spec/scheduling.md 2.2
  StringId spec_class;    ///< by which VolumeBinding groups: spec.storageClassName, without it the class
  Nanos request = 0;
  std::int64_t request_bytes = 0;
  std::uint32_t access_modes = 0;
  StringId volume_mode;
  StringId attributes_class;
  LabelSelectorId selector;  ///< invalid = none
  VolumeId volume;           ///< spec.volumeName, invalid = none
  StringId selected_node;    ///< effective: the object's, or what an assumption set
  StringId owner_uid;        ///< controller owner, empty = none
  ShapeId shape;
  bool exists = false;
  bool has_request = false;
  bool has_class = false;  ///< class name not empty
  bool is_bind_completed = false;
  bool has_selected_node = false;
  bool is_lost = false;
  bool is_deleting = false;
  bool is_one_pod_only = false;  ///< ReadWriteOncePod among the access modes

  [[nodiscard]] bool is_fully_bound() const { return volume.valid() && is_bind_completed; }
};

/// Claims by namespace and name, and the pods on nodes that use them.
class ClaimTable {
 public:
  ClaimId slot(StringId space, StringId name);
  [[nodiscard]] ClaimId find(StringId space, StringId name) const { return ClaimId(by_name_.find(pack(space, name))); }
  [[nodiscard]] const Claim& at(ClaimId id) const { return claims_[id.index()]; }
  [[nodiscard]] Claim& edit(ClaimId id) { return claims_.edit(id.index()); }
  [[nodiscard]] std::size_t size() const { return claims_.size(); }

  /// References by PVC volumes of pods on existing nodes: what ReadWriteOncePod goes by. Source:
  /// spec/scheduling.md 7.1, 12.2.
  [[nodiscard]] std::int32_t use_count(ClaimId id) const { return uses_[id.index()].count; }
  void count_use(ClaimId id, std::int32_t change) { uses_.edit(id.index()).count += change; }

  /// Pods on nodes that refer to the claim in any way, one entry a reference.
  [[nodiscard]] std::span<const PodId> users(ClaimId id) const {
    const Use& use = uses_[id.index()];
    if (!use.is_shared) return {&use.user, use.user.valid() ? std::size_t{1} : std::size_t{0}};
    return more_users_.at(id.value());
  }
  void add_user(ClaimId id, PodId pod);
  void remove_user(ClaimId id, PodId pod);
  [[nodiscard]] std::size_t bytes() const;

 private:
  /// Most claims have one user at most; those that have more have all of them in `more_users_`.
  struct Use {
    std::int32_t count = 0;
    PodId user;
    bool is_shared = false;
  };
  SharedVector<Claim> claims_;
  SharedVector<Use> uses_;  ///< by claim
  std::unordered_map<std::uint32_t, std::vector<PodId>> more_users_;
  FlatMap by_name_;
};

enum class BindingMode : std::uint8_t { kUnset, kImmediate, kWaitForFirstConsumer };

/// A storage class. A slot with exists = false stands for a name that something refers to.
struct StorageClass {
  StringId name;
  bool exists = false;
  BindingMode mode = BindingMode::kUnset;
  bool provisions = false;  ///< the provisioner is not empty and not kubernetes.io/no-provisioner
  StringId provisioner;
  DriverId driver;           ///< the provisioner as a driver, for attach limits and capacity
  bool is_in_tree = false;   ///< the provisioner is an in-tree plugin: it counts only where it is migrated
  DriverId migrated_driver;  ///< the CSI driver in its place, invalid where the scheduler knows none
  SelectorId allowed;        ///< allowedTopologies
  StringId shared_capacity;  ///< classes of one provisioner with the same text draw on one storage; empty = with none
};

/// Whether two different classes draw on one storage.
[[nodiscard]] inline bool share_storage(const StorageClass& left, const StorageClass& right) {
  return left.exists && right.exists && left.shared_capacity != StringPool::kEmpty &&
         left.shared_capacity == right.shared_capacity && left.provisioner == right.provisioner;
}

class ClassTable {
 public:
  ClassId slot(StringId name);
  [[nodiscard]] ClassId find(StringId name) const { return ClassId(by_name_.find(name.value())); }
  [[nodiscard]] const StorageClass& at(ClassId id) const { return classes_[id.index()]; }
  [[nodiscard]] StorageClass& edit(ClassId id) { return classes_[id.index()]; }
  [[nodiscard]] std::size_t size() const { return classes_.size(); }

 private:
  std::vector<StorageClass> classes_;
  FlatMap by_name_;
};

}  // namespace volsched
