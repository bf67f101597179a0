// Bound claims: can the node reach the volume. Delayed claims: which volume would each get on the node, and where there
// is none, could it be provisioned there. Volumes come from columns kept per claim shape and group (match_column.cpp),
// pools from columns per class and size (capacity_index.cpp), so the filter is set algebra over a handful of masks;
// only claims with reserved volumes are special, and of those only one kind (the same claim twice in a pod) is worked
// out node by node. Source: spec/scheduling.md 4.1 to 4.5.

#include <algorithm>

#include "volsched/exact_capacity.hpp"
#include "volsched/plugin.hpp"
#include "volsched/scoring.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

constexpr const char* kAffinityReason = "node(s) didn't match PersistentVolume's node affinity";
constexpr const char* kBindReason = "node(s) didn't find available persistent volumes to bind";
constexpr const char* kStorageReason = "node(s) did not have enough free storage";
constexpr const char* kUndecidedReason = "node(s) had too many storage pools to tell whether the pod's claims fit";
constexpr const char* kMissingReason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// The volume that decides for a claim because it is reserved for it: the first by name that passes tests 1 to 6
/// of 4.3.
VolumeId reserved_for(const Cluster& cluster, ClaimId id, std::span<const VolumeId> excluded) {
  const Claim& claim = cluster.claims.at(id);
  for (VolumeId at = cluster.volumes.first_of_claim(id); at.valid(); at = cluster.volumes.at(at).next_of_claim) {
    const Volume& volume = cluster.volumes.at(at);
    if (volume.storage_class != claim.storage_class ||
        std::find(excluded.begin(), excluded.end(), at) != excluded.end())
      continue;
    if (volume.claim_uid != StringPool::kEmpty && volume.claim_uid != claim.uid) continue;
    if (volume.capacity < claim.request || volume.volume_mode != claim.volume_mode ||
        volume.attributes_class != claim.attributes_class)
      continue;
    if (!volume.is_deleting) return at;
  }
  return {};
}

/// Work out once a cycle what the masks below need.
void ensure_columns(Cycle& cycle) {
  VolumeState& state = cycle.volume_state;
  if (state.has_columns) return;
  state.has_columns = true;
  Cluster& cluster = cycle.cluster;
  for (std::size_t at = 0; at < state.matches.size() && !state.is_exact; ++at) {
    VolumeState::Match& match = state.matches[at];
    match.reserved = reserved_for(cluster, match.claim, {});
    if (!match.reserved.valid()) continue;
    const auto is_same = [&](const VolumeState::Match& other) {
      return &other != &match && other.claim == match.claim;
    };
    state.is_exact = std::any_of(state.matches.begin(), state.matches.end(), is_same);
  }
  if (state.is_exact) return;
  for (VolumeState::Match& match : state.matches) {
    if (match.reserved.valid()) {
      match.reserved_nodes = NodeMask(cluster.rows());
      cluster.selectors.nodes(cluster.volumes.at(match.reserved).affinity).add_to(match.reserved_nodes);
      continue;
    }
    if (match.column != nullptr) continue;
    // all claims of this class that are free to take any volume share one column
    const ClassId storage_class = cluster.claims.at(match.claim).storage_class;
    std::vector<ShapeId> shapes;
    for (VolumeState::Match& other : state.matches) {
      if (other.reserved.valid() || cluster.claims.at(other.claim).storage_class != storage_class) continue;
      other.index = shapes.size();
      shapes.push_back(cluster.claims.at(other.claim).shape);
    }
    MatchColumn& column = cluster.volumes.column(shapes, cluster.label_sets, cluster.strings, cluster.rows());
    for (VolumeState::Match& other : state.matches) {
      if (!other.reserved.valid() && cluster.claims.at(other.claim).storage_class == storage_class)
        other.column = &column;
    }
  }
}

const NodeMask& nodes_of(const VolumeState::Match& match) {
  return match.reserved.valid() ? match.reserved_nodes : match.column->matched[match.index];
}

