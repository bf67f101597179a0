#include "volsched/cluster.hpp"

#include <algorithm>

#include "volsched/error.hpp"
#include "volsched/row_reader.hpp"

namespace volsched {

Cluster::Cluster() : labels(strings), resources(strings), ports(strings) {}

// Shared pieces
// --------------------------------------------------------------------------------------------------------------------------

Labels Cluster::read_labels(RowReader& reader) {
  Labels read(reader.count());
  for (Label& label : read) {
    label.key = strings.intern(reader.text());
    label.value = strings.intern(reader.text());
  }
  sort_labels(read);
  return read;
}

LabelSetId Cluster::read_label_set(RowReader& reader) {
  return label_sets.intern(read_labels(reader));
}

std::uint32_t Cluster::read_access_modes(RowReader& reader, bool& one_pod_only) {
  std::uint32_t bits = 0;
  const std::uint32_t count = reader.count();
  for (std::uint32_t at = 0; at < count; ++at) {
    const std::string_view text = reader.text();
    if (text == "ReadWriteOncePod") one_pod_only = true;
    const StringId mode = strings.intern(text);
    const auto known = std::find(access_modes_.begin(), access_modes_.end(), mode);
    const auto bit = static_cast<std::size_t>(known - access_modes_.begin());
    if (bit >= 32) throw Error("more than 32 different access modes; Kubernetes has four");
    if (known == access_modes_.end()) access_modes_.push_back(mode);
    bits |= std::uint32_t{1} << bit;
  }
  return bits;
}

std::string Cluster::claim_key(ClaimId id) const {
  const Claim& claim = claims.at(id);
  return strings.str(claim.space) + "/" + strings.str(claim.name);
}

std::string Cluster::pool_key(CapacityId id) const {
  const Pool& pool = capacities.at(id);
  return strings.str(pool.space) + "/" + strings.str(pool.name);
}

// Nodes
// ----------------------------------------------------------------------------------------------------------------------------------

NodeId Cluster::find_node(std::string_view name) const {
  const StringId id = strings.find(name);
  return id.valid() ? find_node(id) : NodeId();
}

NodeId Cluster::node_slot(StringId name) {
  const NodeId known = find_node(name);
  if (known.valid()) return known;
  NodeId row(nodes_.size());
  if (!free_rows_.empty()) {
    row = free_rows_.back();
    free_rows_.pop_back();
  } else {
    nodes_.emplace_back();
    const std::size_t size = nodes_.size();
    unschedulable_.resize(size);
    with_csi_node_.resize(size);
    attach_errors_.resize(size);
    resources.resize(size);
    attach.resize(size);
    labels.assign(row, {}, size);
    taints.assign(row, {}, size);
  }
  nodes_.edit(row.index()).name = name;
  node_ids_.set(name.value(), row.value());
  ++node_generation_;
  return row;
}

void Cluster::release_if_unused(NodeId row) {
  NodeRow& node = nodes_.edit(row.index());
  if (node.exists || node.has_csi_node || !node.pods.empty() || !node.attachments.empty()) return;
  node_ids_.erase(node.name.value());
  attach.clear(row);
  attach_errors_.reset(row);
  const bool is_listed = node.is_attach_stale;  // stays in stale_rows_, which refresh_attachments() empties
  node = NodeRow{};
  node.is_attach_stale = is_listed;
  free_rows_.push_back(row);
  ++node_generation_;
}

void Cluster::set_labels(NodeId row, Labels fresh) {
  if (labels.of(row) == fresh) return;
  selectors.begin_update(labels.of(row), labels);
  labels.assign(row, std::move(fresh), rows());
  for (const SelectorChange& change : selectors.finish_update(row, labels, strings, rows())) {
    volumes.on_change(change, rows());
    capacities.on_change(change, rows());
  }
}

StringId Cluster::zone_of(const Labels& of) {
  const auto either = [&](std::string_view beta, std::string_view ga) {
    StringId value = label_value(of, strings.find(beta));
    if (!value.valid()) value = label_value(of, strings.find(ga));
    return value.valid() ? strings.str(value) : std::string();
  };
  const std::string region = either("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
  const std::string zone = either("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
  if (region.empty() && zone.empty()) return StringPool::kEmpty;
  return strings.intern(region + std::string(":\0:", 3) + zone);
}

void Cluster::put_node(std::string_view bytes) {
  RowReader reader("node", bytes);
  const StringId name = strings.intern(reader.text());
  Labels read = read_labels(reader);
  const bool is_unschedulable = reader.flag();
  std::vector<TaintId> read_taints(reader.count());
  for (TaintId& id : read_taints) {
    const StringId key = strings.intern(reader.text());
    const StringId value = strings.intern(reader.text());
    const std::uint8_t effect = reader.u8();
    id = taints.intern({key, value, effect < 4 ? static_cast<TaintEffect>(effect) : TaintEffect::kOther});
  }
  ResourceTable::Allocatable allocatable;
  allocatable.milli_cpu = reader.i64();
  allocatable.memory_bytes = reader.i64();
  allocatable.ephemeral_bytes = reader.i64();
  allocatable.pods = reader.i64();
  allocatable.scalars.resize(reader.count());
  for (auto& [scalar, amount] : allocatable.scalars) {
    scalar = resources.scalar(strings.intern(reader.text()));
    amount = reader.i64();
  }
  std::vector<ImageTable::Listed> listed;
  const std::uint32_t image_count = reader.count();
  for (std::uint32_t image = 0; image < image_count; ++image) {
    std::vector<StringId> names(reader.count());
    for (StringId& one : names) one = strings.intern(reader.text());
    const std::int64_t size = reader.i64();
    for (const StringId one : names) listed.push_back({one, size});
  }
  std::vector<StringId> declared(reader.count());
  for (StringId& feature : declared) feature = strings.intern(reader.text());
  reader.finish();

  const NodeId row = node_slot(name);
  const StringId zone = zone_of(read);
  read.push_back({labels.name_key(), name});
  sort_labels(read);
  NodeRow& node = nodes_.edit(row.index());
  if (!node.exists) {
    node.exists = true;
    ++node_count_;
    ++node_generation_;
    order.add(row, name, zone);
    for (const PodId pod : node.pods) count_uses(pods_[pod.index()], 1);
  } else {
    order.rezone(row, zone);
  }
  set_labels(row, std::move(read));
  taints.assign(row, std::move(read_taints), rows());
  images.assign(row, listed);
  features.assign(row, std::move(declared), rows());
  unschedulable_.assign(row, is_unschedulable);
  resources.set_allocatable(row, allocatable);
  bump();
}

void Cluster::remove_node(std::string_view name) {
  const NodeId row = find_node(name);
  if (!row.valid() || !nodes_[row.index()].exists) return;
  NodeRow& node = nodes_.edit(row.index());
  for (const PodId pod : node.pods) count_uses(pods_[pod.index()], -1);
  order.remove(row, node.name);
  set_labels(row, {});
  taints.assign(row, {}, rows());
  images.assign(row, {});
  features.assign(row, {}, rows());
  unschedulable_.reset(row);
  resources.set_allocatable(row, {});
  node.exists = false;
  --node_count_;
  ++node_generation_;
  release_if_unused(row);
  bump();
}

// Node objects of storage
// ----------------------------------------------------------------------------------------------------------------

void Cluster::put_csi_node(std::string_view bytes) {
  RowReader reader("CSINode", bytes);
  const StringId name = strings.intern(reader.text());
  std::vector<StringId> plugins(reader.count());
  for (StringId& plugin : plugins) plugin = strings.intern(reader.text());
  struct Installed {
    DriverId driver;
    std::int32_t limit = AttachTable::kNoLimit;
  };
  std::vector<Installed> installed(reader.count());
  for (Installed& entry : installed) {
    entry.driver = attach.driver(strings.intern(reader.text()));
    const bool has_count = reader.flag();
    const std::int64_t count = reader.i64();
    if (has_count) entry.limit = static_cast<std::int32_t>(std::clamp<std::int64_t>(count, 0, 0x7fffffff));
  }
  reader.finish();

  const NodeId row = node_slot(name);
  NodeRow& node = nodes_.edit(row.index());
  for (const DriverId driver : node.csi_drivers) attach.set_installed(row, driver, false, AttachTable::kNoLimit);
  node.csi_drivers.clear();
  for (const Installed& entry : installed) {
    attach.set_installed(row, entry.driver, true, entry.limit);
    node.csi_drivers.push_back(entry.driver);
  }
  node.has_csi_node = true;
  node.migrated_plugins = plugins;
  migrated_.assign(row, std::move(plugins), rows());
  with_csi_node_.set(row);
  bump();
}

void Cluster::remove_csi_node(std::string_view name) {
  const NodeId row = find_node(name);
  if (!row.valid() || !nodes_[row.index()].has_csi_node) return;
  NodeRow& node = nodes_.edit(row.index());
  for (const DriverId driver : node.csi_drivers) attach.set_installed(row, driver, false, AttachTable::kNoLimit);
  node.csi_drivers.clear();
  node.migrated_plugins.clear();
  node.has_csi_node = false;
  migrated_.assign(row, {}, rows());
  with_csi_node_.reset(row);
  release_if_unused(row);
  bump();
}

void Cluster::put_csi_driver(std::string_view bytes) {
  RowReader reader("CSIDriver", bytes);
  const DriverId driver = attach.driver(strings.intern(reader.text()));
  const bool tracks_capacity = reader.flag();
  const bool must_be_installed = reader.flag();
  reader.finish();
  attach.set_driver(driver, tracks_capacity, must_be_installed);
  bump();
}

void Cluster::remove_csi_driver(std::string_view name) {
  const StringId id = strings.find(name);
  const DriverId driver = id.valid() ? attach.find_driver(id) : DriverId();
  if (!driver.valid()) return;
  attach.set_driver(driver, false, false);
  bump();
}

void Cluster::put_attachment(std::string_view bytes) {
  RowReader reader("VolumeAttachment", bytes);
  const StringId name = strings.intern(reader.text());
  const StringId node_name = strings.intern(reader.text());
  const StringId attacher = strings.intern(reader.text());
  const StringId volume_name = strings.intern(reader.text());
  reader.finish();
  remove_attachment(strings.str(name));
  std::uint32_t at = attachment_ids_.find(name.value());
  if (at == FlatMap::kMissing) {
    at = static_cast<std::uint32_t>(attachments_.size());
    attachments_.emplace_back().name = name;
    attachment_ids_.set(name.value(), at);
  }
  bump();
  if (attacher == StringPool::kEmpty || volume_name == StringPool::kEmpty)
    return;  // of an inline source, which limits ignore
  const NodeId row = node_slot(node_name);
  const VolumeId volume = volumes.slot(volume_name);
  attachments_[at] = {name, row, attach.driver(attacher), volume, true};
  nodes_.edit(row.index()).attachments.push_back(at);
  attachments_of_volume_.grow_to(volume.index() + 1);
  attachments_of_volume_.edit(volume.index()).push_back(at);
  stale_attachments(row);
}

void Cluster::remove_attachment(std::string_view name) {
  const StringId id = strings.find(name);
  const std::uint32_t at = id.valid() ? attachment_ids_.find(id.value()) : FlatMap::kMissing;
  if (at == FlatMap::kMissing || !attachments_[at].exists) return;
  const Attachment old = attachments_[at];
  attachments_[at].exists = false;
  std::erase(nodes_.edit(old.row.index()).attachments, at);
  std::erase(attachments_of_volume_.edit(old.volume.index()), at);
  stale_attachments(old.row);
  release_if_unused(old.row);
  bump();
}

// Attached volumes
// -----------------------------------------------------------------------------------------------------------------------

void Cluster::stale_attachments(NodeId row) {
  if (nodes_[row.index()].is_attach_stale) return;
  nodes_.edit(row.index()).is_attach_stale = true;
  stale_rows_.push_back(row);
}

void Cluster::stale_users_of(ClaimId claim) {
  for (const PodId pod : claims.users(claim)) stale_attachments(pods_[pod.index()].row);
}

void Cluster::stale_users_of(VolumeId volume) {
  if (volume.index() < claims_of_volume_.size()) {
    for (const ClaimId claim : claims_of_volume_[volume.index()]) stale_users_of(claim);
  }
  if (volume.index() < attachments_of_volume_.size()) {
    for (const std::uint32_t at : attachments_of_volume_[volume.index()]) stale_attachments(attachments_[at].row);
  }
}

bool Cluster::key_of(ClaimId id, bool migrated, VolumeKey& key) const {
  const Claim& claim = claims.at(id);
  if (claim.volume.valid() && volumes.at(claim.volume).exists) {
    const Volume& volume = volumes.at(claim.volume);
    const bool counts =
        volume.source == VolumeSource::kCsi ||
        (volume.source == VolumeSource::kMigratable && migrated && volume.translation_error == StringPool::kEmpty);
    if (counts) key = {volume.driver, volume.handle};
    return counts;
  }
  if (!claim.has_class) return false;
  const StorageClass& storage_class = classes.at(claim.storage_class);
  if (!storage_class.exists) return false;
  if (storage_class.is_in_tree) {
    if (!migrated || !storage_class.migrated_driver.valid()) return false;
    key = VolumeKey::of_claim(storage_class.migrated_driver, id);
    return true;
  }
  if (storage_class.provisioner == StringPool::kEmpty) return false;  // nobody to count for
  key = VolumeKey::of_claim(storage_class.driver, id);
  return true;
}

template <class Visit>
std::string Cluster::for_keys_of(const PodRow& pod, Visit&& visit) const {
  for (const ClaimUse& use : pod.instance.claims) {
    const Claim& claim = claims.at(use.claim);
    if (!claim.exists) continue;
    if (use.is_ephemeral && claim.owner_uid != pod.instance.uid) {
      return "PVC " + claim_key(use.claim) + " was not created for pod " + strings.str(pod.instance.space) + "/" +
             strings.str(pod.instance.name) + " (pod is not owner)";
    }
    VolumeKey key;
    if (key_of(use.claim, true, key)) visit(key);
  }
  for (const InlineVolume& volume : pod.program->inline_volumes) {
    if (!volume.error.empty()) return volume.error;
    visit(VolumeKey{volume.driver, volume.handle});
  }
  return {};
}

void Cluster::attach_pod(PodId id) {
  const PodRow& pod = pods_[id.index()];
  if (nodes_[pod.row.index()].is_attach_stale || (pod.instance.claims.empty() && pod.program->inline_volumes.empty()))
    return;
  const std::string error = for_keys_of(pod, [&](VolumeKey key) { attach.add_pod_use(pod.row, key); });
  if (!error.empty()) stale_attachments(pod.row);
}

void Cluster::detach_pod(PodId id) {
  const PodRow& pod = pods_[id.index()];
  const NodeRow& node = nodes_[pod.row.index()];
  if (node.is_attach_stale || (pod.instance.claims.empty() && pod.program->inline_volumes.empty())) return;
  if (node.attach_error.valid()) {
    stale_attachments(pod.row);
    return;
  }
  for_keys_of(pod, [&](VolumeKey key) { attach.remove_pod_use(pod.row, key); });
}

std::string Cluster::add_attached(const PodRow& pod, std::vector<VolumeKey>& keys) const {
  return for_keys_of(pod, [&](VolumeKey key) { keys.push_back(key); });
}

std::vector<VolumeKey> Cluster::attachments_of(NodeId row) const {
  std::vector<VolumeKey> keys;
  for (const std::uint32_t at : nodes_[row.index()].attachments) {
    const Attachment& attachment = attachments_[at];
    const Volume& volume = volumes.at(attachment.volume);
    if (volume.exists && volume.source == VolumeSource::kCsi) keys.push_back({attachment.driver, volume.handle});
  }
  return keys;
}

void Cluster::refresh_attachments() {
  for (const NodeId row : stale_rows_) {
    NodeRow& node = nodes_.edit(row.index());
    node.is_attach_stale = false;
    node.attach_error = StringId();
    attach.clear(row);
    for (const PodId pod : node.pods) {
      const std::string error = for_keys_of(pods_[pod.index()], [&](VolumeKey key) { attach.add_pod_use(row, key); });
      if (!error.empty() && !node.attach_error.valid()) node.attach_error = strings.intern(error);
    }
    for (const VolumeKey& key : attachments_of(row)) attach.add_attachment(row, key);
    attach_errors_.assign(row, node.attach_error.valid());
  }
  stale_rows_.clear();
}

}  // namespace volsched
