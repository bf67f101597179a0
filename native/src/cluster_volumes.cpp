// Volumes, claims, classes and capacity objects of a Cluster.

#include <algorithm>

#include "volsched/cluster.hpp"
#include "volsched/error.hpp"
#include "volsched/row_reader.hpp"

namespace volsched {

NodeMask Cluster::unreachable(const Volume& volume, const NodeMask& within) const {
  const NodeSet* migrated_nodes = volume.source == VolumeSource::kMigratable ? migrated(volume.plugin) : nullptr;
  if (migrated_nodes == nullptr || !volume.migrated_affinity.valid())
    return selectors.nodes(volume.affinity).outside(within);
  const NodeMask as_migrated = migrated_nodes->within(within);
  NodeMask result = selectors.nodes(volume.affinity).outside(within - as_migrated);
  result |= selectors.nodes(volume.migrated_affinity).outside(as_migrated);
  return result;
}

SelectorId Cluster::zone_selector(Label label) {
  const std::uint64_t packed = pack(label.key, label.value);
  const std::uint32_t known = zone_selectors_.find(packed);
  if (known != FlatMap::kMissing) return SelectorId(known);
  const std::string value = strings.str(label.value);
  std::vector<StringId> zones;
  for (std::size_t from = 0; from <= value.size();) {
    const std::size_t end = std::min(value.find("__", from), value.size());
    const std::size_t first = value.find_first_not_of(" \t\n\v\f\r", from);
    if (first >= end) return {};  // an empty element: the label is ignored
    const std::size_t last = value.find_last_not_of(" \t\n\v\f\r", end - 1);
    zones.push_back(strings.intern(value.substr(first, last - first + 1)));
    from = end + 2;
  }
  std::sort(zones.begin(), zones.end());
  zones.erase(std::unique(zones.begin(), zones.end()), zones.end());
  const StringId beta_zone = strings.intern("failure-domain.beta.kubernetes.io/zone");
  const StringId beta_region = strings.intern("failure-domain.beta.kubernetes.io/region");
  const StringId zone = strings.intern("topology.kubernetes.io/zone");
  const StringId region = strings.intern("topology.kubernetes.io/region");
  const StringId ga = label.key == beta_zone ? zone : label.key == beta_region ? region : label.key;
  NodeSelector selector;
  Term unlabelled;
  for (const StringId key : {beta_zone, beta_region, zone, region})
    unlabelled.push_back({key, Op::kDoesNotExist, 0, {}});
  selector.terms.push_back(std::move(unlabelled));
  selector.terms.push_back({{label.key, Op::kIn, 0, zones}});
  if (ga != label.key) selector.terms.push_back({{label.key, Op::kDoesNotExist, 0, {}}, {ga, Op::kIn, 0, zones}});
  const SelectorId id = selectors.intern(std::move(selector), labels, strings);
  zone_selectors_.set(packed, id.value());
  return id;
}

void Cluster::put_volume(std::string_view bytes) {
  RowReader reader("PersistentVolume", bytes);
  Volume read;
  const StringId name = strings.intern(reader.text());
  read.version = strings.intern(reader.text());
  read.storage_class = class_slot(reader.text());
  read.spec_class = strings.intern(reader.text());
  read.capacity = reader.nanos();
  read.capacity_bytes = reader.i64();
  bool one_pod_only = false;
  read.access_modes = read_access_modes(reader, one_pod_only);
  read.volume_mode = strings.intern(reader.text());
  read.attributes_class = strings.intern(reader.text());
  read.claim_uid = StringPool::kEmpty;
  if (reader.flag()) {
    const StringId space = strings.intern(reader.text());
    const StringId claim = strings.intern(reader.text());
    read.claim = claims.slot(space, claim);
    read.claim_uid = strings.intern(reader.text());
  }
  const std::string_view phase = reader.text();
  read.is_available = phase == "Available";
  read.phase = strings.intern(phase);
  read.is_deleting = reader.flag();
  read.labels = read_label_set(reader);
  const auto read_affinity = [&] {
    NodeSelector selector = NodeSelector::everything();
    if (reader.flag()) selector = read_node_selector(reader, strings, labels.name_key(), FieldsAre::kIgnored);
    return selectors.intern(std::move(selector), labels, strings);
  };
  read.affinity = read_affinity();
  read.translation_error = StringPool::kEmpty;
  const std::uint8_t source = reader.u8();
  if (source == 1) {
    read.source = VolumeSource::kCsi;
    read.driver = attach.driver(strings.intern(reader.text()));
    read.handle = strings.intern(reader.text());
  } else if (source == 2) {
    read.source = VolumeSource::kMigratable;
    read.plugin = strings.intern(reader.text());
    if (reader.flag()) {
      read.driver = attach.driver(strings.intern(reader.text()));
      read.handle = strings.intern(reader.text());
      read.migrated_affinity = read_affinity();
    } else {
      read.translation_error = strings.intern(reader.text());
    }
  }
  const std::vector<CapacityId> held = read_pools(reader);
  reader.finish();

  const VolumeId id = volumes.slot(name);
  const Volume& old = volumes.at(id);
  const auto assumed = assumed_volumes_.find(id.value());
  if (assumed != assumed_volumes_.end()) {
    // An assumption stands on the version it was made from; any other version beats it. Source: assume_cache.go.
    if (old.exists && old.version == read.version) {
      assumed->second.own = {read.claim, read.claim_uid};
      read.claim = old.claim;
      read.claim_uid = old.claim_uid;
    } else {
      assumed_volumes_.erase(assumed);
    }
  }
  const bool is_attached_alike = old.exists && old.source == read.source && old.driver == read.driver &&
                                 old.handle == read.handle && old.translation_error == read.translation_error;
  volumes.put(id, read, selectors, strings, rows());
  set_hold(volume_holds_, id.value(), held, read.capacity_bytes);
  if (!is_attached_alike) stale_users_of(id);
  bump();
}

void Cluster::remove_volume(std::string_view name) {
  const StringId known = strings.find(name);
  const VolumeId id = known.valid() ? volumes.find(known) : VolumeId();
  if (!id.valid() || !volumes.at(id).exists) return;
  assumed_volumes_.erase(id.value());
  volumes.erase(id, strings);
  set_hold(volume_holds_, id.value(), {}, 0);
  stale_users_of(id);
  bump();
}

void Cluster::put_claim(std::string_view bytes) {
  RowReader reader("PersistentVolumeClaim", bytes);
  Claim read;
  read.space = strings.intern(reader.text());
  read.name = strings.intern(reader.text());
  read.uid = strings.intern(reader.text());
  read.version = strings.intern(reader.text());
  const std::string_view class_name = reader.text();
  read.has_class = !class_name.empty();
  read.storage_class = class_slot(class_name);
  read.spec_class = strings.intern(reader.text());
  read.has_request = reader.flag();
  read.request = reader.nanos();
  read.request_bytes = reader.i64();
  read.access_modes = read_access_modes(reader, read.is_one_pod_only);
  read.volume_mode = strings.intern(reader.text());
  read.attributes_class = strings.intern(reader.text());
  if (reader.flag()) read.selector = volumes.selector(read_label_selector(reader, strings));
  const std::string_view volume_name = reader.text();
  if (!volume_name.empty()) read.volume = volumes.slot(strings.intern(volume_name));
  read.is_bind_completed = reader.flag();
  read.has_selected_node = reader.flag();
  read.selected_node = strings.intern(reader.text());
  read.is_lost = reader.flag();
  read.is_deleting = reader.flag();
  read.owner_uid = strings.intern(reader.text());
  std::vector<CapacityId> named = read_pools(reader);
  reader.finish();
  read.shape = volumes.shape({read.storage_class, read.request, read.request_bytes, read.access_modes, read.volume_mode,
                              read.attributes_class, read.selector});
  read.exists = true;

  const ClaimId id = claims.slot(read.space, read.name);
  Claim& stored = claims.edit(id);
  const auto assumed = assumed_claims_.find(id.value());
  if (assumed != assumed_claims_.end()) {
    if (stored.exists && stored.version == read.version) {
      assumed->second.own = {read.has_selected_node, read.selected_node, {}};
      read.has_selected_node = stored.has_selected_node;
      read.selected_node = stored.selected_node;
    } else {
      assumed_claims_.erase(assumed);
    }
  }
  const bool is_attached_alike = stored.exists && stored.volume == read.volume &&
                                 stored.storage_class == read.storage_class && stored.has_class == read.has_class &&
                                 stored.owner_uid == read.owner_uid;
  if (stored.volume != read.volume) {
    if (stored.volume.valid()) std::erase(claims_of_volume_.edit(stored.volume.index()), id);
    if (read.volume.valid()) {
      claims_of_volume_.grow_to(read.volume.index() + 1);
      claims_of_volume_.edit(read.volume.index()).push_back(id);
    }
  }
  stored = read;
  if (named.empty()) {
    named_pools_.erase(id.value());
  } else {
    named_pools_[id.value()] = std::move(named);
  }
  settle_hold(id);
  if (!is_attached_alike) stale_users_of(id);
  bump();
}

void Cluster::remove_claim(std::string_view space, std::string_view name) {
  const StringId space_id = strings.find(space);
  const StringId name_id = strings.find(name);
  if (!space_id.valid() || !name_id.valid()) return;
  const ClaimId id = claims.find(space_id, name_id);
  if (!id.valid() || !claims.at(id).exists) return;
  assumed_claims_.erase(id.value());
  Claim& stored = claims.edit(id);
  if (stored.volume.valid()) std::erase(claims_of_volume_.edit(stored.volume.index()), id);
  stored = Claim{};
  stored.space = space_id;
  stored.name = name_id;
  named_pools_.erase(id.value());
  settle_hold(id);
  stale_users_of(id);
  bump();
}

void Cluster::put_class(std::string_view bytes) {
  RowReader reader("StorageClass", bytes);
  const ClassId id = class_slot(reader.text());
  StorageClass read;
  read.name = classes.at(id).name;
  const std::string_view provisioner = reader.text();
  read.provisions = !provisioner.empty() && provisioner != "kubernetes.io/no-provisioner";
  read.provisioner = strings.intern(provisioner);
  read.driver = attach.driver(read.provisioner);
  read.is_in_tree = reader.flag();
  const std::string_view migrated_driver = reader.text();
  if (!migrated_driver.empty()) read.migrated_driver = attach.driver(strings.intern(migrated_driver));
  const std::uint8_t mode = reader.u8();
  read.mode = mode == 0   ? BindingMode::kUnset
              : mode == 2 ? BindingMode::kWaitForFirstConsumer
                          : BindingMode::kImmediate;
  read.allowed = selectors.intern(read_allowed_topologies(reader, strings), labels, strings);
  read.shared_capacity = strings.intern(reader.text());
  reader.finish();
  read.exists = true;
  StorageClass& stored = classes.edit(id);
  const bool is_attached_alike = stored.exists && stored.driver == read.driver &&
                                 stored.is_in_tree == read.is_in_tree && stored.migrated_driver == read.migrated_driver;
  stored = read;
  if (!is_attached_alike) {
    for (std::size_t claim = 0; claim < claims.size(); ++claim) {
      if (claims.at(ClaimId(claim)).storage_class == id) stale_users_of(ClaimId(claim));
    }
  }
  bump();
}

void Cluster::remove_class(std::string_view name) {
  const StringId known = strings.find(name);
  const ClassId id = known.valid() ? classes.find(known) : ClassId();
  if (!id.valid() || !classes.at(id).exists) return;
  StorageClass& stored = classes.edit(id);
  stored = StorageClass{};
  stored.name = known;
  for (std::size_t claim = 0; claim < claims.size(); ++claim) {
    if (claims.at(ClaimId(claim)).storage_class == id) stale_users_of(ClaimId(claim));
  }
  bump();
}

void Cluster::put_capacity(std::string_view bytes) {
  RowReader reader("CSIStorageCapacity", bytes);
  const StringId space = strings.intern(reader.text());
  const StringId name = strings.intern(reader.text());
  Pool read;
  read.storage_class = class_slot(reader.text());
  if (reader.flag()) {
    LabelSelector topology = read_label_selector(reader, strings);
    if (topology.error.empty()) read.topology = selectors.intern({{std::move(topology.requirements)}}, labels, strings);
  }
  read.has_capacity = reader.flag();
  read.capacity_bytes = reader.i64();
  read.has_maximum = reader.flag();
  read.maximum_bytes = reader.i64();
  reader.finish();
  capacities.put(capacities.slot(space, name), read, selectors, strings, rows());
  bump();
}

void Cluster::remove_capacity(std::string_view space, std::string_view name) {
  const StringId space_id = strings.find(space);
  const StringId name_id = strings.find(name);
  if (!space_id.valid() || !name_id.valid()) return;
  const CapacityId id = capacities.find(space_id, name_id);
  if (!id.valid() || !capacities.at(id).exists) return;
  capacities.erase(id, strings);
  bump();
}

std::vector<CapacityId> Cluster::read_pools(RowReader& reader) {
  std::vector<CapacityId> pools(reader.count());
  for (CapacityId& pool : pools) {
    const std::string_view text = reader.text();
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos)
      throw Error("a pool is named \"" + std::string(text) + "\", not namespace/name");
    pool = capacities.slot(strings.intern(text.substr(0, slash)), strings.intern(text.substr(slash + 1)));
  }
  return pools;
}