/// The volumes of all claims to be matched on one node, by the rules themselves.
std::vector<VolumeId> match_exactly(const Cycle& cycle, NodeId row) {
  const Cluster& cluster = cycle.cluster;
  std::vector<VolumeId> picks;
  std::vector<VolumeId> taken;
  for (const VolumeState::Match& match : cycle.volume_state.matches) {
    const Claim& claim = cluster.claims.at(match.claim);
    VolumeId pick = reserved_for(cluster, match.claim, taken);
    if (pick.valid()) {
      if (!cluster.selectors.nodes(cluster.volumes.at(pick).affinity).contains(row)) pick = {};
    } else {
      pick = cluster.volumes.best_for(cluster.volumes.shape_at(claim.shape),
                                      cluster.volumes.profile_of(claim.storage_class, row), taken, cluster.label_sets,
                                      cluster.strings);
    }
    picks.push_back(pick);
    if (pick.valid()) taken.push_back(pick);
  }
  return picks;
}

VolumeId pick_of(const Cycle& cycle, const VolumeState::Match& match, NodeId row) {
  if (!match.reserved.valid()) return cycle.cluster.volumes.pick(*match.column, match.index, row);
  return match.reserved_nodes.test(row) ? match.reserved : VolumeId();
}

std::vector<VolumeId> picks_of(const Cycle& cycle, NodeId row) {
  if (cycle.volume_state.is_exact) return match_exactly(cycle, row);
  std::vector<VolumeId> picks;
  for (const VolumeState::Match& match : cycle.volume_state.matches) picks.push_back(pick_of(cycle, match, row));
  return picks;
}

/// Whether provisioning a claim is a question of free storage, and the column that answers it. With exact capacity it
/// answers for the claim alone, and for a pod whose own claims hold nothing.
const PoolColumn* pools_for(Cycle& cycle, ClaimId id) {
  if (!draws_on_pools(cycle.cluster, id)) return nullptr;
  const Claim& claim = cycle.cluster.claims.at(id);
  return &cycle.cluster.capacities.column(claim.storage_class, claim.request_bytes, cycle.profile.is_exact_capacity,
                                          cycle.cluster.strings, cycle.cluster.rows());
}

/// Claims that have to be provisioned on a node: those under way, then those that no volume is found for.
std::vector<ClaimId> provisioned_beside(const Cycle& cycle, std::span<const VolumeId> picks) {
  std::vector<ClaimId> claims = cycle.volume_state.annotated;
  for (std::size_t at = 0; at < picks.size(); ++at) {
    if (!picks[at].valid()) claims.push_back(cycle.volume_state.matches[at].claim);
  }
  return claims;
}

std::vector<ClaimId> provisioned_on(const Cycle& cycle, NodeId row) {
  return provisioned_beside(cycle, picks_of(cycle, row));
}

/// Refusals of one filter run; a node may be in one of the first two and one of the others. A mask is empty until it
/// has a member: mostly nobody is refused.
struct Verdict {
  NodeMask affinity;
  NodeMask missing;
  NodeMask bind;
  NodeMask storage;
  NodeMask undecided;

  static void add(NodeMask& to, const NodeMask& nodes) {
    if (to.size() != 0) {
      to |= nodes;
    } else if (nodes.any()) {
      to = nodes;
    }
  }
};

