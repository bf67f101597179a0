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
  uses_.emplace_back();
  by_name_.set(pack(space, name), id.value());
  return id;
}

void ClaimTable::add_user(ClaimId id, PodId pod) {
  Use& use = uses_.edit(id.index());
  if (use.is_shared) {
    more_users_.at(id.value()).push_back(pod);
  } else if (use.user.valid()) {
    more_users_[id.value()] = {use.user, pod};
    use.user = {};
    use.is_shared = true;
  } else {
    use.user = pod;
  }
}

void ClaimTable::remove_user(ClaimId id, PodId pod) {
  const std::span<const PodId> known = users(id);
  if (std::find(known.begin(), known.end(), pod) == known.end())
    throw Error("a claim is released by a pod that does not use it");
  Use& use = uses_.edit(id.index());
  if (!use.is_shared) {
    use.user = {};
    return;
  }
  const auto entry = more_users_.find(id.value());
  auto& users = entry->second;
  *std::find(users.begin(), users.end(), pod) = users.back();
  users.pop_back();
  if (users.size() > 1) return;
  use.user = users.front();
  use.is_shared = false;
  more_users_.erase(entry);
}

std::size_t ClaimTable::bytes() const {
  std::size_t total = claims_.bytes() + uses_.bytes() + by_name_.bytes();
  for (const auto& [claim, users] : more_users_) total += 64 + users.capacity() * sizeof(PodId);
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
