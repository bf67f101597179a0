#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "volsched/ids.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// The order in which upstream visits nodes: zones in order of first appearance, nodes within a zone in order of
/// arrival, then one of each zone in turn. As upstream, the list is made anew only after a node came or went: a node
/// that changes its zone moves in the tree at once and in the list with the next arrival or departure. Source:
/// backend/cache/node_tree.go, spec/scheduling.md 9.2.
class NodeOrder {
 public:
  static constexpr std::uint32_t kNowhere = 0xffffffff;

  void add(NodeId row, StringId zone);
  void remove(NodeId row);
  void rezone(NodeId row, StringId zone);

  /// Rebuilds the list if it is due; the two below are as of the last call.
  void refresh(std::size_t rows);
  [[nodiscard]] const std::vector<NodeId>& list() const { return list_; }
  /// Place in the list by row, kNowhere for rows that are not in it.
  [[nodiscard]] const std::vector<std::uint32_t>& positions() const { return positions_; }
  /// Grows with every new list.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  [[nodiscard]] std::string validate() const;

 private:
  struct Zone {
    StringId key;
    std::vector<NodeId> nodes;
  };
  void put(NodeId row, StringId zone);
  void take(NodeId row);

  std::vector<Zone> zones_;
  std::vector<StringId> zone_of_;  ///< by row
  std::vector<NodeId> list_;
  std::vector<std::uint32_t> positions_;
  std::uint64_t version_ = 0;
  bool is_due_ = false;
};

}  // namespace volsched