class VolumeBinding final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kVolumeBinding; }
  [[nodiscard]] std::string_view name() const override { return "VolumeBinding"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    cycle.volume_state = {};
    if (cycle.pod.claims.empty()) return PreFilterStatus::skip();
    if (std::string refusal = check_claims(cycle); !refusal.empty())
      return PreFilterStatus::unresolvable(std::move(refusal));
    return classify(cycle);
  }

  void filter(Cycle& cycle) const override {
    Verdict verdict;
    check_bound(cycle, verdict);
    check_unbound(cycle, verdict);
    const auto refuse = [&](const NodeMask& nodes, std::string_view reason) {
      if (nodes.size() != 0) cycle.reject(id(), nodes, Code::kUnresolvable, {reason});
    };
    const auto refuse_both = [&](const NodeMask& first, const NodeMask& second, std::string_view reason,
                                 std::string_view other) {
      if (cycle.wants_reasons && first.size() != 0 && second.size() != 0)
        cycle.reject(id(), first & second, Code::kUnresolvable, {reason, other});
    };
    refuse_both(verdict.affinity, verdict.bind, kAffinityReason, kBindReason);
    refuse_both(verdict.affinity, verdict.storage, kAffinityReason, kStorageReason);
    refuse_both(verdict.affinity, verdict.undecided, kAffinityReason, kUndecidedReason);
    refuse_both(verdict.bind, verdict.missing, kBindReason, kMissingReason);
    refuse_both(verdict.storage, verdict.missing, kStorageReason, kMissingReason);
    refuse_both(verdict.undecided, verdict.missing, kUndecidedReason, kMissingReason);
    refuse(verdict.affinity, kAffinityReason);
    refuse(verdict.bind, kBindReason);
    refuse(verdict.storage, kStorageReason);
    refuse(verdict.undecided, kUndecidedReason);
    refuse(verdict.missing, kMissingReason);
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask& feasible) const override;
  [[nodiscard]] const RowClasses* classes(Cycle& cycle, const NodeMask& feasible) const override;
  void score_classes(Cycle& cycle, std::span<const std::uint32_t> counts,
                     std::vector<std::int32_t>& scores) const override;

 private:
  static std::string check_claims(const Cycle& cycle) {
    const Cluster& cluster = cycle.cluster;
    for (const ClaimUse& use : cycle.pod.claims) {
      const Claim& claim = cluster.claims.at(use.claim);
      const std::string_view name = cluster.strings.view(claim.name);
      if (!claim.exists) {
        return use.is_ephemeral
                   ? quoting("waiting for ephemeral volume controller to create the persistentvolumeclaim ", name)
                   : quoting("persistentvolumeclaim ", name, " not found");
      }
      if (claim.is_lost) {
        const std::string_view volume =
            claim.volume.valid() ? cluster.strings.view(cluster.volumes.at(claim.volume).name) : std::string_view();
        return quoting("persistentvolumeclaim ", name, quoting(" bound to non-existent persistentvolume ", volume));
      }
      if (claim.is_deleting) return quoting("persistentvolumeclaim ", name, " is being deleted");
      if (use.is_ephemeral && claim.owner_uid != cycle.pod.uid) {
        return "PVC " + cluster.claim_key(use.claim) + " was not created for pod " +
               cluster.strings.str(cycle.pod.space) + "/" + cluster.strings.str(cycle.pod.name) + " (pod is not owner)";
      }
    }
    return {};
  }

  static PreFilterStatus classify(Cycle& cycle) {
    const Cluster& cluster = cycle.cluster;
    VolumeState& state = cycle.volume_state;
    bool has_immediate = false;
    for (const ClaimUse& use : cycle.pod.claims) {
      const Claim& claim = cluster.claims.at(use.claim);
      if (claim.is_fully_bound()) {
        state.bound.push_back(use.claim);
        continue;
      }
      const StorageClass* storage_class = claim.has_class ? &cluster.classes.at(claim.storage_class) : nullptr;
      if (storage_class != nullptr && storage_class->exists && storage_class->mode == BindingMode::kUnset) {
        return PreFilterStatus::error(
            quoting("VolumeBindingMode not set for StorageClass ", cluster.strings.view(storage_class->name)));
      }
      const bool is_delayed = storage_class != nullptr && storage_class->exists &&
                              storage_class->mode == BindingMode::kWaitForFirstConsumer;
      if (!is_delayed || claim.volume.valid()) {
        has_immediate = true;
      } else if (claim.has_selected_node) {
        state.annotated.push_back(use.claim);
      } else {
        state.matches.push_back({use.claim, {}, {}, nullptr, 0});
      }
    }
    if (has_immediate) return PreFilterStatus::unresolvable("pod has unbound immediate PersistentVolumeClaims");
    if (cycle.profile.is_exact_capacity) {
      state.delayed = state.annotated;
      for (const VolumeState::Match& match : state.matches) state.delayed.push_back(match.claim);
      std::sort(state.delayed.begin(), state.delayed.end());
      state.delayed.erase(std::unique(state.delayed.begin(), state.delayed.end()), state.delayed.end());
    }
    if (state.matches.size() > 1) {
      std::stable_sort(state.matches.begin(), state.matches.end(),
                       [&](const VolumeState::Match& a, const VolumeState::Match& b) {
                         return cluster.claims.at(a.claim).request < cluster.claims.at(b.claim).request;
                       });
    }
    for (const VolumeState::Match& match : state.matches) {
      const LabelSelectorId selector = cluster.claims.at(match.claim).selector;
      if (!selector.valid() || cluster.volumes.selector_at(selector).error.empty()) continue;
      state.selector_error = "error creating internal label selector for claim: " + cluster.claim_key(match.claim) +
                             ": " + cluster.volumes.selector_at(selector).error;
      break;
    }
    return PreFilterStatus::success();
  }

  void check_bound(Cycle& cycle, Verdict& verdict) const {
    const Cluster& cluster = cycle.cluster;
    NodeMask undecided = cycle.alive;
    for (const ClaimId claim : cycle.volume_state.bound) {
      const Volume& volume = cluster.volumes.at(cluster.claims.at(claim).volume);
      if (!volume.exists) {
        verdict.missing = undecided;
        return;
      }
      if (volume.source == VolumeSource::kMigratable && volume.translation_error != StringPool::kEmpty) {
        const NodeSet* migrated = cluster.migrated(volume.plugin);
        if (migrated != nullptr) {
          const NodeMask failing = migrated->within(undecided);
          cycle.fail(name(), failing, "could not translate pv: " + cluster.strings.str(volume.translation_error));
          undecided -= failing;
        }
      }
      const NodeMask unreachable = cluster.unreachable(volume, undecided);
      Verdict::add(verdict.affinity, unreachable);
      undecided -= unreachable;
    }
  }

  void check_unbound(Cycle& cycle, Verdict& verdict) const {
    const Cluster& cluster = cycle.cluster;
    VolumeState& state = cycle.volume_state;
    if (state.annotated.empty() && state.matches.empty()) return;
    NodeMask open = cycle.alive;  // nodes that could still take every claim looked at so far
    for (const ClaimId claim : state.annotated) {
      NodeMask selected(cluster.rows());
      const NodeId row = cluster.find_node(cluster.claims.at(claim).selected_node);
      if (row.valid() && open.test(row)) selected.set(row);
      Verdict::add(verdict.bind, open - selected);
      open = std::move(selected);
    }
    if (open.none()) return;
    if (!state.selector_error.empty()) {
      cycle.fail(name(), open, state.selector_error);
      return;
    }
    ensure_columns(cycle);
    if (state.is_exact) {
      const NodeMask nodes = open;
      nodes.for_each([&](NodeId row) {
        NodeMask one(cluster.rows());
        one.set(row);
        for (const ClaimId claim : provisioned_on(cycle, row)) check_provision(cycle, claim, one, verdict);
        if (one.none()) open.reset(row);
      });
    } else {
      for (const ClaimId claim : state.annotated) check_provision(cycle, claim, open, verdict);
      for (const VolumeState::Match& match : state.matches) {
        if (open.is_subset_of(nodes_of(match))) continue;
        NodeMask unmatched = open - nodes_of(match);
        if (!cluster.classes.at(cluster.claims.at(match.claim).storage_class).provisions) {
          open -= unmatched;
          Verdict::add(verdict.bind, unmatched);
          continue;
        }
        const NodeMask before = unmatched;
        check_provision(cycle, match.claim, unmatched, verdict);
        open -= before - unmatched;
      }
    }
    if (cycle.profile.is_exact_capacity && needs_joint_fit(cycle)) fit_together(cycle, open, verdict);
  }

  /// Exact capacity: refuse those of `nodes` where the claims do not fit side by side.
  static void fit_together(Cycle& cycle, const NodeMask& nodes, Verdict& verdict) {
    NodeMask lacking(cycle.cluster.rows());
    NodeMask undecided(cycle.cluster.rows());
    nodes.for_each([&](NodeId row) {
      const PackVerdict fit = joint_fit(cycle, row, provisioned_on(cycle, row)).verdict;
      if (fit == PackVerdict::kLacks) lacking.set(row);
      if (fit == PackVerdict::kUndecided) undecided.set(row);
    });
    Verdict::add(verdict.storage, lacking);
    Verdict::add(verdict.undecided, undecided);
  }

  /// Those of `nodes` where no pool has room for the claim; an empty mask where there are none.
  static NodeMask without_room(Cycle& cycle, ClaimId id, const NodeMask& nodes) {
    if (!draws_on_pools(cycle.cluster, id)) return {};
    if (has_own_holds(cycle)) {  // never with many nodes: such a claim has its node
      NodeMask lacking(cycle.cluster.rows());
      nodes.for_each([&](NodeId row) { lacking.assign(row, !fits_alone(cycle, id, row)); });
      return lacking;
    }
    const NodeMask& enough = pools_for(cycle, id)->enough;
    return nodes.is_subset_of(enough) ? NodeMask() : nodes - enough;
  }

  /// Take out of `nodes` those where the claim cannot be provisioned.
  static void check_provision(Cycle& cycle, ClaimId id, NodeMask& nodes, Verdict& verdict) {
    const Cluster& cluster = cycle.cluster;
    const StorageClass& storage_class = cluster.classes.at(cluster.claims.at(id).storage_class);
    if (!storage_class.provisions) {
      Verdict::add(verdict.bind, nodes);
      nodes.clear();
      return;
    }
    const NodeMask forbidden = cluster.selectors.nodes(storage_class.allowed).outside(nodes);
    Verdict::add(verdict.bind, forbidden);
    nodes -= forbidden;
    const NodeMask lacking = without_room(cycle, id, nodes);
    if (lacking.size() == 0) return;
    Verdict::add(verdict.storage, lacking);
    nodes -= lacking;
  }
};

