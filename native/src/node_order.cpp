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

void NodeOrder::set_place(NodeId row, std::uint32_t place) {
  if (positions_.size() <= row.index()) positions_.resize(row.index() + 1, kNowhere);
  positions_[row.index()] = place;
  is_changed_ = true;
}

void NodeOrder::add(NodeId row, StringId name, StringId zone) {
  put(row, zone);
  const auto known = gone_.find(name.value());
  if (known == gone_.end()) {
    ++unlisted_count_;
    return;
  }
  list_[known->second] = row;
  set_place(row, known->second);
  gone_.erase(known);
}

void NodeOrder::remove(NodeId row, StringId name) {
  take(row);
  const std::uint32_t place = place_of(row);
  if (place == kNowhere) {
    --unlisted_count_;
    return;
  }
  list_[place] = NodeId();
  set_place(row, kNowhere);
  gone_.emplace(name.value(), place);
}

void NodeOrder::rezone(NodeId row, StringId zone) {
  if (zone_of_[row.index()] == zone) return;
  take(row);
  put(row, zone);
}

std::vector<NodeId> NodeOrder::in_turn() const {
  std::vector<NodeId> list;
  std::size_t longest = 0;
  for (const Zone& zone : zones_) longest = std::max(longest, zone.nodes.size());
  for (std::size_t turn = 0; turn < longest; ++turn) {
    for (const Zone& zone : zones_) {
      if (turn < zone.nodes.size()) list.push_back(zone.nodes[turn]);
    }
  }
  return list;
}

void NodeOrder::refresh(std::size_t rows) {
  if (!is_due() && !is_changed_ && positions_.size() == rows) return;
  positions_.resize(rows, kNowhere);
  if (is_due()) {
    list_ = in_turn();
    gone_.clear();
    unlisted_count_ = 0;
    positions_.assign(rows, kNowhere);
    for (std::size_t at = 0; at < list_.size(); ++at) positions_[list_[at].index()] = static_cast<std::uint32_t>(at);
  }
  is_changed_ = false;
  ++version_;
}

std::string NodeOrder::validate() const {
  std::size_t placed = 0;
  std::size_t unlisted = 0;
  for (const Zone& zone : zones_) {
    if (zone.nodes.empty()) return "NodeOrder: an empty zone";
    for (const NodeId row : zone.nodes) {
      if (zone_of_[row.index()] != zone.key)
        return "NodeOrder: row " + std::to_string(row.value()) + " is in a zone that is not its own";
      const std::uint32_t place = place_of(row);
      if (place == kNowhere) {
        ++unlisted;
      } else if (list_[place] != row) {
        return "NodeOrder: row " + std::to_string(row.value()) + " is not where the list has it";
      }
      ++placed;
    }
  }
  if (unlisted != unlisted_count_)
    return "NodeOrder: " + std::to_string(unlisted) + " nodes have no place, not " + std::to_string(unlisted_count_);
  if (placed - unlisted + gone_.size() != list_.size())
    return "NodeOrder: the list has " + std::to_string(list_.size()) + " places, for " +
           std::to_string(placed - unlisted) + " nodes and " + std::to_string(gone_.size()) + " that are gone";
  return {};
}

}  // namespace volsched
