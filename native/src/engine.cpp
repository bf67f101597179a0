#include "volsched/engine.hpp"

#include <algorithm>

#include "volsched/error.hpp"
#include "volsched/text.hpp"

namespace volsched {

namespace {

/// Templates whose plugin caches are kept: about 20 bytes a node each.
constexpr std::size_t kCachedProgramsMax = 128;
/// Rankings kept for one template: about 20 bytes a node each.
constexpr std::size_t kRankingsMax = 32;

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

std::vector<std::string> reasons_of(std::string reason) {
  std::vector<std::string> reasons;
  if (!reason.empty()) reasons.push_back(std::move(reason));
  return reasons;
}

}  // namespace

Engine::Engine(TieBreak tie_break, std::uint64_t seed, std::int32_t percentage_of_nodes)
    : tie_break_(tie_break), percentage_of_nodes_(percentage_of_nodes), random_(seed) {
  if (percentage_of_nodes < 0 || percentage_of_nodes > 100) {
    throw Error("percentage_of_nodes_to_score must be 0 (adaptive) to 100, not " + std::to_string(percentage_of_nodes));
  }
}

ProgramCaches& Engine::caches_for(const ProgramPtr& program, const Profile& profile) {
  const CacheKey key{program.get(), profile.serial};
  const auto known = caches_by_program_.find(key);
  if (known != caches_by_program_.end()) {
    caches_.splice(caches_.begin(), caches_, known->second);
    return caches_.front();
  }
  if (caches_.size() >= kCachedProgramsMax) {
    caches_by_program_.erase({caches_.back().program.get(), caches_.back().profile});
    caches_.pop_back();
  }
  caches_.emplace_front();
  caches_.front().program = program;
  caches_.front().profile = profile.serial;
  caches_by_program_[key] = caches_.begin();
  return caches_.front();
}

// Filtering
// ------------------------------------------------------------------------------------------------------------------------------

Decision Engine::begin(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only, ProfilePtr profile) {
  Decision decision;
  decision.serial = ++last_serial_;
  decision.profile = std::move(profile);
  decision.program = program;
  decision.pod = std::move(pod);
  decision.generation = cluster.generation();
  decision.node_generation = cluster.node_generation();
  decision.node_count = cluster.node_count();
  decision.feasible = NodeMask(cluster.rows());
  cluster.order.refresh(cluster.rows());
  cluster.images.capture();
  progress_.skipped.clear();
  progress_.names.clear();
  progress_.is_restricted = only != nullptr;
  if (only == nullptr) {
    progress_.given = cluster.live();
  } else {
    progress_.given = NodeMask(cluster.rows());
    for (const NodeId row : *only) {
      if (cluster.live().test(row)) progress_.given.set(row);
    }
  }
  scratch_.reset();
  cycle_ = std::make_unique<Cycle>(cluster, decision.profile, decision.program, decision.pod,
                                   caches_for(program, *decision.profile), scratch_);
  cycle_serial_ = decision.serial;
  return decision;
}

Cycle& Engine::cycle_under_way(const Decision& decision) const {
  check_state(decision);
  if (cycle_ == nullptr || cycle_serial_ != decision.serial)
    throw Error("another decision was begun before this one ended");
  return *cycle_;
}

bool Engine::pre_filter_at(Decision& decision, std::size_t at) {
  return pre_filter(decision, cycle_under_way(decision), decision.profile->pre_filters.at(at));
}

bool Engine::pre_filter(Decision& decision, Cycle& cycle, const ProfileStep& step) {
  if (step.plugin == nullptr) return true;
  PreFilterStatus status = step.plugin->pre_filter(cycle);
  switch (status.kind) {
    case PreFilterStatus::Kind::kSuccess:
      return !status.narrows || narrowed(decision, step.name, std::move(status.names));
    case PreFilterStatus::Kind::kSkip:
      progress_.skipped.add(step.plugin->id());
      return true;
    case PreFilterStatus::Kind::kUnschedulable:
      return refuse(decision, step.name, Code::kUnschedulable, std::move(status.text));
    case PreFilterStatus::Kind::kUnresolvable:
      return refuse(decision, step.name, Code::kUnresolvable, std::move(status.text));
    case PreFilterStatus::Kind::kError:
      break;
  }
  decision.error = quoting("running PreFilter plugin ", step.name, ": ") + status.text;
  return false;
}

bool Engine::refuse(Decision& decision, std::string plugin, Code code, std::string reason) {
  decision.is_refused = true;
  decision.refusal = {std::move(plugin), code, {std::move(reason)}, {}};
  // A refusal that removing pods could lift lets the other plugins speak first; the last one stands.
  if (code == Code::kUnschedulable) return true;
  decision.narrowing.clear();  // nobody else is to blame
  return false;
}

bool Engine::narrowed(Decision& decision, std::string plugin, std::vector<StringId> names) {
  if (decision.narrowing.empty()) {
    progress_.names = std::move(names);
  } else {
    std::erase_if(progress_.names,
                  [&](StringId name) { return std::find(names.begin(), names.end(), name) == names.end(); });
  }
  decision.narrowing.push_back(std::move(plugin));
  std::sort(decision.narrowing.begin(), decision.narrowing.end());
  if (!progress_.names.empty()) return true;
  decision.is_refused = true;
  decision.refusal = {"",
                      Code::kUnresolvable,
                      {decision.narrowing.size() == 1
                           ? "node(s) didn't satisfy plugin " + decision.narrowing.front()
                           : "node(s) didn't satisfy plugin(s) [" + joined(decision.narrowing) + "] simultaneously"},
                      {}};
  return false;
}

bool Engine::restrict(Decision& decision, std::string plugin, const NodeMask& mask) {
  static_cast<void>(cycle_under_way(decision));
  std::vector<StringId> names;
  mask.for_each([&](NodeId row) { names.push_back(cluster.node(row).name); });
  return narrowed(decision, std::move(plugin), std::move(names));
}

bool Engine::end_pre_filters(Decision& decision) {
  Cycle& cycle = cycle_under_way(decision);
  if (decision.is_refused) return false;
  const NodeMask& given = progress_.given;
  if (decision.narrowing.empty()) {
    cycle.alive = given;
  } else {
    cycle.alive = NodeMask(cluster.rows());
    for (const StringId name : progress_.names) {
      const NodeId row = cluster.find_node(name);
      if (row.valid() && given.test(row)) cycle.alive.set(row);
    }
    decision.absent_reason = "node(s) didn't satisfy plugin(s) [" + joined(decision.narrowing) + "]";
    decision.absent_count = given.count() - cycle.alive.count();
  }
  progress_.considered = cycle.alive;
  return true;
}

void Engine::filter_at(Decision& decision, std::size_t at) {
  filter(cycle_under_way(decision), decision.profile->filters.at(at));
}

void Engine::filter(Cycle& cycle, const ProfileStep& step) const {
  if (!step.failure.empty()) {
    if (step.plugin != nullptr) step.plugin->filter_unprepared(cycle);
    const NodeMask left = cycle.alive;
    cycle.fail(step.name, left, step.failure);
    return;
  }
  if (step.plugin != nullptr && !progress_.skipped.contains(step.plugin->id())) step.plugin->filter(cycle);
}

const NodeMask& Engine::alive(const Decision& decision) const {
  return cycle_under_way(decision).alive;
}

void Engine::reject(Decision& decision, const NodeMask& keep, std::string plugin, Code code, std::string reason) {
  Cycle& cycle = cycle_under_way(decision);
  NodeMask refused = cycle.alive - keep;
  if (refused.none()) return;
  cycle.alive -= refused;
  cycle.rejected.push_back({std::move(plugin), code, reasons_of(std::move(reason)), std::move(refused)});
}

void Engine::fail(Decision& decision, std::string_view plugin, std::string text) {
  Cycle& cycle = cycle_under_way(decision);
  const NodeMask left = cycle.alive;
  cycle.fail(plugin, left, std::move(text));
}

void Engine::refuse_on(Decision& decision, NodeId row, std::string plugin, Refusal refusal) {
  Cycle& cycle = cycle_under_way(decision);
  if (!cycle.alive.test(row)) return;
  NodeMask one(cluster.rows());
  one.set(row);
  if (refusal.is_failure) {
    cycle.fail(plugin, one, std::move(refusal.reasons.front()));
    return;
  }
  cycle.alive.reset(row);
  cycle.rejected.push_back({std::move(plugin), refusal.code, std::move(refusal.reasons), std::move(one)});
}

void Engine::keep_promises(Decision& decision, std::span<const Promise> promises) {
  NodeMask contested(cluster.rows());
  for (const Promise& promise : promises) {
    if (alive(decision).test(promise.row)) contested.set(promise.row);
  }
  if (contested.none()) return;
  const std::unique_ptr<Trial> tried = trial(decision, contested);
  for (const Promise& promise : promises) {
    if (!contested.test(promise.row)) continue;
    tried->enter(promise.row);
    for (const PodRow& guest : promise.pods) tried->add(guest);
    std::optional<Trial::Verdict> verdict = tried->verdict();
    if (verdict) refuse_on(decision, promise.row, std::string(verdict->plugin), std::move(verdict->refusal));
  }
}

std::unique_ptr<Trial> Engine::trial(const Decision& decision, const NodeMask& within) {
  check_state(decision);
  if (!decision.error.empty()) throw Error("the decision failed, there is nothing to try: " + decision.error);
  if (decision.is_refused && decision.refusal.code == Code::kUnresolvable)
    throw Error("the pod was refused before any node was looked at, there is nothing to try");
  Cycle cycle(cluster, decision.profile, decision.program, decision.pod,
              caches_for(decision.program, *decision.profile), scratch_);
  std::vector<const Plugin*> skipped;
  for (const ProfileStep& step : decision.profile->pre_filters) {
    if (step.plugin != nullptr && step.plugin->pre_filter(cycle).kind == PreFilterStatus::Kind::kSkip)
      skipped.push_back(step.plugin);
  }
  return std::make_unique<Trial>(cycle, skipped, within);
}

std::int32_t Engine::percentage_for(const Decision& decision) const {
  return decision.profile->percentage_of_nodes < 0 ? percentage_of_nodes_ : decision.profile->percentage_of_nodes;
}

std::size_t Engine::wanted(std::size_t nodes, std::int32_t percentage_of_nodes) {
  constexpr std::size_t kNodesMin = 100;
  if (percentage_of_nodes >= 100 || nodes < kNodesMin) return nodes;
  std::size_t percentage = static_cast<std::size_t>(percentage_of_nodes);
  if (percentage == 0) percentage = nodes / 125 >= 45 ? 5 : 50 - nodes / 125;
  return std::max(kNodesMin, nodes * percentage / 100);
}

void Engine::search(Decision& decision, bool takes_first) {
  Cycle& cycle = cycle_under_way(decision);
  const std::int32_t percentage = percentage_for(decision);
  const bool rotates = percentage < 100 || takes_first;  // begins where the last search ended
  decision.start = 0;
  if (rotates || !cycle.failures.empty()) {
    const std::vector<NodeId>& order = cluster.order.list();
    const std::size_t considered_count = progress_.considered.count();
    const std::size_t limit = takes_first ? 1 : wanted(considered_count, percentage);
    // Upstream walks the list it filters (narrowed, in node order).
    std::vector<NodeId> walk;
    walk.reserve(considered_count);
    for (const NodeId row : order) {
      if (progress_.considered.test(row)) walk.push_back(row);
    }
    if (rotates && !walk.empty()) decision.start = next_start_ % walk.size();
    NodeMask seen(cluster.rows());
    std::size_t found = 0;
    std::size_t processed = 0;
    for (std::size_t step = 0; step < walk.size(); ++step) {
      const NodeId row = walk[(decision.start + step) % walk.size()];
      for (const Cycle::Failure& failure : cycle.failures) {
        if (!failure.nodes.test(row)) continue;
        decision.error = failure.plugin.empty()
                             ? failure.text
                             : quoting("running ", failure.plugin, " filter plugin: ") + failure.text;
        break;
      }
      if (!decision.error.empty()) break;
      if (cycle.alive.test(row)) {
        if (found == limit) break;  // one more than wanted: it is dropped and the search ends
        ++found;
      }
      ++processed;
      seen.set(row);
      if (rotates) decision.visited.push_back(row);
    }
    if (rotates && !progress_.is_restricted && cluster.node_count() > 0)
      next_start_ = (next_start_ + processed) % cluster.node_count();
    cycle.alive &= seen;
    for (Rejected& group : cycle.rejected) group.nodes &= seen;
    std::erase_if(cycle.rejected, [](const Rejected& group) { return group.nodes.none(); });
  }
  decision.feasible = std::move(cycle.alive);
  decision.rejected = std::move(cycle.rejected);
}

Decision Engine::filter(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only, ProfilePtr profile,
                        std::span<const Promise> promises, bool wants_reasons) {
  Decision decision = begin(program, std::move(pod), only, std::move(profile));
  Cycle& cycle = *cycle_;
  cycle.wants_reasons = wants_reasons;
  if (cluster.node_count() == 0) return decision;
  for (const ProfileStep& step : decision.profile->pre_filters) {
    if (!pre_filter(decision, cycle, step)) return decision;
  }
  if (!end_pre_filters(decision)) return decision;
  if (!promises.empty()) keep_promises(decision, promises);
  for (const ProfileStep& step : decision.profile->filters) filter(cycle, step);
  search(decision, decision.profile->scores.empty());
  return decision;
}

void Engine::narrow(Decision& decision, const NodeMask& keep, std::string plugin, Code code, std::string reason) const {
  check_nodes(decision);
  const NodeMask refused = decision.feasible - keep;
  if (refused.none()) return;
  decision.feasible -= refused;
  decision.rejected.push_back({std::move(plugin), code, reasons_of(std::move(reason)), refused});
}

void Engine::check_nodes(const Decision& decision) const {
  if (decision.node_generation != cluster.node_generation()) {
    throw Error("a node came or went since this decision was made (generation " + std::to_string(decision.generation) +
                ", now " + std::to_string(cluster.generation()) + "); read it before, or decide again");
  }
}

void Engine::check_state(const Decision& decision) const {
  if (decision.generation != cluster.generation()) {
    throw Error("the cluster has changed since this decision was made (generation " +
                std::to_string(decision.generation) + ", now " + std::to_string(cluster.generation()) +
                "); read it before, or decide again");
  }
}

// Scoring and choosing
// -------------------------------------------------------------------------------------------------------------------

Cycle& Engine::cycle_of(const Decision& decision) {
  check_state(decision);
  scratch_.reset();
  if (cycle_ != nullptr && cycle_serial_ == decision.serial) return *cycle_;
  cycle_ = std::make_unique<Cycle>(cluster, decision.profile, decision.program, decision.pod,
                                   caches_for(decision.program, *decision.profile), scratch_);
  cycle_serial_ = decision.serial;
  for (const ProfileStep& step : decision.profile->pre_filters) {
    if (step.plugin != nullptr) static_cast<void>(step.plugin->pre_filter(*cycle_));
  }
  return *cycle_;
}

std::vector<PluginScores> Engine::scores(const Decision& decision, ScoreFailure& failure, bool takes_classes) {
  std::vector<PluginScores> result;
  Cycle& cycle = cycle_of(decision);
  if (decision.feasible.none()) return result;
  const Profile& profile = *decision.profile;
  result.reserve(profile.scores.size());
  PluginSet skipped;
  for (std::size_t at = 0; at < profile.pre_scores.size(); ++at) {
    const ProfileStep& step = profile.pre_scores[at];
    if (step.failure.empty() && step.plugin == nullptr) continue;
    const PreScoreStatus status =
        step.failure.empty() ? step.plugin->pre_score(cycle, decision.feasible) : PreScoreStatus::error(step.failure);
    if (status.kind == PreScoreStatus::Kind::kError) {
      failure = {false, at, quoting("running PreScore plugin ", step.name, ": ") + status.text};
      return {};
    }
    if (status.kind == PreScoreStatus::Kind::kSkip) skipped.add(step.plugin->id());
  }
  for (std::size_t at = 0; at < profile.scores.size(); ++at) {
    const ProfileStep& step = profile.scores[at];
    if (step.plugin != nullptr && skipped.contains(step.plugin->id())) continue;
    if (!step.failure.empty() || (step.plugin != nullptr && !step.is_prepared)) {
      const PreScoreStatus status = step.failure.empty() ? step.plugin->prepare_score(cycle, decision.feasible)
                                                         : PreScoreStatus::error(step.failure);
      if (status.kind == PreScoreStatus::Kind::kError) {
        failure = {true, at, quoting("running Score plugins: plugin ", step.name, " failed with: ") + status.text};
        return {};
      }
      if (status.kind == PreScoreStatus::Kind::kSkip) continue;
    }
    if (step.plugin == nullptr) continue;
    const RowClasses* classes = takes_classes ? step.plugin->classes(cycle, decision.feasible) : nullptr;
    const ScoreColumn column = classes == nullptr ? step.plugin->score(cycle, decision.feasible) : ScoreColumn();
    if (column.kept != nullptr && !column.kept->invalid().empty()) {
      if (std::string text = invalid_score(decision, step.plugin->name(), *column.kept); !text.empty()) {
        failure = {true, at, std::move(text)};
        return {};
      }
    }
    result.push_back({step.plugin, step.weight, column, classes});
  }
  return result;
}

std::string Engine::invalid_score(const Decision& decision, std::string_view plugin, const KeptColumn& scores) {
  for (const NodeId row : feasible(decision)) {
    const auto found = scores.invalid().find(row.value());
    if (found == scores.invalid().end()) continue;
    return quoting("applying score defaultWeights on Score plugins: plugin ", std::string(plugin),
                   " returns an invalid score ") +
           std::to_string(found->second) + ", it should in the range of [0, " + std::to_string(kScoreMax) +
           "] after normalizing";
  }
  return {};
}

std::vector<PluginScores> Engine::scores(const Decision& decision, std::string& error) {
  ScoreFailure failure;
  std::vector<PluginScores> parts = scores(decision, failure);
  error = std::move(failure.text);
  return parts;
}

const std::vector<std::int32_t>& Engine::totals(const Decision& decision, std::span<const PluginScores> scores) {
  std::int32_t constant = 0;
  for (const PluginScores& part : scores)
    constant += part.column.by_row == nullptr ? part.weight * part.column.constant : 0;
  totals_.assign(cluster.rows(), constant);
  for (const PluginScores& part : scores) {
    if (part.column.by_row == nullptr) continue;
    const std::int32_t* column = part.column.by_row;
    const std::int32_t weight = part.weight;
    for (std::size_t row = 0; row < totals_.size(); ++row) totals_[row] += weight * column[row];
  }
  for (const ExtraScores& extra : decision.extra) {
    for (std::size_t row = 0; row < totals_.size(); ++row) totals_[row] += static_cast<std::int32_t>(extra.by_row[row]);
  }
  return totals_;
}

const std::vector<std::uint32_t>& Engine::name_ranks() {
  cluster.order.refresh(cluster.rows());
  if (name_ranks_version_ == cluster.order.version() && name_ranks_.size() == cluster.rows()) return name_ranks_;
  std::vector<NodeId> sorted = cluster.order.list();
  std::sort(sorted.begin(), sorted.end(), [&](NodeId a, NodeId b) {
    return cluster.strings.view(cluster.node(a).name) < cluster.strings.view(cluster.node(b).name);
  });
  name_ranks_.assign(cluster.rows(), NodeOrder::kNowhere);
  for (std::size_t at = 0; at < sorted.size(); ++at) name_ranks_[sorted[at].index()] = static_cast<std::uint32_t>(at);
  name_ranks_version_ = cluster.order.version();
  return name_ranks_;
}

NodeId Engine::pick_by_rank(const NodeMask& feasible, const std::vector<std::int32_t>& totals,
                            const std::vector<std::uint32_t>& rank) const {
  NodeId best;
  std::int32_t best_total = 0;
  std::uint32_t best_rank = 0;
  const auto words = feasible.words();
  for (std::size_t at = 0; at < words.size(); ++at) {
    if (words[at] == 0) continue;
    const std::size_t from = at * NodeMask::kWordBits;
    if (words[at] == ~std::uint64_t{0} && best.valid()) {
      // A whole word of feasible nodes that all stay below the best is passed over in one go.
      std::int32_t most = totals[from];
      for (std::size_t row = from; row < from + NodeMask::kWordBits; ++row) most = std::max(most, totals[row]);
      if (most < best_total) continue;
    }
    for (std::uint64_t word = words[at]; word != 0; word &= word - 1) {
      const std::size_t row = from + static_cast<std::size_t>(std::countr_zero(word));
      if (best.valid() && (totals[row] < best_total || (totals[row] == best_total && rank[row] >= best_rank))) continue;
      best = NodeId(row);
      best_total = totals[row];
      best_rank = rank[row];
    }
  }
  return best;
}

std::vector<NodeId> Engine::feasible(const Decision& decision) {
  check_nodes(decision);
  cluster.order.refresh(cluster.rows());
  const std::vector<NodeId>& order = decision.visited.empty() ? cluster.order.list() : decision.visited;
  std::vector<NodeId> result;
  for (const NodeId row : order) {
    if (decision.feasible.test(row)) result.push_back(row);
  }
  return result;
}

NodeId Engine::pick(const Decision& decision, const std::vector<std::int32_t>& totals) {
  if (tie_break_ == TieBreak::kName) return pick_by_rank(decision.feasible, totals, name_ranks());
  if (tie_break_ == TieBreak::kFirst && decision.visited.empty())
    return pick_by_rank(decision.feasible, totals, cluster.order.positions());

  const std::vector<NodeId> candidates = feasible(decision);
  std::int32_t most = totals[candidates.front().index()];
  for (const NodeId row : candidates) most = std::max(most, totals[row.index()]);
  const auto is_best = [&](std::size_t at) { return totals[candidates[at].index()] == most; };
  if (tie_break_ == TieBreak::kRandom) {
    std::vector<NodeId> ties;
    for (std::size_t at = 0; at < candidates.size(); ++at) {
      if (is_best(at)) ties.push_back(candidates[at]);
    }
    return ties[random_.below(ties.size())];
  }
  if (tie_break_ == TieBreak::kFirst) {
    std::size_t at = 0;
    while (!is_best(at)) ++at;
    return candidates[at];
  }
  // Upstream's heap: the first maximum in a pre-order walk of the implicit tree.
  std::vector<std::size_t> open{0};
  while (true) {
    const std::size_t at = open.back();
    open.pop_back();
    if (is_best(at)) return candidates[at];
    if (2 * at + 2 < candidates.size()) open.push_back(2 * at + 2);
    if (2 * at + 1 < candidates.size()) open.push_back(2 * at + 1);
  }
}

bool Engine::can_rank(const Decision& decision) const {
  const bool by_rank = tie_break_ == TieBreak::kName || (tie_break_ == TieBreak::kFirst && decision.visited.empty());
  return by_rank && decision.extra.empty();
}

NodeId Engine::pick_ranked(const Decision& decision, std::span<const PluginScores> parts) {
  std::vector<Ranking::Part> kept;
  std::vector<Ranking::ClassPart> classes;
  kept.reserve(parts.size());
  for (const PluginScores& part : parts) {
    if (part.classes != nullptr) {
      if (classes.size() == Ranking::kClassPartsMax) return {};
      classes.push_back(
          {part.classes, part.weight,
           [this, plugin = part.plugin](std::span<const std::uint32_t> counts, std::vector<std::int32_t>& scores) {
             plugin->score_classes(*cycle_, counts, scores);
           }});
    } else if (part.column.kept != nullptr) {
      kept.push_back({part.column.kept, part.weight});
    } else if (part.column.by_row != nullptr) {
      return {};
    }  // else the same for all
  }
  const std::uint64_t variant = volume_variant(*cycle_);
  std::list<KeptRanking>& rankings = caches_for(decision.program, *decision.profile).rankings;
  auto found = std::find_if(rankings.begin(), rankings.end(), [&](const KeptRanking& known) {
    return known.variant == variant && known.ranking.follows(kept, classes);
  });
  if (found == rankings.end()) {
    if (rankings.size() >= kRankingsMax) rankings.pop_back();
    rankings.emplace_front().variant = variant;
  } else {
    rankings.splice(rankings.begin(), rankings, found);
  }
  const auto& ranks = tie_break_ == TieBreak::kName ? name_ranks() : cluster.order.positions();
  return rankings.front().ranking.best(decision.feasible, kept, classes, ranks, cluster.order.version());
}

void Engine::choose(Decision& decision) {
  check_state(decision);
  decision.chosen = NodeId();
  if (!decision.error.empty() || decision.feasible.none()) return;
  if (decision.feasible.has_one()) {  // needs no scores, and cannot fail for the want of them
    decision.chosen = decision.feasible.first();
    return;
  }
  ScoreFailure failure;
  const bool is_ranked = can_rank(decision);
  std::vector<PluginScores> parts = scores(decision, failure, is_ranked);
  if (!failure.text.empty()) {
    decision.error = std::move(failure.text);
    return;
  }
  if (is_ranked) decision.chosen = pick_ranked(decision, parts);
  if (decision.chosen.valid()) return;
  for (PluginScores& part : parts) {
    if (part.classes != nullptr) part.column = part.plugin->score(*cycle_, decision.feasible);
  }
  decision.chosen = pick(decision, totals(decision, parts));
}

Decision Engine::decide(const ProgramPtr& program, PodPtr pod, const std::vector<NodeId>* only, ProfilePtr profile,
                        std::span<const Promise> promises) {
  Decision decision = filter(program, std::move(pod), only, std::move(profile), promises);
  choose(decision);
  return decision;
}

AssumedState Engine::assume(const Decision& decision, NodeId row) {
  check_state(decision);
  if (!decision.error.empty() || !row.valid() || row.index() >= decision.feasible.size() ||
      !decision.feasible.test(row)) {
    throw Error("pod " + cluster.strings.str(decision.pod->space) + "/" + cluster.strings.str(decision.pod->name) +
                " cannot be assumed on a node that its decision does not find feasible");
  }
  const Plan volumes = plan(decision, row);
  return cluster.assume(decision.program, *decision.pod, row, volumes);
}

Plan Engine::plan(const Decision& decision, NodeId row) {
  return volume_plan(cycle_of(decision), row);
}

std::string Engine::message(const Decision& decision) const {
  if (!decision.error.empty() || decision.feasible.any()) return {};
  if (decision.node_count == 0) return "no nodes available to schedule pods";
  std::string text = "0/" + std::to_string(decision.node_count) + " nodes are available:";
  if (decision.is_refused) {
    for (std::size_t at = 0; at < decision.refusal.reasons.size(); ++at)
      text += (at == 0 ? " " : ", ") + decision.refusal.reasons[at];
    return text + ".";
  }
  std::vector<std::pair<std::string, std::size_t>> counts;
  const auto count = [&](const std::string& reason, std::size_t nodes) {
    const auto known =
        std::find_if(counts.begin(), counts.end(), [&](const auto& entry) { return entry.first == reason; });
    if (known != counts.end()) {
      known->second += nodes;
    } else {
      counts.emplace_back(reason, nodes);
    }
  };
  for (const Rejected& group : decision.rejected) {
    const std::size_t nodes = group.nodes.count();
    for (const std::string& reason : group.reasons) count(reason, nodes);
  }
  if (decision.absent_count > 0) count(decision.absent_reason, decision.absent_count);
  if (counts.empty()) return text;
  std::vector<std::string> lines;
  for (const auto& [reason, nodes] : counts) lines.push_back(std::to_string(nodes) + " " + reason);
  std::sort(lines.begin(), lines.end());
  for (std::size_t at = 0; at < lines.size(); ++at) text += (at == 0 ? " " : ", ") + lines[at];
  return text + ".";
}

std::unique_ptr<Engine> Engine::fork() const {
  auto copy = std::make_unique<Engine>(tie_break_, 0, percentage_of_nodes_);
  copy->cluster = cluster;
  copy->random_ = random_;
  copy->next_start_ = next_start_;
  return copy;
}

}  // namespace volsched
