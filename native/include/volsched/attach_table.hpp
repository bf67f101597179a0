#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/ids.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// A volume as attach limits count it: a driver and a handle. The handle of a claim without a volume is the claim
/// itself.
struct VolumeKey {
  DriverId driver;
  StringId handle;
  auto operator<=>(const VolumeKey&) const = default;

  static VolumeKey of_claim(DriverId driver, ClaimId claim) { return {driver, StringId(kClaim | claim.value())}; }
  /// The claim that stands for its volume, an invalid id when there is a volume.
  [[nodiscard]] ClaimId claim() const {
    return (handle.value() & kClaim) != 0 ? ClaimId(handle.value() & ~kClaim) : ClaimId();
  }

 private:
  static constexpr std::uint32_t kClaim = 0x80000000U;
};

/// Attached volumes per node and driver, with the limits CSINode states. A volume counts once on a node, for its pods
/// or for its VolumeAttachment; that a volume is attached already is only seen when a pod is there
/// (spec/scheduling.md 7.2).
class AttachTable {
 public:
  static constexpr std::int32_t kNoLimit = -1;

  DriverId driver(StringId name);
  [[nodiscard]] DriverId find_driver(StringId name) const { return DriverId(driver_ids_.find(name.value())); }
  [[nodiscard]] StringId driver_name(DriverId id) const { return drivers_[id.index()].name; }
  /// The CSIDriver object's flags; both false when it does not exist.
  void set_driver(DriverId id, bool tracks_capacity, bool must_be_installed);
  [[nodiscard]] bool tracks_capacity(DriverId id) const { return drivers_[id.index()].tracks_capacity; }
  [[nodiscard]] bool must_be_installed(DriverId id) const { return drivers_[id.index()].must_be_installed; }

  void resize(std::size_t rows);
  void set_installed(NodeId row, DriverId driver, bool is_installed, std::int32_t limit);
  [[nodiscard]] const NodeMask& installed(DriverId id) const { return drivers_[id.index()].installed; }
  /// Nodes where `more` further volumes of the driver exceed the limit.
  const NodeMask& full_for(DriverId driver, std::int32_t more);
  [[nodiscard]] bool exceeds(NodeId row, DriverId driver, std::int32_t more) const {
    const Driver& entry = drivers_[driver.index()];
    return entry.limit[row.index()] != kNoLimit && entry.count[row.index()] + more > entry.limit[row.index()];
  }
  [[nodiscard]] std::int32_t count(NodeId row, DriverId driver) const {
    return drivers_[driver.index()].count[row.index()];
  }
  [[nodiscard]] std::int32_t limit(NodeId row, DriverId driver) const {
    return drivers_[driver.index()].limit[row.index()];
  }
  [[nodiscard]] std::size_t driver_count() const { return drivers_.size(); }

  void add_pod_use(NodeId row, VolumeKey key) { change(row, key, 1, 0); }
  void remove_pod_use(NodeId row, VolumeKey key) { change(row, key, -1, 0); }
  void add_attachment(NodeId row, VolumeKey key) { change(row, key, 0, 1); }
  /// Drop everything attached to the node.
  void clear(NodeId row);
  /// Calls visit(NodeId) for the nodes where a pod uses the volume.
  template <class Visit>
  void for_nodes_of(VolumeKey key, Visit&& visit) const {
    for (std::uint32_t at = heads_.find(pack(key.driver, key.handle)); at != FlatMap::kMissing; at = links_[at].next)
      visit(links_[at].row);
  }

  /// Calls visit(VolumeKey, pods, attachments) for what is attached to the node.
  template <class Visit>
  void for_uses_of(NodeId row, Visit&& visit) const {
    for (const Use& use : uses_[row.index()]) visit(use.key, use.pods, use.attachments);
  }

  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const;

 private:
  struct Use {
    VolumeKey key;
    std::uint16_t pods = 0;
    std::uint16_t attachments = 0;
  };
  struct Full {
    std::int32_t more = 0;
    NodeMask nodes;
  };
  struct Driver {
    StringId name;
    bool tracks_capacity = false;
    bool must_be_installed = false;
    NodeMask installed;
    std::vector<std::int32_t> count;
    std::vector<std::int32_t> limit;
    std::vector<Full> full;  ///< masks asked for so far, kept up to date
  };
  struct Link {
    NodeId row;
    std::uint32_t next = FlatMap::kMissing;
  };
  void change(NodeId row, VolumeKey key, int pods, int attachments);
  void count_changed(NodeId row, Driver& driver);
  void add_link(NodeId row, VolumeKey key);
  void remove_link(NodeId row, VolumeKey key);

  std::vector<Driver> drivers_;
  FlatMap driver_ids_;
  SharedVector<std::vector<Use>> uses_;  ///< by row, ascending by key
  FlatMap heads_;                        ///< volume key -> first link
  SharedVector<Link> links_;
  std::uint32_t free_link_ = FlatMap::kMissing;
  std::size_t rows_ = 0;
};

}  // namespace volsched
