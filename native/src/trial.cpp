#include "volsched/trial.hpp"

#include <algorithm>

#include "volsched/error.hpp"
#include "volsched/scoring.hpp"

namespace volsched {

Trial::Trial(Cycle& cycle, std::span<const Plugin* const> skipped, const NodeMask& within)
    : cluster_(cycle.cluster),
      profile_(cycle.profile_owner),
      program_(cycle.program_owner),
      pod_(cycle.pod_owner),
      within_(within),
      group_of_row_(cycle.cluster.rows(), kNoGroup) {
  cycle.alive = within;
  cycle.rejected.clear();
  cycle.failures.clear();
  const auto keep = [&](std::size_t place, const NodeMask& nodes, Refusal refusal) {
    const auto group = static_cast<std::int32_t>(fixed_.size());
    nodes.for_each([&](NodeId row) { group_of_row_[row.index()] = group; });
    fixed_.push_back({place, std::move(refusal)});
  };
  const auto judge_with = [&](std::size_t place, std::unique_ptr<PodJudge> judge) {
    if (judge != nullptr) judges_.push_back({place, std::move(judge)});
  };
  for (std::size_t place = 0; place < profile_->filters.size(); ++place) {
    const ProfileStep& step = profile_->filters[place];
    const bool is_skipped = std::find(skipped.begin(), skipped.end(), step.plugin) != skipped.end();
    if (!step.failure.empty()) {
      if (step.plugin != nullptr) judge_with(place, step.plugin->judge_unprepared(cycle));
      const NodeMask left = cycle.alive;
      cycle.fail(step.name, left, step.failure);
    } else if (step.plugin == nullptr || is_skipped) {
      continue;
    } else if (std::unique_ptr<PodJudge> judge = step.plugin->judge(cycle); judge != nullptr) {
      judge_with(place, std::move(judge));
    } else {
      step.plugin->filter(cycle);
    }
    for (Rejected& group : cycle.rejected) keep(place, group.nodes, {false, group.code, std::move(group.reasons)});
    for (Cycle::Failure& failure : cycle.failures)
      keep(place, failure.nodes, Refusal::failure(std::move(failure.text)));
    cycle.rejected.clear();
    cycle.failures.clear();
  }
}

void Trial::enter(NodeId row) {
  if (!row.valid() || row.index() >= within_.size() || !within_.test(row)) throw Error("there is no such node to try");
  node_.row = row;
  node_.pods.clear();
  for (const PodId pod : cluster_.node(row).pods) node_.pods.push_back(&cluster_.pod(pod));
  for (const Judge& each : judges_) each.judge->enter(row);
}

void Trial::remove(const PodRow& pod) {
  const auto at = std::find(node_.pods.begin(), node_.pods.end(), &pod);
  if (at == node_.pods.end()) throw Error("a pod is taken from a node that does not have it");
  *at = node_.pods.back();
  node_.pods.pop_back();
  for (const Judge& each : judges_) each.judge->count(pod, -1);
}

void Trial::add(const PodRow& pod) {
  node_.pods.push_back(&pod);
  for (const Judge& each : judges_) each.judge->count(pod, 1);
}

void Trial::mark() {
  for (const Judge& each : judges_) each.judge->mark();
}

void Trial::rewind() {
  for (const Judge& each : judges_) each.judge->rewind();
}

std::int64_t Trial::requested(std::size_t column) const {
  std::int64_t total = 0;
  for (const PodRow* pod : node_.pods) {
    const Usage& usage = pod->used();
    if (column == ResourceTable::kCpu) {
      total = wrapping_add(total, usage.milli_cpu);
    } else if (column == ResourceTable::kMemory) {
      total = wrapping_add(total, usage.memory_bytes);
    } else if (column == ResourceTable::kEphemeral) {
      total = wrapping_add(total, usage.ephemeral_bytes);
    } else {
      for (const auto& [scalar, amount] : usage.scalars) {
        if (ResourceTable::kScalars + scalar == column) total = wrapping_add(total, amount);
      }
    }
  }
  return total;
}

Trial::Verdict Trial::verdict_at(std::size_t place, Refusal refusal) const {
  return {place, profile_->filters[place].name, std::move(refusal)};
}

std::optional<Trial::Verdict> Trial::verdict() const {
  const std::int32_t group = group_of_row_[node_.row.index()];
  const Fixed* fixed = group == kNoGroup ? nullptr : &fixed_[static_cast<std::size_t>(group)];
  for (const Judge& each : judges_) {
    if (fixed != nullptr && each.place > fixed->place) break;
    if (std::optional<Refusal> refusal = each.judge->judge(node_)) return verdict_at(each.place, std::move(*refusal));
  }
  if (fixed != nullptr) return verdict_at(fixed->place, fixed->refusal);
  return std::nullopt;
}

std::optional<Trial::Verdict> Trial::verdict_beside(std::span<const PodRow> guests) {
  if (guests.empty()) return verdict();
  mark();
  for (const PodRow& guest : guests) add(guest);
  std::optional<Verdict> found = verdict();
  for (const PodRow& guest : guests) remove(guest);
  rewind();
  return found ? found : verdict();
}

Trial::Emptied Trial::emptied(NodeId row, std::int64_t below, std::span<const PodRow> guests) {
  enter(row);
  const std::vector<const PodRow*> pods = node_.pods;
  Emptied answer;
  for (const PodRow* pod : pods) {
    if (pod->instance.priority >= below) continue;
    remove(*pod);
    ++answer.removed;
  }
  if (answer.removed > 0) answer.verdict = verdict_beside(guests);
  return answer;
}

std::vector<std::size_t> Trial::needed(NodeId row, std::span<const PodRow* const> victims,
                                       std::span<const PodRow> guests) {
  enter(row);
  for (const PodRow* victim : victims) remove(*victim);
  std::vector<std::size_t> kept_out;
  for (std::size_t place = 0; place < victims.size(); ++place) {
    add(*victims[place]);
    if (!verdict_beside(guests)) continue;
    remove(*victims[place]);
    kept_out.push_back(place);
  }
  return kept_out;
}

}  // namespace volsched
