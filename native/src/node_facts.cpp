#include "volsched/node_facts.hpp"

#include <algorithm>

#include "volsched/error.hpp"

namespace volsched {

TaintId TaintTable::intern(const Taint& taint) {
  const auto known =
      std::find_if(taints_.begin(), taints_.end(), [&](const Entry& entry) { return entry.taint == taint; });
  if (known != taints_.end()) return TaintId(static_cast<std::size_t>(known - taints_.begin()));
  taints_.push_back({taint, {}});
  return TaintId(taints_.size() - 1);
}

void TaintTable::assign(NodeId row, std::vector<TaintId> taints, std::size_t rows) {
  by_row_.grow_to(rows);
  if (by_row_[row.index()] == taints) return;
  auto& old = by_row_.edit(row.index());
  for (const TaintId id : old) taints_[id.index()].nodes.erase(row);
  for (const TaintId id : taints) taints_[id.index()].nodes.insert(row, rows);
  old = std::move(taints);
  ++version_;
}

void ImageTable::assign(NodeId row, const std::vector<Listed>& images) {
  by_row_.grow_to(row.index() + 1);
  auto& own = by_row_.edit(row.index());
  for (const Held& held : own) --images_[held.image.index()].count;
  own.clear();
  for (const Listed& listed : images) {
    ImageId id = find(listed.name);
    if (!id.valid()) {
      id = ImageId(images_.size());
      images_.emplace_back().name = listed.name;
      ids_.set(listed.name.value(), id.value());
    }
    const auto at = std::lower_bound(own.begin(), own.end(), id,
                                     [](const Held& held, ImageId wanted) { return held.image < wanted; });
    if (at != own.end() && at->image == id) continue;
    own.insert(at, {id, 0});
    Image& image = images_[id.index()];
    if (image.count == 0) image.bytes = listed.bytes;
    ++image.count;
  }
  touch(row);
}

void ImageTable::touch(NodeId row) {
  if (is_touched_.size() <= row.index()) is_touched_.resize(row.index() + 1, 0);
  if (is_touched_[row.index()] != 0) return;
  is_touched_[row.index()] = 1;
  touched_.push_back(row);
}

void ImageTable::capture() {
  for (const NodeId row : touched_) {
    is_touched_[row.index()] = 0;
    if (row.index() >= by_row_.size() || by_row_[row.index()].empty()) continue;
    for (Held& held : by_row_.edit(row.index())) held.captured_count = images_[held.image.index()].count;
  }
  touched_.clear();
}

const ImageTable::Held* ImageTable::held(NodeId row, ImageId id) const {
  if (row.index() >= by_row_.size()) return nullptr;
  const auto& own = by_row_[row.index()];
  const auto at = std::lower_bound(own.begin(), own.end(), id,
                                   [](const Held& entry, ImageId wanted) { return entry.image < wanted; });
  return at != own.end() && at->image == id ? &*at : nullptr;
}

void DeclarationTable::assign(NodeId row, std::vector<StringId> names, std::size_t rows) {
  by_row_.grow_to(rows);
  auto& old = by_row_.edit(row.index());
  for (const StringId name : old) nodes_[ids_.find(name.value())].erase(row);
  for (const StringId name : names) {
    std::uint32_t id = ids_.find(name.value());
    if (id == FlatMap::kMissing) {
      id = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
      ids_.set(name.value(), id);
    }
    nodes_[id].insert(row, rows);
  }
  old = std::move(names);
}

const NodeSet* DeclarationTable::nodes(StringId name) const {
  const std::uint32_t id = ids_.find(name.value());
  return id == FlatMap::kMissing ? nullptr : &nodes_[id];
}

void PortTable::add(NodeId row, const HostPort& port) {
  const std::uint64_t key = pack(port.protocol, StringId(port.port));
  std::uint32_t id = ids_.find(key);
  if (id == FlatMap::kMissing) {
    id = static_cast<std::uint32_t>(uses_.size());
    uses_.emplace_back();
    ids_.set(key, id);
  }
  auto& uses = uses_[id];
  const auto at =
      std::find_if(uses.begin(), uses.end(), [&](const Use& use) { return use.row == row && use.port.ip == port.ip; });
  if (at != uses.end()) {
    ++at->count;
  } else {
    uses.push_back({row, port, 1});
  }
}

void PortTable::remove(NodeId row, const HostPort& port) {
  const std::uint32_t id = ids_.find(pack(port.protocol, StringId(port.port)));
  if (id == FlatMap::kMissing) throw Error("a host port is taken from a node that does not use it");
  auto& uses = uses_[id];
  const auto at =
      std::find_if(uses.begin(), uses.end(), [&](const Use& use) { return use.row == row && use.port.ip == port.ip; });
  if (at == uses.end()) throw Error("a host port is taken from a node that does not use it");
  if (--at->count > 0) return;
  *at = uses.back();
  uses.pop_back();
}

void PortTable::add_conflicts(const HostPort& port, NodeMask& taken) const {
  const std::uint32_t id = ids_.find(pack(port.protocol, StringId(port.port)));
  if (id == FlatMap::kMissing) return;
  for (const Use& use : uses_[id]) {
    if (meet(use.port.ip, port.ip)) taken.set(use.row);
  }
}

bool InlineDisk::conflicts(const InlineDisk& other) const {
  if (kind != other.kind || name != other.name) return false;
  // An EBS volume takes one pod whatever the mode; the others may be shared by readers.
  if (kind != DiskKind::kElasticBlockStore && is_read_only && other.is_read_only) return false;
  if (kind != DiskKind::kRbd) return true;
  return pool == other.pool && std::any_of(monitors.begin(), monitors.end(), [&](StringId monitor) {
           return std::find(other.monitors.begin(), other.monitors.end(), monitor) != other.monitors.end();
         });
}

void DiskTable::add(NodeId row, const InlineDisk& disk) {
  FlatMap& ids = ids_[static_cast<std::size_t>(disk.kind)];
  std::uint32_t id = ids.find(disk.name.value());
  if (id == FlatMap::kMissing) {
    id = static_cast<std::uint32_t>(uses_.size());
    uses_.emplace_back();
    ids.set(disk.name.value(), id);
  }
  uses_[id].push_back({row, disk});
}

void DiskTable::remove(NodeId row, const InlineDisk& disk) {
  const std::uint32_t id = ids_[static_cast<std::size_t>(disk.kind)].find(disk.name.value());
  if (id == FlatMap::kMissing) throw Error("an inline disk is taken from a node that does not have it");
  auto& uses = uses_[id];
  const auto at =
      std::find_if(uses.begin(), uses.end(), [&](const Use& use) { return use.row == row && use.disk == disk; });
  if (at == uses.end()) throw Error("an inline disk is taken from a node that does not have it");
  *at = uses.back();
  uses.pop_back();
}

void DiskTable::add_conflicts(const InlineDisk& disk, NodeMask& taken) const {
  const std::uint32_t id = ids_[static_cast<std::size_t>(disk.kind)].find(disk.name.value());
  if (id == FlatMap::kMissing) return;
  for (const Use& use : uses_[id]) {
    if (disk.conflicts(use.disk)) taken.set(use.row);
  }
}

}  // namespace volsched
