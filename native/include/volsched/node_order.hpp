#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "volsched/ids.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// The order in which upstream visits nodes: zones in order of first appearance, nodes within a zone in order of
/// arrival, then one of each zone in turn. As upstream, the list is made anew by the first decision that finds other
/// nodes than the last one did: a node that changes its zone, or goes and is back by then, moves in the tree at once
/// and in the list only when another node comes or goes. Source: backend/cache/node_tree.go, cache.go
/// (UpdateSnapshot), spec/scheduling.md 9.2.
class NodeOrder {
 public:
  static constexpr std::uint32_t kNowhere = 0xffffffff;

  void add(NodeId row, StringId name, StringId zone);
  void remove(NodeId row, StringId name);
  void rezone(NodeId row, StringId zone);

  /// A decision begins: makes the list anew if that is due. The two below are good until a node comes or goes.
  void refresh(std::size_t rows);
  [[nodiscard]] const std::vector<NodeId>& list() const { return list_; }
  /// Place in the list by row, kNowhere for rows that are not in it.
  [[nodiscard]] const std::vector<std::uint32_t>& positions() const { return positions_; }
  /// Grows with every change of the two.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  /// The list that a decision would have now, for those who only look.
  [[nodiscard]] std::vector<NodeId> next() const { return is_due() ? in_turn() : list_; }
  [[nodiscard]] std::string validate() const;

 private:
  struct Zone {
    StringId key;
    std::vector<NodeId> nodes;
  };
  void put(NodeId row, StringId zone);
  void take(NodeId row);
  [[nodiscard]] bool is_due() const { return unlisted_count_ > 0 || !gone_.empty(); }
  [[nodiscard]] std::vector<NodeId> in_turn() const;
  [[nodiscard]] std::uint32_t place_of(NodeId row) const {
    return row.index() < positions_.size() ? positions_[row.index()] : kNowhere;
  }
  void set_place(NodeId row, std::uint32_t place);

  std::vector<Zone> zones_;
  std::vector<StringId> zone_of_;  ///< by row
  std::vector<NodeId> list_;       ///< a node that has gone since is invalid here
  std::vector<std::uint32_t> positions_;
  std::unordered_map<std::uint32_t, std::uint32_t> gone_;  ///< name -> place in the list
  std::size_t unlisted_count_ = 0;                         ///< nodes that have no place in the list yet
  std::uint64_t version_ = 0;
  bool is_changed_ = false;  ///< one of the two has changed since the last refresh
};

}  // namespace volsched