/// With exact capacity: each claim once, and the room of all the pools its class draws on.
void fill_exactly(Cycle& cycle, NodeId row, ClassFills& fills) {
  const Cluster& cluster = cycle.cluster;
  const VolumeState::JointFit& fit = joint_fit(cycle, row, provisioned_on(cycle, row));
  for (std::size_t at = 0; at < fit.claims.size(); ++at) {
    const VolumeState::JointFit::Claimed& entry = fit.claims[at];
    const Claim& claim = cluster.claims.at(entry.claim);
    ClassFill& fill = fills.at(claim.spec_class);
    fill.requested_bytes = wrapping_add(fill.requested_bytes, claim.request_bytes);
    const auto end = fit.claims.begin() + static_cast<std::ptrdiff_t>(at);
    const bool is_counted =
        std::any_of(fit.claims.begin(), end, [&](const auto& before) { return before.pool == entry.pool; });
    if (!is_counted) fill.capacity_bytes = wrapping_add(fill.capacity_bytes, entry.room);
  }
}

/// VolumeBinding's score of one node, by the rules themselves.
std::int32_t exact_score(Cycle& cycle, NodeId row) {
  const Cluster& cluster = cycle.cluster;
  const Plan plan = volume_plan(cycle, row);
  ClassFills fills;
  for (const BindStep& step : plan.bind) {
    const Volume& volume = cluster.volumes.at(step.volume);
    ClassFill& fill = fills.at(volume.spec_class);
    fill.requested_bytes = wrapping_add(fill.requested_bytes, cluster.claims.at(step.claim).request_bytes);
    fill.capacity_bytes = wrapping_add(fill.capacity_bytes, volume.capacity_bytes);
  }
  if (plan.bind.empty() && cycle.profile.is_exact_capacity) {
    fill_exactly(cycle, row, fills);
  } else if (plan.bind.empty()) {
    for (const BindStep& step : plan.provision) {
      if (!step.capacity.valid()) continue;
      const Claim& claim = cluster.claims.at(step.claim);
      ClassFill& fill = fills.at(claim.spec_class);
      fill.requested_bytes = wrapping_add(fill.requested_bytes, claim.request_bytes);
      fill.capacity_bytes = cluster.capacities.at(step.capacity).capacity_bytes;
    }
  }
  return cycle.profile.is_default_volume_shape ? fills.score() : fills.score(cycle.profile.volume_shape);
}

