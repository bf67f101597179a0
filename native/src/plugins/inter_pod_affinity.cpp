// Pods near or far from other pods. What a kind of pods contributes (to which topology keys, with which amount) is
// worked out once; the sums per label pair follow the log of pods coming and going. Filter and score then look only at
// pairs that count something. Source: spec/scheduling.md 8.9.

#include <algorithm>
#include <array>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

constexpr std::size_t kViewsMax = 32;
/// Keys with at most so many values sort nodes into classes by value, others by what their value's pair sums up to.
constexpr std::size_t kClassValuesMax = 64;
constexpr std::size_t kClassKeysMax = 4;

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

/// A topology key that counts in scoring, as classes see it.
struct ClassKey {
  StringId key;
  bool is_by_pair = false;  ///< else by the sum itself
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
  RowClasses classes;                                                           ///< by kScore, while has_classes
  std::vector<ClassKey> class_keys;
  bool has_classes = false;
  std::uint64_t cursor = 0;
  std::uint64_t label_version = 0;
  std::uint64_t node_generation = 0;
  std::uint64_t namespace_version = 0;
};

using AffinityViewPtr = std::shared_ptr<AffinityView>;

struct AffinityCache final : PluginCache {
  std::list<AffinityViewPtr> views;  ///< most recently used first; a trial may keep one
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

std::vector<Contribution> contributions_of(const Cluster& cluster, const AffinityView& view, const PodKind& kind) {
  std::vector<Contribution> made;
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

std::int64_t score_sum(const AffinityView& view, PairId pair) {
  const auto known = view.sums[kScore].find(pair.value());
  return known == view.sums[kScore].end() ? 0 : known->second;
}

void classify(const Cluster& cluster, AffinityView& view, NodeId row) {
  std::array<std::int64_t, kClassKeysMax> signature{};
  for (std::size_t at = 0; at < view.class_keys.size(); ++at) {
    const auto& [key, is_by_pair] = view.class_keys[at];
    const StringId value = cluster.labels.value(row, key);
    const PairId pair = value.valid() ? cluster.labels.find_pair({key, value}) : PairId();
    signature[at] = is_by_pair ? std::int64_t{pair.value()} : pair.valid() ? score_sum(view, pair) : 0;
  }
  view.classes.put(row.value(), {signature.data(), view.class_keys.size()});
}

void classify_all(const Cluster& cluster, AffinityView& view) {
  view.class_keys.clear();
  for (const auto& [pair, amount] : view.sums[kScore]) {
    const StringId key = cluster.labels.label(PairId(pair)).key;
    const auto is_it = [&](const ClassKey& known) { return known.key == key; };
    if (std::none_of(view.class_keys.begin(), view.class_keys.end(), is_it))
      view.class_keys.push_back({key, cluster.labels.values_of(key).size() <= kClassValuesMax});
  }
  view.has_classes = view.class_keys.size() <= kClassKeysMax;
  if (!view.has_classes) return;
  view.classes.restart(cluster.rows(), view.class_keys.size());
  cluster.live().for_each([&](NodeId row) { classify(cluster, view, row); });
}

/// A pair's sum in scoring has changed.
void reclassify(const Cluster& cluster, AffinityView& view, StringId key, PairId pair) {
  const auto known = std::find_if(view.class_keys.begin(), view.class_keys.end(),
                                  [&](const ClassKey& entry) { return entry.key == key; });
  if (known == view.class_keys.end()) {
    view.has_classes = false;  // a new key: all nodes are sorted again when they are next asked for
  } else if (!known->is_by_pair) {
    cluster.labels.with_pair(pair).for_each([&](NodeId row) { classify(cluster, view, row); });
  }
}

const std::vector<Contribution>& contributions(const Cluster& cluster, AffinityView& view, KindId id) {
  if (view.is_known_kind.size() <= id.index()) {
    view.is_known_kind.resize(cluster.kinds.size(), 0);
    view.of_kind.resize(cluster.kinds.size());
  }
  std::vector<Contribution>& made = view.of_kind[id.index()];
  if (view.is_known_kind[id.index()] != 0) return made;
  view.is_known_kind[id.index()] = 1;
  made = contributions_of(cluster, view, cluster.kinds.at(id));
  return made;
}

void add(const Cluster& cluster, AffinityView& view, KindId kind, NodeId row, std::int32_t pods) {
  for (const Contribution& contribution : contributions(cluster, view, kind)) {
    const StringId value = cluster.labels.value(row, contribution.key);
    if (!value.valid()) continue;
    auto& sums = view.sums[contribution.sum];
    const PairId pair = cluster.labels.find_pair({contribution.key, value});
    if ((sums[pair.value()] += contribution.amount * pods) == 0) sums.erase(pair.value());
    if (contribution.sum == kScore && view.has_classes) reclassify(cluster, view, contribution.key, pair);
  }
}

/// The sums for the pod; nullptr for a pod without terms while no placed pod has some.
AffinityViewPtr kept_view(Cycle& cycle, PluginId id) {
  const bool has_terms = cycle.program.has_pod_terms();
  if (!has_terms && cycle.cluster.kinds.with_terms().empty()) return nullptr;
  AffinityCache& cache = cycle.cache<AffinityCache>(id);
  const Cluster& cluster = cycle.cluster;
  auto known = std::find_if(cache.views.begin(), cache.views.end(), [&](const AffinityViewPtr& view) {
    return view->space == cycle.pod.space && view->labels == cycle.pod.labels;
  });
  if (known == cache.views.end()) {
    if (cache.views.size() >= kViewsMax) cache.views.pop_back();
    known = cache.views.insert(cache.views.begin(), std::make_shared<AffinityView>());
    (*known)->space = cycle.pod.space;
    (*known)->labels = cycle.pod.labels;
    (*known)->hard_weight = cycle.profile.hard_affinity_weight;
  }
  cache.views.splice(cache.views.begin(), cache.views, known);
  const AffinityViewPtr shared = cache.views.front();
  AffinityView& view = *shared;
  const bool is_current = view.label_version == cluster.labels.version() &&
                          view.node_generation == cluster.node_generation() &&
                          view.namespace_version == cluster.workloads.namespace_version();
  const bool caught_up = cluster.kinds.log().replay(view.cursor, [&](const KindChange& change) {
    if (is_current) add(cluster, view, change.kind, change.row, change.change);
  });
  if (is_current && caught_up) return shared;
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
  view.has_classes = false;
  const auto add_kind = [&](KindId kind) {
    if (contributions(cluster, view, kind).empty()) return;
    for (const PodKind::Place& place : cluster.kinds.at(kind).places) add(cluster, view, kind, place.row, place.count);
  };
  if (has_terms) {
    for (std::size_t kind = 0; kind < cluster.kinds.size(); ++kind) add_kind(KindId(kind));
  } else {
    std::for_each(cluster.kinds.with_terms().begin(), cluster.kinds.with_terms().end(), add_kind);
  }
  return shared;
}

AffinityViewPtr view_of(Cycle& cycle, PluginId id) {
  static const AffinityViewPtr kUnconcerned = std::make_shared<AffinityView>();
  const AffinityViewPtr kept = kept_view(cycle, id);
  return kept == nullptr ? kUnconcerned : kept;
}

constexpr const char* kNearReason = "node(s) didn't match pod affinity rules";
constexpr const char* kFarReason = "node(s) didn't match pod anti-affinity rules";
constexpr const char* kRefusingReason = "node(s) didn't satisfy existing pods anti-affinity rules";

/// Sums from PreFilter, and what pods that come to this node and leave it add to the label pairs it has.
class AffinityJudge final : public PodJudge {
 public:
  AffinityJudge(const Cycle& cycle, AffinityViewPtr view) : cluster_(cycle.cluster), view_(std::move(view)) {
    attracts_itself_ = matches_all_near(cluster_, *view_, cycle.pod.space, cluster_.label_sets.at(cycle.pod.labels));
  }

  void enter(NodeId row) override {
    row_ = row;
    moved_.clear();
  }

  void count(const PodRow& pod, std::int32_t change) override {
    if (pod.kind.valid()) {
      for (const Contribution& contribution : contributions(cluster_, *view_, pod.kind)) move(contribution, change);
      return;
    }
    const PodKind kind{pod.instance.space,
                       pod.instance.labels,
                       pod.instance.is_terminating,
                       pod.program->has_pod_terms() ? pod.program : nullptr,
                       {}};
    for (const Contribution& contribution : contributions_of(cluster_, *view_, kind)) move(contribution, change);
  }

  [[nodiscard]] std::optional<Refusal> judge(const TriedNode&) const override {
    if (!is_near()) return Refusal::of(Code::kUnresolvable, kNearReason);
    for (const ResolvedTerm& term : view_->far) {
      if (sum(kFar, pair_on_node(term.term->topology_key)) > 0) return Refusal::of(Code::kUnschedulable, kFarReason);
    }
    for (const Label& label : cluster_.labels.of(row_)) {
      if (sum(kRefusing, cluster_.labels.find_pair(label)) > 0)
        return Refusal::of(Code::kUnschedulable, kRefusingReason);
    }
    return std::nullopt;
  }

 private:
  struct Moved {
    Sum sum = kScore;
    PairId pair;
    std::int64_t amount = 0;
  };

  [[nodiscard]] PairId pair_on_node(StringId key) const {
    const StringId value = cluster_.labels.value(row_, key);
    return value.valid() ? cluster_.labels.find_pair({key, value}) : PairId();
  }

  void move(const Contribution& contribution, std::int32_t change) {
    if (contribution.sum == kScore) return;
    const PairId pair = pair_on_node(contribution.key);
    if (!pair.valid()) return;
    const auto known = std::find_if(moved_.begin(), moved_.end(), [&](const Moved& moved) {
      return moved.sum == contribution.sum && moved.pair == pair;
    });
    if (known != moved_.end()) {
      known->amount += contribution.amount * change;
    } else {
      moved_.push_back({contribution.sum, pair, contribution.amount * change});
    }
  }

  [[nodiscard]] std::int64_t counted(Sum sum, PairId pair) const {
    const auto& sums = view_->sums[sum];
    const auto known = sums.find(pair.value());
    return known == sums.end() ? 0 : known->second;
  }

  [[nodiscard]] std::int64_t sum(Sum sum, PairId pair) const {
    if (!pair.valid()) return 0;
    std::int64_t total = counted(sum, pair);
    for (const Moved& moved : moved_) total += moved.sum == sum && moved.pair == pair ? moved.amount : 0;
    return total;
  }

  [[nodiscard]] bool is_near() const {
    bool is_beside_all = true;
    for (const ResolvedTerm& term : view_->near) {
      const PairId pair = pair_on_node(term.term->topology_key);
      if (!pair.valid()) return false;
      is_beside_all = is_beside_all && sum(kNear, pair) > 0;
    }
    // the first of a group of pods that want to be together may go anywhere
    return is_beside_all || (attracts_itself_ && counts_none_near());
  }

  /// Whether no pod anywhere is one to be near to.
  [[nodiscard]] bool counts_none_near() const {
    std::int64_t left = static_cast<std::int64_t>(view_->sums[kNear].size());
    for (const Moved& moved : moved_) {
      if (moved.sum != kNear) continue;
      const std::int64_t before = counted(kNear, moved.pair);
      left += (before + moved.amount != 0 ? 1 : 0) - (before != 0 ? 1 : 0);
    }
    return left == 0;
  }

  const Cluster& cluster_;
  AffinityViewPtr view_;
  bool attracts_itself_ = false;
  std::vector<Moved> moved_;
  NodeId row_;
};

class InterPodAffinity final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kInterPodAffinity; }
  [[nodiscard]] std::string_view name() const override { return "InterPodAffinity"; }

