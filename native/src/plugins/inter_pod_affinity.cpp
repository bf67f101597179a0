// Pods near or far from other pods. What a kind of pods contributes (to which topology keys, with which amount) is
// worked out once; the sums per label pair follow the log of pods coming and going. Filter and score then look only at
// pairs that count something. Source: spec/scheduling.md 8.9.

#include <algorithm>
#include <list>
#include <unordered_map>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

constexpr std::size_t kViewsMax = 32;

/// What is summed up by label pair.
enum Sum : std::uint8_t {
  kNear,      ///< pods that match all of the pod's affinity terms at once
  kFar,       ///< pods that match an anti-affinity term of the pod
  kRefusing,  ///< anti-affinity terms of placed pods that match the pod
  kScore,
  kSumCount,
};

struct Contribution {
  Sum sum = kScore;
  StringId key;
  std::int64_t amount = 0;
};

/// A term of the incoming pod with its namespaces found out.
struct ResolvedTerm {
  const PodTerm* term = nullptr;
  bool in_all_namespaces = false;
  std::vector<StringId> namespaces;
};

/// Sums as pods of one template with one namespace and label set see them.
struct AffinityView {
  StringId space;
  LabelSetId labels;
  std::int64_t hard_weight = 1;  ///< hardPodAffinityWeight of the profile
  std::vector<ResolvedTerm> near, far, preferred;
  std::vector<std::vector<Contribution>> of_kind;
  std::vector<char> is_known_kind;
  std::array<std::unordered_map<std::uint32_t, std::int64_t>, kSumCount> sums;  ///< by PairId; nothing that is 0
  std::uint64_t cursor = 0;
  std::uint64_t label_version = 0;
  std::uint64_t node_generation = 0;
  std::uint64_t namespace_version = 0;
};

struct AffinityCache final : PluginCache {
  std::list<AffinityView> views;  ///< most recently used first
};

bool matches(const Cluster& cluster, const ResolvedTerm& term, StringId space, const Labels& labels) {
  if (term.term->is_nil) return false;
  if (!term.in_all_namespaces &&
      std::find(term.namespaces.begin(), term.namespaces.end(), space) == term.namespaces.end())
    return false;
  return volsched::matches(term.term->selector, labels, cluster.strings);
}

/// A placed pod's term against the incoming pod.
bool matches_incoming(const Cluster& cluster, const PodTerm& term, StringId owner_space, const AffinityView& view) {
  const bool in_namespace =
      (term.in_own_namespace && owner_space == view.space) ||
      std::find(term.namespaces.begin(), term.namespaces.end(), view.space) != term.namespaces.end() ||
      (term.has_namespace_selector &&
       volsched::matches(term.namespace_selector, cluster.label_sets.at(cluster.workloads.labels_of(view.space)),
                         cluster.strings));
  return in_namespace && !term.is_nil &&
         volsched::matches(term.selector, cluster.label_sets.at(view.labels), cluster.strings);
}

std::vector<ResolvedTerm> resolved(const Cycle& cycle, const PodTerms& terms) {
  std::vector<ResolvedTerm> result;
  for (const PodTerm& term : terms.terms) {
    ResolvedTerm made{&term, false, term.namespaces};
    if (term.in_own_namespace) made.namespaces.push_back(cycle.pod.space);
    if (term.has_namespace_selector) {
      made.in_all_namespaces = term.namespace_selector.empty();
      const auto names = cycle.cluster.workloads.namespaces_matching(term.namespace_selector, cycle.cluster.label_sets,
                                                                     cycle.cluster.strings);
      made.namespaces.insert(made.namespaces.end(), names.begin(), names.end());
    }
    result.push_back(std::move(made));
  }
  return result;
}

bool matches_all_near(const Cluster& cluster, const AffinityView& view, StringId space, const Labels& labels) {
  return !view.near.empty() && std::all_of(view.near.begin(), view.near.end(), [&](const ResolvedTerm& term) {
    return matches(cluster, term, space, labels);
  });
}