/// What a profile's shape makes of the scores by the default one, which are 100 less the percentage used. Only for
/// nodes that score by volumes of one class: a mean cannot be taken back, and nothing to score is 0 as well.
std::array<std::int32_t, kScoreMax + 1> by_default_score(const Profile& profile) {
  std::array<std::int32_t, kScoreMax + 1> scores{};
  for (std::int64_t used = 0; used <= kScoreMax; ++used) {
    scores[static_cast<std::size_t>(kScoreMax - used)] =
        static_cast<std::int32_t>(score_on_shape(profile.volume_shape, used));
  }
  return scores;
}

/// A column of scores by the default shape, as the profile's shape has them.
ScoreColumn reshaped(Cycle& cycle, const KeptColumn& column, const NodeMask& feasible) {
  if (cycle.profile.is_default_volume_shape) return ScoreColumn::kept_by(column);
  const auto scores = by_default_score(cycle.profile);
  std::vector<std::int32_t>& result = cycle.scratch.take(column.size());
  feasible.for_each([&](NodeId row) { result[row.index()] = scores[static_cast<std::size_t>(column[row.index()])]; });
  return {result.data(), 0};
}

/// The column that covers every feasible node while no other has a volume for one of them: it has the scores, whatever
/// is provisioned beside. nullptr when there is none.
MatchColumn* only_column(Cycle& cycle, const NodeMask& feasible) {
  VolumeState& state = cycle.volume_state;
  if (state.is_exact) return nullptr;
  const auto has_volume = [&](const auto& match) { return feasible.intersects(nodes_of(match)); };
  const auto first = std::find_if(state.matches.begin(), state.matches.end(), has_volume);
  MatchColumn* column = first == state.matches.end() ? nullptr : first->column;
  if (column == nullptr || !feasible.is_subset_of(column->any)) return nullptr;
  const bool has_means = !cycle.profile.is_default_volume_shape && column->shapes.size() > 1;
  const bool is_only_column = std::all_of(
      first, state.matches.end(), [&](const auto& match) { return match.column == column || !has_volume(match); });
  return is_only_column && !has_means ? column : nullptr;
}

