#include "volsched/attach_table.hpp"

#include <algorithm>

#include "volsched/error.hpp"

namespace volsched {

DriverId AttachTable::driver(StringId name) {
  const DriverId known = find_driver(name);
  if (known.valid()) return known;
  const DriverId id(drivers_.size());
  Driver& made = drivers_.emplace_back();
  made.name = name;
  made.installed = NodeMask(rows_);
  made.count.assign(rows_, 0);
  made.limit.assign(rows_, kNoLimit);
  driver_ids_.set(name.value(), id.value());
  return id;
}

void AttachTable::set_driver(DriverId id, bool tracks_capacity, bool must_be_installed) {
  drivers_[id.index()].tracks_capacity = tracks_capacity;
  drivers_[id.index()].must_be_installed = must_be_installed;
}

void AttachTable::resize(std::size_t rows) {
  rows_ = rows;
  uses_.grow_to(rows);
  for (Driver& driver : drivers_) {
    driver.installed.resize(rows);
    driver.count.resize(rows, 0);
    driver.limit.resize(rows, kNoLimit);
    for (Full& full : driver.full) full.nodes.resize(rows);
  }
}

void AttachTable::count_changed(NodeId row, Driver& driver) {
  const std::int32_t limit = driver.limit[row.index()];
  for (Full& full : driver.full)
    full.nodes.assign(row, limit != kNoLimit && driver.count[row.index()] + full.more > limit);
}

void AttachTable::set_installed(NodeId row, DriverId id, bool is_installed, std::int32_t limit) {
  Driver& driver = drivers_[id.index()];
  driver.installed.assign(row, is_installed);
  driver.limit[row.index()] = limit;
  count_changed(row, driver);
}

const NodeMask& AttachTable::full_for(DriverId id, std::int32_t more) {
  Driver& driver = drivers_[id.index()];
  const auto known =
      std::find_if(driver.full.begin(), driver.full.end(), [&](const Full& full) { return full.more == more; });
  if (known != driver.full.end()) return known->nodes;
  Full& made = driver.full.emplace_back(Full{more, NodeMask(rows_)});
  for (std::size_t row = 0; row < rows_; ++row) {
    if (driver.limit[row] != kNoLimit && driver.count[row] + more > driver.limit[row]) made.nodes.set(NodeId(row));
  }
  return made.nodes;
}

void AttachTable::add_link(NodeId row, VolumeKey key) {
  std::uint32_t at = free_link_;
  if (at == FlatMap::kMissing) {
    at = static_cast<std::uint32_t>(links_.size());
    links_.emplace_back();
  } else {
    free_link_ = links_[at].next;
  }
  links_.edit(at) = {row, heads_.find(pack(key.driver, key.handle))};
  heads_.set(pack(key.driver, key.handle), at);
}

void AttachTable::remove_link(NodeId row, VolumeKey key) {
  const std::uint64_t packed = pack(key.driver, key.handle);
  std::uint32_t before = FlatMap::kMissing;
  std::uint32_t at = heads_.find(packed);
  while (links_[at].row != row) {
    before = at;
    at = links_[at].next;
  }
  const std::uint32_t next = links_[at].next;
  if (before != FlatMap::kMissing) {
    links_.edit(before).next = next;
  } else if (next != FlatMap::kMissing) {
    heads_.set(packed, next);
  } else {
    heads_.erase(packed);
  }
  links_.edit(at) = {NodeId(), free_link_};
  free_link_ = at;
}

void AttachTable::change(NodeId row, VolumeKey key, int pods, int attachments) {
  auto& uses = uses_.edit(row.index());
  auto at = std::lower_bound(uses.begin(), uses.end(), key,
                             [](const Use& use, const VolumeKey& wanted) { return use.key < wanted; });
  const bool is_new = at == uses.end() || at->key != key;
  if ((pods < 0 && (is_new || at->pods == 0)) || (attachments < 0 && (is_new || at->attachments == 0))) {
    throw Error("a volume is detached from a node that does not have it");
  }
  if (is_new) at = uses.insert(at, Use{key, 0, 0});
  const bool had_pods = at->pods > 0;
  at->pods = static_cast<std::uint16_t>(at->pods + pods);
  at->attachments = static_cast<std::uint16_t>(at->attachments + attachments);
  if (!had_pods && at->pods > 0) add_link(row, key);
  if (had_pods && at->pods == 0) remove_link(row, key);
  const bool is_gone = at->pods == 0 && at->attachments == 0;
  if (is_gone) uses.erase(at);
  if (is_new == is_gone) return;
  Driver& driver = drivers_[key.driver.index()];
  driver.count[row.index()] += is_new ? 1 : -1;
  count_changed(row, driver);
}

void AttachTable::clear(NodeId row) {
  for (const Use& use : uses_[row.index()]) {
    if (use.pods > 0) remove_link(row, use.key);
    Driver& driver = drivers_[use.key.driver.index()];
    --driver.count[row.index()];
    count_changed(row, driver);
  }
  if (!uses_[row.index()].empty()) uses_.edit(row.index()).clear();
}

std::size_t AttachTable::bytes() const {
  std::size_t total = uses_.bytes() + heads_.bytes() + links_.bytes();
  for (const auto& uses : uses_) total += uses.capacity() * sizeof(Use);
  for (const Driver& driver : drivers_)
    total += driver.count.capacity() * 8 + driver.installed.bytes() * (1 + driver.full.size());
  return total;
}

std::string AttachTable::validate() const {
  for (std::size_t row = 0; row < rows_; ++row) {
    std::vector<std::int32_t> counts(drivers_.size(), 0);
    for (std::size_t at = 0; at < uses_[row].size(); ++at) {
      const Use& use = uses_[row][at];
      if (at > 0 && !(uses_[row][at - 1].key < use.key))
        return "AttachTable: uses of row " + std::to_string(row) + " are not ascending";
      ++counts[use.key.driver.index()];
      bool is_linked = false;
      for_nodes_of(use.key, [&](NodeId linked) { is_linked = is_linked || linked == NodeId(row); });
      if (is_linked != (use.pods > 0))
        return "AttachTable: a volume of row " + std::to_string(row) + " is linked wrongly";
    }
    for (std::size_t driver = 0; driver < drivers_.size(); ++driver) {
      const Driver& entry = drivers_[driver];
      if (entry.count[row] != counts[driver])
        return "AttachTable: the count of row " + std::to_string(row) + " is wrong";
      for (const Full& full : entry.full) {
        if (full.nodes.test(NodeId(row)) != exceeds(NodeId(row), DriverId(driver), full.more))
          return "AttachTable: a full mask is stale at row " + std::to_string(row);
      }
    }
  }
  return {};
}

}  // namespace volsched
