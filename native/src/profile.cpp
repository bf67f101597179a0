// The default profile, and what a profile means.

#include "volsched/profile.hpp"

#include <algorithm>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

struct Scorer {
  std::string_view name;
  std::int32_t weight;
};

// Source: spec/scheduling.md 1.1; the same lists stand in engine/profile.py. DynamicResources has no native part, since
// it does nothing for pods without resource claims, but it keeps its place.
constexpr std::array<std::string_view, 14> kFilters{
    "NodeName",          "NodeUnschedulable",  "TaintToleration",  "NodeAffinity",         "NodePorts",
    "NodeResourcesFit",  "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding",        "VolumeZone",
    "PodTopologySpread", "InterPodAffinity",   "DynamicResources", "NodeDeclaredFeatures",
};
constexpr std::array<std::string_view, 7> kPreScores{
    "TaintToleration",
    "NodeAffinity",
    "NodeResourcesFit",
    "VolumeBinding",
    "PodTopologySpread",
    "InterPodAffinity",
    "NodeResourcesBalancedAllocation",
};
constexpr std::array<Scorer, 9> kScores{{
    {"TaintToleration", 3},
    {"NodeAffinity", 2},
    {"NodeResourcesFit", 1},
    {"VolumeBinding", 1},
    {"PodTopologySpread", 2},
    {"InterPodAffinity", 2},
    {"DynamicResources", 2},
    {"NodeResourcesBalancedAllocation", 1},
    {"ImageLocality", 1},
}};

ProfileStep step(std::string_view name, std::int32_t weight = 0) {
  return {find_plugin(name), std::string(name), {}, weight, true};
}

}  // namespace

bool Profile::ignores(std::string_view resource) const {
  const auto slash = resource.find('/');
  if (slash == std::string_view::npos || resource.find("kubernetes.io/") != std::string_view::npos ||
      resource.starts_with("requests.")) {
    return false;  // no extended resource
  }
  const auto has = [](const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return has(ignored_resources, resource) || has(ignored_groups, resource.substr(0, slash));
}

ProfilePtr default_profile() {
  static const ProfilePtr kDefault = [] {
    auto made = std::make_shared<Profile>();
    for (const std::string_view name : kFilters) made->filters.push_back(step(name));
    made->pre_filters = made->filters;
    for (const std::string_view name : kPreScores) made->pre_scores.push_back(step(name));
    for (const Scorer& scorer : kScores) made->scores.push_back(step(scorer.name, scorer.weight));
    return made;
  }();
  return kDefault;
}

}  // namespace volsched
