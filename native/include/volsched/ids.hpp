#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

namespace volsched {

/// A row number in one table. Ids of different tables do not mix; a default one names nothing.
template <class Tag>
class Id {
 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  constexpr Id() = default;
  constexpr explicit Id(std::uint32_t value) : value_(value) {}
  constexpr explicit Id(std::size_t value) : value_(static_cast<std::uint32_t>(value)) {}

  [[nodiscard]] constexpr std::uint32_t value() const { return value_; }
  [[nodiscard]] constexpr std::size_t index() const { return value_; }
  [[nodiscard]] constexpr bool valid() const { return value_ != kNone; }

  constexpr auto operator<=>(const Id&) const = default;

 private:
  std::uint32_t value_ = kNone;
};

using StringId = Id<struct StringTag>;           ///< interned text: label keys and values, names, uids
using NodeId = Id<struct NodeTag>;               ///< row of a node; freed rows are used again
using PodId = Id<struct PodTag>;                 ///< a pod counted on a node
using ClassId = Id<struct ClassTag>;             ///< a storage class name, whether or not the object exists
using DriverId = Id<struct DriverTag>;           ///< a CSI driver name, whether or not the object exists
using ClaimId = Id<struct ClaimTag>;             ///< a claim's namespace and name, whether or not the object exists
using VolumeId = Id<struct VolumeTag>;           ///< a persistent volume's name, whether or not the object exists
using CapacityId = Id<struct CapacityTag>;       ///< a CSIStorageCapacity
using PairId = Id<struct PairTag>;               ///< a node label: key and value
using LabelSetId = Id<struct LabelSetTag>;       ///< all labels of a pod, volume or namespace
using SelectorId = Id<struct SelectorTag>;       ///< a node selector, canonical
using LabelSelectorId = Id<struct LabelSelTag>;  ///< a selector over label sets
using GroupId = Id<struct GroupTag>;             ///< volumes (or pools) of one class reachable from the same nodes
using ProfileId = Id<struct ProfileTag>;         ///< nodes that are in the same groups of a class
using ShapeId = Id<struct ShapeTag>;             ///< all that matters of a claim when a volume is looked for
using TaintId = Id<struct TaintTag>;             ///< a taint: key, value and effect
using ImageId = Id<struct ImageTag>;             ///< an image name as nodes report it

/// splitmix64's finaliser: spreads consecutive ids over a hash table.
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t value) {
  value ^= value >> 30;
  value *= 0xbf58476d1ce4e5b9ULL;
  value ^= value >> 27;
  value *= 0x94d049bb133111ebULL;
  value ^= value >> 31;
  return value;
}

/// Two ids as one hash key.
template <class A, class B>
[[nodiscard]] constexpr std::uint64_t pack(Id<A> high, Id<B> low) {
  return (static_cast<std::uint64_t>(high.value()) << 32) | low.value();
}

}  // namespace volsched

template <class Tag>
struct std::hash<volsched::Id<Tag>> {
  std::size_t operator()(volsched::Id<Tag> id) const noexcept { return volsched::mix64(id.value()); }
};