const std::vector<Contribution>& contributions(const Cluster& cluster, AffinityView& view, KindId id) {
  if (view.is_known_kind.size() <= id.index()) {
    view.is_known_kind.resize(cluster.kinds.size(), 0);
    view.of_kind.resize(cluster.kinds.size());
  }
  std::vector<Contribution>& made = view.of_kind[id.index()];
  if (view.is_known_kind[id.index()] != 0) return made;
  view.is_known_kind[id.index()] = 1;
  const PodKind& kind = cluster.kinds.at(id);
  const Labels& labels = cluster.label_sets.at(kind.labels);
  if (matches_all_near(cluster, view, kind.space, labels)) {
    for (const ResolvedTerm& term : view.near) made.push_back({kNear, term.term->topology_key, 1});
  }
  for (const ResolvedTerm& term : view.far) {
    if (matches(cluster, term, kind.space, labels)) made.push_back({kFar, term.term->topology_key, 1});
  }
  for (const ResolvedTerm& term : view.preferred) {
    if (matches(cluster, term, kind.space, labels))
      made.push_back({kScore, term.term->topology_key, term.term->weight});
  }
  if (kind.terms == nullptr) return made;
  const auto add_theirs = [&](const PodTerms& terms, Sum sum, bool is_weighted, std::int64_t amount) {
    if (!terms.error.empty()) return;  // one invalid term voids a placed pod's list
    for (const PodTerm& term : terms.terms) {
      if (matches_incoming(cluster, term, kind.space, view))
        made.push_back({sum, term.topology_key, is_weighted ? term.weight : amount});
    }
  };
  add_theirs(kind.terms->anti_affinity, kRefusing, false, 1);
  if (view.hard_weight > 0) add_theirs(kind.terms->affinity, kScore, false, view.hard_weight);
  add_theirs(kind.terms->preferred_near, kScore, true, 0);
  add_theirs(kind.terms->preferred_far, kScore, true, 0);
  return made;
}

void add(const Cluster& cluster, AffinityView& view, KindId kind, NodeId row, std::int32_t pods) {
  for (const Contribution& contribution : contributions(cluster, view, kind)) {
    const StringId value = cluster.labels.value(row, contribution.key);
    if (!value.valid()) continue;
    auto& sums = view.sums[contribution.sum];
    const std::uint32_t pair = cluster.labels.find_pair({contribution.key, value}).value();
    if ((sums[pair] += contribution.amount * pods) == 0) sums.erase(pair);
  }
}

/// The sums for the pod. A pod without terms is only concerned by pods that have some.
const AffinityView& view_of(Cycle& cycle, PluginId id) {
  static const AffinityView kUnconcerned;
  const bool has_terms = cycle.program.has_pod_terms();
  if (!has_terms && cycle.cluster.kinds.with_terms().empty()) return kUnconcerned;
  AffinityCache& cache = cycle.cache<AffinityCache>(id);
  const Cluster& cluster = cycle.cluster;
  auto known = std::find_if(cache.views.begin(), cache.views.end(), [&](const AffinityView& view) {
    return view.space == cycle.pod.space && view.labels == cycle.pod.labels;
  });
  if (known == cache.views.end()) {
    if (cache.views.size() >= kViewsMax) cache.views.pop_back();
    known = cache.views.emplace(cache.views.begin());
    known->space = cycle.pod.space;
    known->labels = cycle.pod.labels;
    known->hard_weight = cycle.profile.hard_affinity_weight;
  }
  cache.views.splice(cache.views.begin(), cache.views, known);
  AffinityView& view = cache.views.front();
  const bool is_current = view.label_version == cluster.labels.version() &&
                          view.node_generation == cluster.node_generation() &&
                          view.namespace_version == cluster.workloads.namespace_version();
  const bool caught_up = cluster.kinds.log().replay(view.cursor, [&](const KindChange& change) {
    if (is_current) add(cluster, view, change.kind, change.row, change.change);
  });
  if (is_current && caught_up) return view;
  view.label_version = cluster.labels.version();
  view.node_generation = cluster.node_generation();
  view.namespace_version = cluster.workloads.namespace_version();
  view.near = resolved(cycle, cycle.program.affinity);
  view.far = resolved(cycle, cycle.program.anti_affinity);
  view.preferred = resolved(cycle, cycle.program.preferred_near);
  for (ResolvedTerm& term : resolved(cycle, cycle.program.preferred_far)) view.preferred.push_back(std::move(term));
  view.of_kind.clear();
  view.is_known_kind.clear();
  for (auto& sums : view.sums) sums.clear();
  const auto add_kind = [&](KindId kind) {
    if (contributions(cluster, view, kind).empty()) return;
    for (const PodKind::Place& place : cluster.kinds.at(kind).places) add(cluster, view, kind, place.row, place.count);
  };
  if (has_terms) {
    for (std::size_t kind = 0; kind < cluster.kinds.size(); ++kind) add_kind(KindId(kind));
  } else {
    std::for_each(cluster.kinds.with_terms().begin(), cluster.kinds.with_terms().end(), add_kind);
  }
  return view;
}

