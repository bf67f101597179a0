#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "volsched/ids.hpp"
#include "volsched/node_facts.hpp"
#include "volsched/resources.hpp"
#include "volsched/selectors.hpp"
#include "volsched/workloads.hpp"

namespace volsched {

/// A preferred node affinity term.
struct PreferredTerm {
  SelectorId selector;
  std::int32_t weight = 0;
  std::string error;  ///< set: the term is invalid, which fails scoring unless its weight is 0
};

/// A migratable volume written into the pod, as its CSI driver counts it.
struct InlineVolume {
  DriverId driver;
  StringId handle;
  std::string error;  ///< set: it cannot be translated
};

enum class SpreadMode : std::uint8_t { kSoft, kHard, kNeither };

/// A topology spread constraint. `matchLabelKeys` are in the selector already.
struct SpreadConstraint {
  StringId topology_key;
  std::int64_t max_skew = 1;
  std::int64_t domains_min = 1;
  SpreadMode mode = SpreadMode::kSoft;
  bool honors_affinity = true;  ///< only nodes the pod's node affinity allows are counted
  bool honors_taints = false;   ///< only nodes whose taints the pod tolerates are counted
  bool is_nil = false;          ///< without a selector: matches no pod
  LabelSelector selector;
};

/// A pod affinity or anti-affinity term.
struct PodTerm {
  StringId topology_key;
  bool is_nil = false;  ///< without a label selector: matches no pod
  Term selector;
  bool in_own_namespace = false;  ///< neither namespaces nor a namespace selector: the owner's
  std::vector<StringId> namespaces;
  bool has_namespace_selector = false;
  Term namespace_selector;
  std::int32_t weight = 1;  ///< negative for anti-affinity that should hold
};

/// Pod affinity terms of one kind; `error` is set when one of them is invalid, which makes them all void for a pod that
/// is placed.
struct PodTerms {
  std::vector<PodTerm> terms;
  std::string error;
};

/// Everything of a pod that pods of one template share, compiled against one cluster: text interned, selectors indexed,
/// resources added up. What differs between such pods (name, uid, claims) is PodInstance.
struct PodProgram {
  std::string content;  ///< the packed row it was compiled from, by which equal programs are found

  std::vector<Toleration> tolerations;
  bool has_node_selector = false;
  SelectorId node_selector;
  bool has_required_affinity = false;
  SelectorId required_affinity;
  bool has_name_set = false;  ///< every required term names nodes: only these are looked at
  std::vector<StringId> name_set;
  bool has_preferred_affinity = false;  ///< the list is given, be it empty
  std::vector<PreferredTerm> preferred;
  std::vector<HostPort> ports;

  Usage usage;                     ///< what it takes from a node, once there
  std::int64_t fit_milli_cpu = 0;  ///< what LeastAllocated scores with: pod-level resources left out
  std::int64_t fit_memory_bytes = 0;
  bool has_fit_scalars = false;  ///< pod-level huge pages: the containers' sum, which scoring counts, is another
  std::vector<std::pair<std::uint32_t, std::int64_t>> fit_scalars;

  std::vector<StringId> images;    ///< normalised names, one entry a container, init container or image volume
  std::vector<StringId> features;  ///< kubelet features it implies
  std::vector<InlineVolume> inline_volumes;
  std::vector<InlineDisk> disks;

  std::vector<SpreadConstraint> spread;
  PodTerms affinity;       ///< required
  PodTerms anti_affinity;  ///< required
  PodTerms preferred_near;
  PodTerms preferred_far;  ///< weights negative

  [[nodiscard]] bool has_pod_terms() const {
    return !affinity.terms.empty() || !anti_affinity.terms.empty() || !preferred_near.terms.empty() ||
           !preferred_far.terms.empty();
  }
};

using ProgramPtr = std::shared_ptr<const PodProgram>;

/// A volume of a pod that stands for a claim.
struct ClaimUse {
  ClaimId claim;
  bool is_ephemeral = false;  ///< generic ephemeral volume: the claim must be the pod's own
  bool operator==(const ClaimUse&) const = default;
};

/// What is a pod's own.
struct PodInstance {
  StringId space;
  StringId name;
  StringId uid;
  StringId node;  ///< spec.nodeName, empty = none
  LabelSetId labels;
  bool is_terminating = false;
  std::int64_t priority = 0;
  OwnerRef owner;
  std::vector<ClaimUse> claims;  ///< in volume order
};

using PodPtr = std::shared_ptr<const PodInstance>;

}  // namespace volsched