  [[nodiscard]] PreFilterStatus pre_filter(Cycle& cycle) const override {
    if (const std::string error = term_error(cycle.program); !error.empty())
      return PreFilterStatus::unresolvable("parsing pod: " + error);
    const AffinityViewPtr shared = view_of(cycle, id());
    const AffinityView& view = *shared;
    return view.near.empty() && view.far.empty() && view.sums[kRefusing].empty() ? PreFilterStatus::skip()
                                                                                 : PreFilterStatus::success();
  }

  void filter(Cycle& cycle) const override {
    const Cluster& cluster = cycle.cluster;
    const AffinityViewPtr shared = view_of(cycle, id());
    const AffinityView& view = *shared;
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
      cycle.reject(id(), cycle.alive - near, Code::kUnresolvable, {kNearReason});
    }
    reject_pairs(cycle, view.sums[kFar], kFarReason);
    reject_pairs(cycle, view.sums[kRefusing], kRefusingReason);
  }

  [[nodiscard]] std::unique_ptr<PodJudge> judge(Cycle& cycle) const override {
    return std::make_unique<AffinityJudge>(cycle, view_of(cycle, id()));
  }

  [[nodiscard]] PreScoreStatus pre_score(Cycle& cycle, const NodeMask&) const override {
    const PodProgram& program = cycle.program;
    if (cycle.profile.ignores_preferred_of_existing && program.preferred_near.terms.empty() &&
        program.preferred_far.terms.empty()) {
      return {PreScoreStatus::Kind::kSkip, {}};
    }
    if (const std::string error = term_error(program); !error.empty())
      return {PreScoreStatus::Kind::kError, "failed to parse pod: " + error};
    return {view_of(cycle, id())->sums[kScore].empty() ? PreScoreStatus::Kind::kSkip : PreScoreStatus::Kind::kSuccess,
            {}};
  }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask& feasible) const override {
    const Cluster& cluster = cycle.cluster;
    std::vector<std::int64_t> raw(cluster.rows(), 0);
    const AffinityViewPtr view = view_of(cycle, id());
    for (const auto& [pair, weight] : view->sums[kScore]) {
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

  [[nodiscard]] const RowClasses* classes(Cycle& cycle, const NodeMask&) const override {
    const AffinityViewPtr view = kept_view(cycle, id());
    if (view == nullptr) return nullptr;
    if (!view->has_classes) classify_all(cycle.cluster, *view);
    return view->has_classes && !view->classes.is_crowded() ? &view->classes : nullptr;
  }

  /// score() a class at a time.
  void score_classes(Cycle& cycle, std::span<const std::uint32_t> counts,
                     std::vector<std::int32_t>& scores) const override {
    const AffinityViewPtr shared = view_of(cycle, id());
    const AffinityView& view = *shared;
    std::vector<std::int64_t> raw(counts.size(), 0);
    std::int64_t lowest = 0;
    std::int64_t highest = 0;
    bool is_first = true;
    for (std::size_t at = 0; at < counts.size(); ++at) {
      if (counts[at] == 0) continue;
      const auto signature = view.classes.signature(at);
      for (std::size_t key = 0; key < signature.size(); ++key) {
        const PairId pair(static_cast<std::uint32_t>(signature[key]));
        raw[at] += !view.class_keys[key].is_by_pair ? signature[key] : pair.valid() ? score_sum(view, pair) : 0;
      }
      lowest = is_first ? raw[at] : std::min(lowest, raw[at]);
      highest = is_first ? raw[at] : std::max(highest, raw[at]);
      is_first = false;
    }
    if (lowest == highest) return;
    const double span = static_cast<double>(highest - lowest);
    for (std::size_t at = 0; at < counts.size(); ++at) {
      if (counts[at] == 0) continue;
      scores[at] = static_cast<std::int32_t>(100.0 * (static_cast<double>(raw[at] - lowest) / span));
    }
  }

 private:
  /// What is wrong with the pod's terms, each list by its name.
  static std::string term_error(const PodProgram& program) {
    const std::array<std::pair<const char*, const PodTerms*>, 4> lists{
        {{"requiredAffinityTerms: ", &program.affinity},
         {"requiredAntiAffinityTerms: ", &program.anti_affinity},
         {"preferredAffinityTerms: ", &program.preferred_near},
         {"preferredAntiAffinityTerms: ", &program.preferred_far}}};
    std::string text;
    std::size_t count = 0;
    for (const auto& [name, terms] : lists) {
      if (terms->error.empty()) continue;
      text += (count++ == 0 ? "" : ", ") + (name + terms->error);
    }
    return count > 1 ? "[" + text + "]" : text;
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