/// Nodes of a profile have the same volumes to choose from, and their scores change together.
const RowClasses* VolumeBinding::classes(Cycle& cycle, const NodeMask& feasible) const {
  VolumeState& state = cycle.volume_state;
  if (!cycle.profile.plans_volumes || state.matches.empty()) return nullptr;
  ensure_columns(cycle);
  const MatchColumn* column = only_column(cycle, feasible);
  if (column == nullptr || column->invalid_count > 0) return nullptr;
  VolumeIndex& volumes = cycle.cluster.volumes;
  const ClassId storage_class = volumes.shape_at(column->shapes.front()).storage_class;
  const RowClasses* profiles = volumes.classes(storage_class, cycle.cluster.rows());
  state.scored = profiles == nullptr ? nullptr : column;
  return profiles;
}

void VolumeBinding::score_classes(Cycle& cycle, std::span<const std::uint32_t> counts,
                                  std::vector<std::int32_t>& scores) const {
  const MatchColumn& column = *cycle.volume_state.scored;
  VolumeIndex& volumes = cycle.cluster.volumes;
  const ClassId storage_class = volumes.shape_at(column.shapes.front()).storage_class;
  const RowClasses& profiles = *volumes.classes(storage_class, cycle.cluster.rows());
  for (std::size_t id = 0; id < counts.size(); ++id) {
    if (counts[id] != 0) scores[id] = column.profile_score[static_cast<std::size_t>(profiles.signature(id)[0])];
  }
  if (cycle.profile.is_default_volume_shape) return;
  const auto shaped = by_default_score(cycle.profile);
  for (std::size_t id = 0; id < counts.size(); ++id) {
    if (counts[id] != 0) scores[id] = shaped[static_cast<std::size_t>(scores[id])];
  }
}

