#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "volsched/change_log.hpp"
#include "volsched/ids.hpp"
#include "volsched/program.hpp"

namespace volsched {

using KindId = Id<struct KindTag>;  ///< pods that selectors cannot tell apart

/// Pods on nodes that no selector and no pod affinity term can tell apart: equal namespace, labels, terms of their own,
/// and whether they are on their way out. A selector is tried once a kind, never once a pod.
struct PodKind {
  struct Place {
    NodeId row;
    std::int32_t count = 0;
  };
  StringId space;
  LabelSetId labels;
  bool is_terminating = false;
  ProgramPtr terms;           ///< set when its pods have pod affinity terms
  std::vector<Place> places;  ///< ascending by row, counts above 0
};

/// One pod of a kind came to a node (+1) or left it (-1).
struct KindChange {
  KindId kind;
  NodeId row;
  std::int32_t change = 0;
};

class PodKindTable {
 public:
  KindId intern(StringId space, LabelSetId labels, bool is_terminating, const ProgramPtr& program);
  [[nodiscard]] const PodKind& at(KindId id) const { return kinds_[id.index()]; }
  [[nodiscard]] std::size_t size() const { return kinds_.size(); }
  /// Kinds whose pods have pod affinity terms.
  [[nodiscard]] const std::vector<KindId>& with_terms() const { return with_terms_; }
  void count(KindId id, NodeId row, std::int32_t change);
  [[nodiscard]] const BasicChangeLog<KindChange>& log() const { return log_; }
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const;

 private:
  std::vector<PodKind> kinds_;
  std::vector<KindId> with_terms_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> by_hash_;
  BasicChangeLog<KindChange> log_;
};

}  // namespace volsched
