// Many pods in one call: the loop that a caller would write around decide and assume, without anything that only a
// reader of decisions needs.

#include "volsched/batch.hpp"

#include "volsched/engine.hpp"
#include "volsched/error.hpp"

namespace volsched {

void PodBatch::reserve(std::size_t pods) {
  pods_.reserve(pods);
  program_of_.reserve(pods);
}

void PodBatch::add(const ProgramPtr& program, PodInstance pod, const StringPool& strings) {
  const std::uint64_t key = pack(pod.space, pod.name);
  if (names_.find(key) != FlatMap::kMissing)
    throw Error("pod " + strings.str(pod.space) + "/" + strings.str(pod.name) + " is in the batch already");
  const auto [known, is_new] = program_ids_.try_emplace(program.get(), static_cast<std::uint32_t>(programs_.size()));
  if (is_new) programs_.push_back(program);
  names_.set(key, static_cast<std::uint32_t>(pods_.size()));
  program_of_.push_back(known->second);
  pods_.push_back(std::move(pod));
}

std::size_t PodBatch::bytes() const {
  std::size_t total = pods_.capacity() * sizeof(PodInstance) + program_of_.capacity() * 4 + names_.bytes();
  for (const PodInstance& pod : pods_) total += pod.claims.capacity() * sizeof(ClaimUse);
  return total;
}

void Engine::schedule_many(const PodBatch& batch, const ProfilePtr& profile, std::size_t from, std::size_t count,
                           BatchOutcome& outcome) {
  const std::size_t end = std::min(batch.size(), from + count);
  for (std::size_t at = from; at < end; ++at) {
    const PodInstance& pod = batch.pod(at);
    if (!cluster.find_pod(pod.space, pod.name).valid()) continue;
    throw Error("pod " + cluster.strings.str(pod.space) + "/" + cluster.strings.str(pod.name) +
                " is assumed or counted on a node already");
  }
  const std::int32_t percentage =
      profile->percentage_of_nodes < 0 ? percentage_of_nodes_ : profile->percentage_of_nodes;
  const bool can_repeat = percentage >= 100 && !profile->scores.empty();  // a search that rotates moves on each time
  for (std::size_t at = from; at < end; ++at) {
    const ProgramPtr& program = batch.program(at);
    const PodPtr pod(PodPtr(), &batch.pod(at));  // owned by the batch
    Decision decision = filter(program, pod, nullptr, profile, {}, !can_repeat);
    choose(decision);
    if (decision.chosen.valid()) {
      const Plan volumes = plan(decision, decision.chosen);
      outcome.steps.insert(outcome.steps.end(), volumes.bind.begin(), volumes.bind.end());
      outcome.steps.insert(outcome.steps.end(), volumes.provision.begin(), volumes.provision.end());
      outcome.assumptions.push_back(cluster.assume(program, *pod, decision.chosen, volumes));
    } else {
      if (decision.error.empty() && can_repeat) decision = filter(program, pod, nullptr, profile);
      const bool is_error = !decision.error.empty();
      outcome.refusals.push_back({at, is_error, is_error ? decision.error : message(decision)});
      outcome.assumptions.emplace_back();
    }
    outcome.nodes.push_back(decision.chosen);
    outcome.steps_end.push_back(outcome.steps.size());
  }
  cycle_.reset();  // it refers to a pod of the batch
}

}  // namespace volsched
