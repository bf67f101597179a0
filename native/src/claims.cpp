#include "volsched/claims.hpp"

#include <algorithm>

#include "volsched/error.hpp"

namespace volsched {

ClaimId ClaimTable::slot(StringId space, StringId name) {
  const ClaimId known = find(space, name);
  if (known.valid()) return known;
  const ClaimId id(claims_.size());
  Claim& made = claims_.emplace_back();
  made.space = space;
  made.name = name;
  use_counts_.push_back(0);
  users_.emplace_back();
  by_name_.set(pack(space, name), id.value());
  return id;
}

void ClaimTable::remove_user(ClaimId id, PodId pod) {
  auto& users = users_[id.index()];
  const auto at = std::find(users.begin(), users.end(), pod);
  if (at == users.end()) throw Error("a claim is released by a pod that does not use it");
  *at = users.back();
  users.pop_back();
}

std::size_t ClaimTable::bytes() const {
  std::size_t total = claims_.capacity() * sizeof(Claim) + use_counts_.capacity() * 4 +
                      users_.capacity() * sizeof(std::vector<PodId>) + by_name_.bytes();
  for (const auto& users : users_) total += users.capacity() * sizeof(PodId);
  return total;
}

ClassId ClassTable::slot(StringId name) {
  const ClassId known = find(name);
  if (known.valid()) return known;
  const ClassId id(classes_.size());
  classes_.emplace_back().name = name;
  by_name_.set(name.value(), id.value());
  return id;
}

}  // namespace volsched