ScoreColumn VolumeBinding::score(Cycle& cycle, const NodeMask& feasible) const {
  VolumeState& state = cycle.volume_state;
  if (!cycle.profile.plans_volumes || (state.annotated.empty() && state.matches.empty())) return {};
  ensure_columns(cycle);
  if (MatchColumn* column = only_column(cycle, feasible); column != nullptr)
    return reshaped(cycle, cycle.cluster.volumes.score(*column), feasible);
  const bool matches_none =
      !state.is_exact && std::none_of(state.matches.begin(), state.matches.end(),
                                      [&](const auto& match) { return feasible.intersects(nodes_of(match)); });
  if (matches_none) {
    std::vector<ClaimId> provisioned = state.annotated;
    for (const auto& match : state.matches) provisioned.push_back(match.claim);
    const bool tracks_none = std::none_of(provisioned.begin(), provisioned.end(),
                                          [&](ClaimId claim) { return pools_for(cycle, claim) != nullptr; });
    if (tracks_none) return {};
    if (provisioned.size() == 1 && !has_own_holds(cycle))
      return reshaped(cycle, pools_for(cycle, provisioned.front())->score, feasible);
  }
  std::vector<std::int32_t>& column = cycle.scratch.take(cycle.cluster.rows());
  feasible.for_each([&](NodeId row) { column[row.index()] = exact_score(cycle, row); });
  return {column.data(), 0};
}

/// `placed`: nullptr for a claim that draws on no pool.
BindStep exact_step(const Cluster& cluster, ClaimId claim, const VolumeState::JointFit::Claimed* placed) {
  BindStep step{claim, {}, {}};
  if (placed == nullptr || !placed->pool.valid()) return step;
  step.capacity = placed->pool;
  if (placed->is_kept) {
    step.holds = cluster.hold_of(claim)->pools;
  } else {
    step.holds = cluster.capacities.siblings(placed->pool, cluster.classes, cluster.strings);
    step.holds.insert(step.holds.begin(), placed->pool);
  }
  return step;
}

}  // namespace

std::uint64_t volume_variant(const Cycle& cycle) {
  const Cluster& cluster = cycle.cluster;
  std::uint64_t variant = 0;
  const auto add = [&](std::uint32_t id) { variant = mix64(variant ^ id); };
  for (const ClaimId claim : cycle.volume_state.bound) {
    const Volume& volume = cluster.volumes.at(cluster.claims.at(claim).volume);
    add(volume.affinity.value());
    add(volume.migrated_affinity.value());
  }
  for (const ClaimId claim : cycle.volume_state.annotated) add(cluster.claims.at(claim).selected_node.value());
  for (const SelectorId selector : cycle.zone_selectors) add(selector.value());
  return variant;
}

Plan volume_plan(Cycle& cycle, NodeId row) {
  VolumeState& state = cycle.volume_state;
  Plan plan;
  if (!cycle.profile.plans_volumes || (state.annotated.empty() && state.matches.empty())) return plan;
  ensure_columns(cycle);
  const Cluster& cluster = cycle.cluster;
  const std::vector<VolumeId> picks = picks_of(cycle, row);
  for (std::size_t at = 0; at < picks.size(); ++at) {
    if (picks[at].valid()) plan.bind.push_back({state.matches[at].claim, picks[at], {}});
  }
  if (cycle.profile.is_exact_capacity) {
    const std::vector<ClaimId> provisioned = provisioned_beside(cycle, picks);
    const VolumeState::JointFit& fit = joint_fit(cycle, row, provisioned);
    for (const ClaimId claim : provisioned) plan.provision.push_back(exact_step(cluster, claim, fit.find(claim)));
    return plan;
  }
  const auto provision = [&](ClaimId id) {
    CapacityId capacity;
    if (const PoolColumn* pools = pools_for(cycle, id))
      capacity = cluster.capacities.pick(*pools, cluster.claims.at(id).storage_class, row);
    plan.provision.push_back({id, {}, capacity});
  };
  for (const ClaimId claim : state.annotated) provision(claim);
  for (std::size_t at = 0; at < picks.size(); ++at) {
    if (!picks[at].valid()) provision(state.matches[at].claim);
  }
  return plan;
}

const Plugin& volume_binding_plugin() {
  static const VolumeBinding plugin;
  return plugin;
}

}  // namespace volsched