void Cluster::set_hold(Holds& holds, std::uint32_t holder, std::span<const CapacityId> pools, std::int64_t bytes) {
  const std::int64_t held_bytes = std::max<std::int64_t>(0, bytes);
  const auto known = holds.find(holder);
  if (known != holds.end()) {
    if (std::ranges::equal(known->second.pools, pools) && known->second.bytes == held_bytes) return;
    capacities.release(known->second);
    if (pools.empty()) holds.erase(known);
  }
  if (pools.empty()) return;
  PoolHold& hold = holds[holder];
  hold.pools.assign(pools.begin(), pools.end());
  hold.bytes = held_bytes;
  capacities.hold(hold);
}

std::span<const CapacityId> Cluster::pools_named_by(ClaimId id) const {
  const auto assumed = assumed_claims_.find(id.value());
  if (assumed != assumed_claims_.end() && !assumed->second.effective().pools.empty())
    return assumed->second.effective().pools;
  const auto named = named_pools_.find(id.value());
  return named == named_pools_.end() ? std::span<const CapacityId>() : named->second;
}

void Cluster::settle_hold(ClaimId id) {
  const Claim& claim = claims.at(id);
  const bool holds = claim.has_selected_node && !claim.volume.valid();
  set_hold(claim_holds_, id.value(), holds ? pools_named_by(id) : std::span<const CapacityId>(), claim.request_bytes);
}

}  // namespace volsched
