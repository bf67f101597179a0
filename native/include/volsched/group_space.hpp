#pragma once

#include <string>
#include <vector>

#include "volsched/change_log.hpp"
#include "volsched/hash_index.hpp"
#include "volsched/ids.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/shared_vector.hpp"

namespace volsched {

/// Groups of nodes that are given by selectors (the nodes a volume or pool can be reached from), and the nodes sorted
/// into profiles: nodes of one profile are in exactly the same groups, so what a class of storage offers is worked out
/// once a profile, never once a node. Profile 0 is that of nodes in no group. A slot of a profile that lost its last
/// node is used again; its serial tells them apart.
///
/// Caches over profiles follow log(): an entry is a group whose contents changed, or a node that moved to another
/// profile.
class GroupSpace {
 public:
  static constexpr std::uint32_t kMoved = 0x80000000;  ///< log entry: the rest is a node row, not a group

  GroupSpace();

  GroupId add(const NodeSet& members, std::size_t rows);
  void join(GroupId group, NodeId row, std::size_t rows);
  void leave(GroupId group, NodeId row);
  /// The group's contents changed.
  void touch(GroupId group) { log_.push(group.value()); }

  [[nodiscard]] std::size_t group_count() const { return of_group_.size(); }
  [[nodiscard]] std::size_t profile_slots() const { return profiles_.size(); }
  [[nodiscard]] ProfileId profile_of(NodeId row) const {
    return row.index() < by_row_.size() ? ProfileId(by_row_[row.index()]) : ProfileId(std::uint32_t{0});
  }
  [[nodiscard]] const std::vector<GroupId>& groups_of(ProfileId profile) const {
    return profiles_[profile.index()].groups;
  }
  /// Nodes of a profile; not kept for profile 0.
  [[nodiscard]] const NodeSet& nodes_of(ProfileId profile) const { return profiles_[profile.index()].nodes; }
  [[nodiscard]] std::uint64_t serial_of(ProfileId profile) const { return profiles_[profile.index()].serial; }
  [[nodiscard]] bool in_use(ProfileId profile) const {
    return profile.index() == 0 || !profiles_[profile.index()].nodes.empty();
  }
  [[nodiscard]] const ChangeLog& log() const { return log_; }

  /// Calls visit(ProfileId) for the profiles in use that contain the group; one may come twice.
  template <class Visit>
  void for_profiles_of(GroupId group, Visit&& visit) const {
    for (const ProfileId profile : of_group_[group.index()].profiles) {
      if (in_use(profile) && contains(profile, group)) visit(profile);
    }
  }

  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const;

 private:
  struct Profile {
    std::vector<GroupId> groups;  ///< ascending
    NodeSet nodes;
    std::uint64_t serial = 0;
  };
  struct GroupEntry {
    std::vector<ProfileId> profiles;  ///< may hold profiles that are gone; see for_profiles_of
    std::size_t compact_at = 16;
  };
  [[nodiscard]] bool contains(ProfileId profile, GroupId group) const;
  ProfileId intern(std::vector<GroupId> groups);
  void move(NodeId row, std::vector<GroupId> groups, std::size_t rows);
  void release(ProfileId profile);

  SharedVector<Profile> profiles_;
  std::vector<ProfileId> free_;
  HashIndex by_groups_;
  SharedVector<GroupEntry> of_group_;
  SharedVector<std::uint32_t> by_row_;
  ChangeLog log_;
  std::uint64_t next_serial_ = 1;
};

}  // namespace volsched
