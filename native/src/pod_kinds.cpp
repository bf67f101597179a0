#include "volsched/pod_kinds.hpp"

#include <algorithm>

#include "volsched/error.hpp"

namespace volsched {

KindId PodKindTable::intern(StringId space, LabelSetId labels, bool is_terminating, const ProgramPtr& program) {
  const ProgramPtr terms = program->has_pod_terms() ? program : nullptr;
  const std::uint64_t hash =
      mix64(pack(space, labels) ^ (is_terminating ? 1U : 0U) ^ mix64(reinterpret_cast<std::uintptr_t>(terms.get())));
  const auto [from, to] = by_hash_.equal_range(hash);
  for (auto at = from; at != to; ++at) {
    const PodKind& kind = kinds_[at->second];
    if (kind.space == space && kind.labels == labels && kind.is_terminating == is_terminating && kind.terms == terms)
      return KindId(at->second);
  }
  const KindId id(kinds_.size());
  kinds_.push_back({space, labels, is_terminating, terms, {}});
  by_hash_.emplace(hash, id.value());
  if (terms != nullptr) with_terms_.push_back(id);
  return id;
}

void PodKindTable::count(KindId id, NodeId row, std::int32_t change) {
  auto& places = kinds_[id.index()].places;
  const auto at = std::lower_bound(places.begin(), places.end(), row,
                                   [](const PodKind::Place& place, NodeId wanted) { return place.row < wanted; });
  if (at == places.end() || at->row != row) {
    if (change < 0) throw Error("a pod leaves a node that has none of its kind");
    places.insert(at, {row, change});
  } else {
    at->count += change;
    if (at->count == 0) places.erase(at);
  }
  log_.push({id, row, change});
}

std::size_t PodKindTable::bytes() const {
  std::size_t total = kinds_.capacity() * sizeof(PodKind) + by_hash_.size() * 48;
  for (const PodKind& kind : kinds_) total += kind.places.capacity() * sizeof(PodKind::Place);
  return total;
}

std::string PodKindTable::validate() const {
  for (const PodKind& kind : kinds_) {
    for (std::size_t at = 0; at < kind.places.size(); ++at) {
      if (kind.places[at].count <= 0) return "PodKindTable: a place without pods";
      if (at > 0 && kind.places[at - 1].row >= kind.places[at].row) return "PodKindTable: places are not ascending";
    }
  }
  return {};
}

}  // namespace volsched
