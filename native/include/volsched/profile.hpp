#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "volsched/ids.hpp"
#include "volsched/program.hpp"
#include "volsched/scoring.hpp"

namespace volsched {

class Plugin;

/// A plugin at one point of a profile.
struct ProfileStep {
  const Plugin* plugin = nullptr;  ///< nullptr: nothing native happens here, an own plugin may run
  std::string name;
  std::string failure;      ///< set: what it needs of another point is missing, so that the cycle fails
  std::int32_t weight = 0;  ///< of a step that scores
  bool is_prepared = true;  ///< of a step that scores: the plugin's PreScore runs as well
};

enum class FitStrategy : std::uint8_t { kLeastAllocated, kMostAllocated, kRequestedToCapacityRatio };

/// A resource that counts in scoring.
struct CountedResource {
  enum class Kind : std::uint8_t { kCpu, kMemory, kEphemeral, kScalar };
  Kind kind = Kind::kCpu;
  StringId name;  ///< of a scalar, whose column may come later or never
  std::int64_t weight = 1;
};

/// Which plugins run at each point, in order, and their arguments, compiled against one cluster. The default one is
/// upstream's default profile. Source: spec/scheduling.md 1, 4.5, 8.
struct Profile {
  std::uint64_t serial = 0;  ///< number within its cluster; 0 = the default profile
  std::vector<ProfileStep> pre_filters;
  std::vector<ProfileStep> filters;
  std::vector<ProfileStep> pre_scores;
  std::vector<ProfileStep> scores;

  bool is_default_fit = true;  ///< LeastAllocated over cpu and memory, nothing ignored
  FitStrategy fit_strategy = FitStrategy::kLeastAllocated;
  std::vector<CountedResource> fit_resources;
  std::vector<ShapePoint> fit_shape;
  std::vector<std::string> ignored_resources;
  std::vector<std::string> ignored_groups;

  bool is_default_balance = true;  ///< cpu and memory
  std::vector<CountedResource> balanced;

  bool is_default_volume_shape = true;
  std::vector<ShapePoint> volume_shape{kVolumeShape.begin(), kVolumeShape.end()};
  bool plans_volumes = true;  ///< VolumeBinding filters, so that there are plans

  bool has_added_affinity = false;
  SelectorId added_affinity;
  std::vector<PreferredTerm> added_preferred;
  std::string added_preferred_error;

  bool has_system_spread = true;  ///< hostname and zone for pods without constraints
  std::vector<SpreadConstraint> spread_defaults;

  std::int64_t hard_affinity_weight = 1;
  bool ignores_preferred_of_existing = false;

  std::int32_t percentage_of_nodes = -1;  ///< -1: as the engine was told

  bool is_exact_capacity = false;  ///< what is held in pools counts, and the pod's claims count together
  std::uint32_t capacity_steps_max = 20'000;

  /// Whether an extended resource is left out of NodeResourcesFit's filter.
  [[nodiscard]] bool ignores(std::string_view resource) const;
};

using ProfilePtr = std::shared_ptr<const Profile>;

/// Upstream's default profile; needs no cluster.
[[nodiscard]] ProfilePtr default_profile();

}  // namespace volsched
