#include "volsched/node_order.hpp"

#include <algorithm>

namespace volsched {

void NodeOrder::put(NodeId row, StringId zone) {
  if (zone_of_.size() <= row.index()) zone_of_.resize(row.index() + 1);
  zone_of_[row.index()] = zone;
  auto at = std::find_if(zones_.begin(), zones_.end(), [&](const Zone& entry) { return entry.key == zone; });
  if (at == zones_.end()) at = zones_.insert(zones_.end(), Zone{zone, {}});
  at->nodes.push_back(row);
}

void NodeOrder::take(NodeId row) {
  const auto at =
      std::find_if(zones_.begin(), zones_.end(), [&](const Zone& entry) { return entry.key == zone_of_[row.index()]; });
  at->nodes.erase(std::find(at->nodes.begin(), at->nodes.end(), row));
  if (at->nodes.empty()) zones_.erase(at);
  zone_of_[row.index()] = StringId();
}

void NodeOrder::add(NodeId row, StringId zone) {
  put(row, zone);
  is_due_ = true;
}

void NodeOrder::remove(NodeId row) {
  take(row);
  is_due_ = true;
}

void NodeOrder::rezone(NodeId row, StringId zone) {
  if (zone_of_[row.index()] == zone) return;
  take(row);
  put(row, zone);
}

void NodeOrder::refresh(std::size_t rows) {
  if (!is_due_ && positions_.size() == rows) return;
  if (is_due_) {
    list_.clear();
    std::size_t longest = 0;
    for (const Zone& zone : zones_) longest = std::max(longest, zone.nodes.size());
    for (std::size_t turn = 0; turn < longest; ++turn) {
      for (const Zone& zone : zones_) {
        if (turn < zone.nodes.size()) list_.push_back(zone.nodes[turn]);
      }
    }
  }
  positions_.assign(rows, kNowhere);
  for (std::size_t at = 0; at < list_.size(); ++at) positions_[list_[at].index()] = static_cast<std::uint32_t>(at);
  is_due_ = false;
  ++version_;
}

std::string NodeOrder::validate() const {
  std::size_t placed = 0;
  for (const Zone& zone : zones_) {
    if (zone.nodes.empty()) return "NodeOrder: an empty zone";
    for (const NodeId row : zone.nodes) {
      if (zone_of_[row.index()] != zone.key)
        return "NodeOrder: row " + std::to_string(row.value()) + " is in a zone that is not its own";
      ++placed;
    }
  }
  if (!is_due_ && placed != list_.size())
    return "NodeOrder: the tree has " + std::to_string(placed) + " nodes, the list " + std::to_string(list_.size());
  return {};
}

}  // namespace volsched
