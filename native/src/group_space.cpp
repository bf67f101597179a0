#include "volsched/group_space.hpp"

#include <algorithm>

namespace volsched {

namespace {

std::uint64_t hash_groups(const std::vector<GroupId>& groups) {
  std::uint64_t hash = groups.size();
  for (const GroupId group : groups) hash = mix64(hash * 31 + group.value() + 1);
  return hash;
}

}  // namespace

GroupSpace::GroupSpace() {
  profiles_.emplace_back();
  by_groups_.add(hash_groups({}), 0);
}

bool GroupSpace::contains(ProfileId profile, GroupId group) const {
  const auto& groups = profiles_[profile.index()].groups;
  return std::binary_search(groups.begin(), groups.end(), group);
}

ProfileId GroupSpace::intern(std::vector<GroupId> groups) {
  const std::uint64_t hash = hash_groups(groups);
  const std::uint32_t known = by_groups_.find(hash, [&](std::uint32_t at) { return profiles_[at].groups == groups; });
  if (known != HashIndex::kMissing) return ProfileId(known);
  ProfileId id(profiles_.size());
  if (free_.empty()) {
    profiles_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  for (const GroupId group : groups) {
    GroupEntry& entry = of_group_.edit(group.index());
    if (entry.profiles.size() >= entry.compact_at) {
      std::erase_if(entry.profiles, [&](ProfileId profile) { return !in_use(profile) || !contains(profile, group); });
      entry.compact_at = std::max<std::size_t>(16, entry.profiles.size() * 2);
    }
    entry.profiles.push_back(id);
  }
  profiles_.edit(id.index()) = {std::move(groups), {}, next_serial_++};
  by_groups_.add(hash, id.value());
  return id;
}

void GroupSpace::release(ProfileId profile) {
  by_groups_.remove(hash_groups(profiles_[profile.index()].groups), profile.value());
  profiles_.edit(profile.index()).groups.clear();
  free_.push_back(profile);
}

void GroupSpace::move(NodeId row, std::vector<GroupId> groups, std::size_t rows) {
  if (by_row_.size() < rows) {
    by_row_.grow_to(rows);
    log_.keep(rows);
  }
  const ProfileId old(by_row_[row.index()]);
  const ProfileId fresh = intern(std::move(groups));
  if (fresh == old) return;
  if (fresh.index() != 0) profiles_.edit(fresh.index()).nodes.insert(row, rows);
  by_row_.edit(row.index()) = fresh.value();
  if (old.index() != 0) {
    profiles_.edit(old.index()).nodes.erase(row);
    if (profiles_[old.index()].nodes.empty()) release(old);
  }
  log_.push(kMoved | row.value());
}

GroupId GroupSpace::add(const NodeSet& members, std::size_t rows) {
  const GroupId group(of_group_.size());
  of_group_.emplace_back();
  members.for_each([&](NodeId row) { join(group, row, rows); });
  return group;
}

void GroupSpace::join(GroupId group, NodeId row, std::size_t rows) {
  std::vector<GroupId> groups = groups_of(profile_of(row));
  const auto at = std::lower_bound(groups.begin(), groups.end(), group);
  if (at != groups.end() && *at == group) return;
  groups.insert(at, group);
  move(row, std::move(groups), rows);
}

void GroupSpace::leave(GroupId group, NodeId row) {
  std::vector<GroupId> groups = groups_of(profile_of(row));
  const auto at = std::lower_bound(groups.begin(), groups.end(), group);
  if (at == groups.end() || *at != group) return;
  groups.erase(at);
  move(row, std::move(groups), by_row_.size());
}

std::size_t GroupSpace::bytes() const {
  std::size_t total = profiles_.bytes() + of_group_.bytes() + by_row_.bytes() + by_groups_.bytes();
  for (const Profile& profile : profiles_) total += profile.groups.capacity() * sizeof(GroupId) + profile.nodes.bytes();
  for (const GroupEntry& entry : of_group_) total += entry.profiles.capacity() * sizeof(ProfileId);
  return total;
}

std::string GroupSpace::validate() const {
  std::size_t members = 0;
  for (std::size_t slot = 1; slot < profiles_.size(); ++slot) {
    const Profile& profile = profiles_[slot];
    if (auto problem = profile.nodes.validate(); !problem.empty()) return problem;
    members += profile.nodes.count();
    std::string problem;
    profile.nodes.for_each([&](NodeId row) {
      if (by_row_[row.index()] != slot)
        problem = "GroupSpace: row " + std::to_string(row.value()) + " is in a profile that is not its own";
    });
    if (!problem.empty()) return problem;
    if (profile.nodes.empty()) continue;
    for (const GroupId group : profile.groups) {
      const auto& listed = of_group_[group.index()].profiles;
      if (std::find(listed.begin(), listed.end(), ProfileId(slot)) == listed.end())
        return "GroupSpace: a group does not list one of its profiles";
    }
  }
  std::size_t placed = 0;
  for (const std::uint32_t profile : by_row_) placed += profile != 0 ? 1 : 0;
  if (placed != members)
    return "GroupSpace: profiles hold " + std::to_string(members) + " nodes, rows name " + std::to_string(placed);
  return {};
}

}  // namespace volsched