class InterPodAffinity final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kInterPodAffinity; }
  [[nodiscard]] std::string_view name() const override { return "InterPodAffinity"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    if (const std::string error = term_error(cycle.program); !error.empty())
      return PreFilterStatus::unresolvable("parsing pod: " + error);
    const AffinityView& view = view_of(cycle, id());
    return view.near.empty() && view.far.empty() && view.sums[kRefusing].empty() ? PreFilterStatus::skip()
                                                                                 : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    const Cluster& cluster = cycle.cluster;
    const AffinityView& view = view_of(cycle, id());
    if (!view.near.empty()) {
      // the first of a group of pods that want to be together may go anywhere
      const bool is_first = view.sums[kNear].empty() &&
                            matches_all_near(cluster, view, cycle.pod.space, cluster.label_sets.at(cycle.pod.labels));
      NodeMask near = cycle.alive;
      for (const ResolvedTerm& term : view.near) {
        const StringId key = term.term->topology_key;
        NodeMask of_term(cluster.rows());
        if (is_first) {
          if (const NodeSet* with = cluster.labels.with_key(key)) with->add_to(of_term);
        } else {
          for_pairs(cluster, view.sums[kNear], key, of_term);
        }
        near &= of_term;
      }
      cycle.reject(id(), cycle.alive - near, Code::kUnresolvable, {"node(s) didn't match pod affinity rules"});
    }
    reject_pairs(cycle, view.sums[kFar], "node(s) didn't match pod anti-affinity rules");
    reject_pairs(cycle, view.sums[kRefusing], "node(s) didn't satisfy existing pods anti-affinity rules");
  }

  [[nodiscard]] PreScoreStatus pre_score(Cycle& cycle, const NodeMask&) const override {
    const PodProgram& program = cycle.program;
    if (cycle.profile.ignores_preferred_of_existing && program.preferred_near.terms.empty() &&
        program.preferred_far.terms.empty()) {
      return {PreScoreStatus::Kind::kSkip, {}};
    }
    if (const std::string error = term_error(program); !error.empty())
      return {PreScoreStatus::Kind::kError, "failed to parse pod: " + error};
    return {view_of(cycle, id()).sums[kScore].empty() ? PreScoreStatus::Kind::kSkip : PreScoreStatus::Kind::kSuccess,
            {}};
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask& feasible) const override {
    const Cluster& cluster = cycle.cluster;
    std::vector<std::int64_t> raw(cluster.rows(), 0);
    for (const auto& [pair, weight] : view_of(cycle, id()).sums[kScore]) {
      cluster.labels.with_pair(PairId(pair)).for_each([&](NodeId row) { raw[row.index()] += weight; });
    }
    std::int64_t lowest = raw[feasible.first().index()];
    std::int64_t highest = lowest;
    feasible.for_each([&](NodeId row) {
      lowest = std::min(lowest, raw[row.index()]);
      highest = std::max(highest, raw[row.index()]);
    });
    if (lowest == highest) return {};
    std::vector<std::int32_t>& column = cycle.scratch.take(cluster.rows());
    const double span = static_cast<double>(highest - lowest);
    feasible.for_each([&](NodeId row) {
      column[row.index()] = static_cast<std::int32_t>(100.0 * (static_cast<double>(raw[row.index()] - lowest) / span));
    });
    return {column.data(), 0};
  }

 private:
  static std::string term_error(const PodProgram& program) {
    for (const PodTerms* terms :
         {&program.affinity, &program.anti_affinity, &program.preferred_near, &program.preferred_far}) {
      if (!terms->error.empty()) return terms->error;
    }
    return {};
  }

  using Sums = std::unordered_map<std::uint32_t, std::int64_t>;

  static void for_pairs(const Cluster& cluster, const Sums& sums, StringId key, NodeMask& nodes) {
    for (const auto& [pair, amount] : sums) {
      if (cluster.labels.label(PairId(pair)).key == key) cluster.labels.with_pair(PairId(pair)).add_to(nodes);
    }
  }

  void reject_pairs(Cycle& cycle, const Sums& sums, const char* reason) const {
    if (sums.empty()) return;
    NodeMask nodes(cycle.cluster.rows());
    for (const auto& [pair, amount] : sums) cycle.cluster.labels.with_pair(PairId(pair)).add_to(nodes);
    cycle.reject(id(), nodes, Code::kUnschedulable, {reason});
  }
};

}  // namespace

const Plugin& inter_pod_affinity_plugin() {
  static const InterPodAffinity plugin;
  return plugin;
}

}  // namespace volsched
