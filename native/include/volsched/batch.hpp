#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "volsched/cluster.hpp"

namespace volsched {

/// Pods to be placed one after the other, compiled against one cluster. Programs are shared by the pods of a template.
/// Invariant: no two pods have the same namespace and name.
class PodBatch {
 public:
  void reserve(std::size_t pods);
  /// Raises Error for a pod that is in the batch already; `strings` are those of its cluster.
  void add(const ProgramPtr& program, PodInstance pod, const StringPool& strings);

  [[nodiscard]] std::size_t size() const { return pods_.size(); }
  [[nodiscard]] std::size_t program_count() const { return programs_.size(); }
  [[nodiscard]] const ProgramPtr& program(std::size_t at) const { return programs_[program_of_[at]]; }
  [[nodiscard]] const PodInstance& pod(std::size_t at) const { return pods_[at]; }
  [[nodiscard]] std::size_t bytes() const;

 private:
  std::vector<ProgramPtr> programs_;
  std::unordered_map<const PodProgram*, std::uint32_t> program_ids_;
  std::vector<std::uint32_t> program_of_;  ///< by pod
  std::vector<PodInstance> pods_;
  FlatMap names_;
};

/// What came of the pods of a batch, in order, as far as they have been tried.
struct BatchOutcome {
  /// A pod that was not placed: why, as its event would say, and whether the cycle itself failed.
  struct Refusal {
    std::size_t pod = 0;
    bool is_error = false;
    std::string text;
  };
  std::vector<NodeId> nodes;              ///< invalid: the pod was not placed
  std::vector<AssumedState> assumptions;  ///< by pod, an empty one where it was not placed
  std::vector<BindStep> steps;            ///< what their claims get, pod after pod, volumes before pools
  std::vector<std::size_t> steps_end;     ///< by pod
  std::vector<Refusal> refusals;
};

}  // namespace volsched
