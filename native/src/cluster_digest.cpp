// The digest of a Cluster: a line for each object and for each thing kept up beside the objects, with names in place of
// numbers and every list sorted.

#include <algorithm>

#include "volsched/cluster.hpp"

namespace volsched {

namespace {

using Parts = std::vector<std::string>;

std::string sorted(Parts parts) {
  std::sort(parts.begin(), parts.end());
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return "(" + text + ")";
}

std::string number(Nanos value) {
  // a quantity's whole range: high and low half
  return std::to_string(static_cast<std::int64_t>(value >> 64)) + ":" +
         std::to_string(static_cast<std::uint64_t>(value));
}

/// FNV-1a: equal rows have equal texts.
std::string fingerprint(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
  return std::to_string(hash);
}

}  // namespace

class ClusterDigest {
 public:
  explicit ClusterDigest(const Cluster& cluster) : cluster_(cluster), on_row_(cluster.nodes_.size()) {}

  std::string text() {
    cluster_.ports.for_each([&](NodeId row, const HostPort& port, std::uint32_t count) {
      on_row_[row.index()].push_back("port " + name(port.protocol) + " " + name(port.ip) + " " +
                                     std::to_string(port.port) + " x" + std::to_string(count));
    });
    cluster_.disks.for_each([&](NodeId row, const InlineDisk& disk) {
      Parts monitors;
      for (const StringId monitor : disk.monitors) monitors.push_back(name(monitor));
      on_row_[row.index()].push_back("disk " + std::to_string(static_cast<int>(disk.kind)) + " " + name(disk.name) +
                                     " " + name(disk.pool) + flag(" read-only", disk.is_read_only) +
                                     sorted(std::move(monitors)));
    });
    for (std::size_t at = 0; at < cluster_.nodes_.size(); ++at) node(NodeId(at));
    for (const PodRow& pod : cluster_.pods_) {
      if (pod.exists) this->pod(pod);
    }
    for (std::size_t at = 0; at < cluster_.claims.size(); ++at) claim(ClaimId(at));
    for (std::size_t at = 0; at < cluster_.volumes.size(); ++at) volume(VolumeId(at));
    for (std::size_t at = 0; at < cluster_.classes.size(); ++at) storage_class(cluster_.classes.at(ClassId(at)));
    for (std::size_t at = 0; at < cluster_.capacities.size(); ++at) pool(CapacityId(at));
    for (std::size_t at = 0; at < cluster_.attach.driver_count(); ++at) driver(DriverId(at));
    for (std::size_t at = 0; at < cluster_.kinds.size(); ++at) kind(cluster_.kinds.at(KindId(at)));
    workloads();
    std::sort(lines_.begin(), lines_.end());
    std::string text;
    for (const std::string& line : lines_) text += line + "\n";
    return text;
  }

 private:
  // Pieces

  [[nodiscard]] std::string name(StringId id) const { return id.valid() ? cluster_.strings.str(id) : "-"; }
  [[nodiscard]] static std::string flag(const char* text, bool is_set) { return is_set ? text : ""; }
  [[nodiscard]] std::string driver_name(DriverId id) const {
    return id.valid() ? name(cluster_.attach.driver_name(id)) : "-";
  }
  [[nodiscard]] std::string class_name(ClassId id) const {
    return id.valid() ? name(cluster_.classes.at(id).name) : "-";
  }

  [[nodiscard]] Parts label_parts(const Labels& labels) const {
    Parts parts;
    for (const Label& label : labels) parts.push_back(name(label.key) + "=" + name(label.value));
    return parts;
  }
  [[nodiscard]] std::string labels(LabelSetId id) const { return sorted(label_parts(cluster_.label_sets.at(id))); }

  [[nodiscard]] std::string term(const Term& requirements) const {
    Parts parts;
    for (const Requirement& requirement : requirements) {
      Parts values;
      for (const StringId value : requirement.values) values.push_back(name(value));
      parts.push_back(name(requirement.key) + " op" + std::to_string(static_cast<int>(requirement.op)) + " " +
                      std::to_string(requirement.bound) + " " + sorted(std::move(values)));
    }
    return sorted(std::move(parts));
  }
  [[nodiscard]] std::string selector(SelectorId id) const {
    if (!id.valid()) return "none";
    Parts terms;
    for (const Term& one : cluster_.selectors.selector(id).terms) terms.push_back(term(one));
    Parts nodes;
    cluster_.selectors.nodes(id).for_each([&](NodeId row) { nodes.push_back(name(cluster_.node(row).name)); });
    return sorted(std::move(terms)) + " on " + sorted(std::move(nodes));
  }
  [[nodiscard]] std::string selector(const LabelSelector& of) const { return term(of.requirements) + of.error; }

  [[nodiscard]] std::string access_modes(std::uint32_t bits) const {
    Parts parts;
    for (std::size_t bit = 0; bit < cluster_.access_modes_.size(); ++bit) {
      if ((bits >> bit & 1U) != 0) parts.push_back(name(cluster_.access_modes_[bit]));
    }
    return sorted(std::move(parts));
  }
  [[nodiscard]] std::string usage(const Usage& of) const {
    Parts scalars;
    for (const auto& [scalar, amount] : of.scalars)
      scalars.push_back(name(cluster_.resources.scalar_column(scalar).name) + " " + std::to_string(amount));
    return std::to_string(of.milli_cpu) + " " + std::to_string(of.memory_bytes) + " " +
           std::to_string(of.ephemeral_bytes) + " " + std::to_string(of.scored_milli_cpu) + " " +
           std::to_string(of.scored_memory_bytes) + sorted(std::move(scalars));
  }

  [[nodiscard]] std::string pools(std::span<const CapacityId> ids) const {
    Parts names;
    for (const CapacityId id : ids) names.push_back(cluster_.pool_key(id));
    return sorted(std::move(names));
  }
  [[nodiscard]] std::string held(const PoolHold& hold) const {
    return " takes " + std::to_string(hold.bytes) + " of " + pools(hold.pools);
  }

  // Lines

  void node(NodeId row) {
    const NodeRow& node = cluster_.nodes_[row.index()];
    if (!node.exists && !node.has_csi_node && node.pods.empty() && node.attachments.empty()) return;
    const std::size_t at = row.index();
    Parts parts = std::move(on_row_[at]);
    for (std::string& label : label_parts(cluster_.labels.of(row))) parts.push_back("label " + std::move(label));
    for (const TaintId id : cluster_.taints.of(row)) {
      const Taint& taint = cluster_.taints.at(id);
      parts.push_back("taint " + name(taint.key) + "=" + name(taint.value) + " " +
                      std::to_string(static_cast<int>(taint.effect)));
    }
    for (const ImageTable::Held& held : cluster_.images.of(row)) {
      parts.push_back("image " + name(cluster_.images.name(held.image)) + " " +
                      std::to_string(cluster_.images.bytes(held.image)) + " on " +
                      std::to_string(cluster_.images.count(held.image)));
    }
    for (const StringId feature : cluster_.features.of(row)) parts.push_back("feature " + name(feature));
    for (const StringId plugin : node.migrated_plugins) parts.push_back("migrated " + name(plugin));
    for (const StringId plugin : cluster_.migrated_.of(row)) parts.push_back("counted as migrated " + name(plugin));
    for (std::size_t column = 0; column < cluster_.resources.column_count(); ++column) {
      const auto& values = cluster_.resources.column(column);
      if (values.allocatable[at] != 0 || values.requested[at] != 0)
        parts.push_back(name(values.name) + " " + std::to_string(values.requested[at]) + " of " +
                        std::to_string(values.allocatable[at]));
    }
    attached(row, parts);
    lines_.push_back("node " + name(node.name) + (node.exists ? " exists" : " ghost") +
                     flag(" with CSINode", node.has_csi_node) + flag(" cordoned", cluster_.unschedulable_.test(row)) +
                     " scored " + std::to_string(cluster_.resources.scored_cpu()[at]) + " " +
                     std::to_string(cluster_.resources.scored_memory()[at]) + ", pods " +
                     std::to_string(cluster_.resources.pod_count()[at]) + " of " +
                     std::to_string(cluster_.resources.pod_limit()[at]) + " " + sorted(std::move(parts)));
  }

  void attached(NodeId row, Parts& parts) {
    for (std::size_t at = 0; at < cluster_.attach.driver_count(); ++at) {
      const DriverId id(at);
      const bool is_installed = cluster_.attach.installed(id).test(row);
      const std::int32_t count = cluster_.attach.count(row, id);
      const std::int32_t limit = cluster_.attach.limit(row, id);
      if (is_installed || count != 0 || limit != AttachTable::kNoLimit) {
        parts.push_back("driver " + driver_name(id) + flag(" installed", is_installed) + " " + std::to_string(count) +
                        " of " + std::to_string(limit));
      }
    }
    cluster_.attach.for_uses_of(row, [&](VolumeKey key, int pods, int attachments) {
      const ClaimId of = key.claim();
      parts.push_back("attached " + driver_name(key.driver) + " " +
                      (of.valid() ? "claim " + cluster_.claim_key(of) : name(key.handle)) + " " + std::to_string(pods) +
                      " " + std::to_string(attachments));
    });
    if (cluster_.attach_errors_.test(row)) parts.push_back("cannot be counted");
    for (const std::uint32_t at : cluster_.nodes_[row.index()].attachments) {
      const Attachment& attachment = cluster_.attachments_[at];
      parts.push_back("VolumeAttachment " + name(attachment.name) + " " + driver_name(attachment.driver) + " " +
                      name(cluster_.volumes.at(attachment.volume).name));
    }
  }

  [[nodiscard]] std::string pod_name(const PodRow& pod) const {
    return name(pod.instance.space) + "/" + name(pod.instance.name);
  }

  void pod(const PodRow& pod) {
    Parts uses;
    for (const ClaimUse& use : pod.instance.claims)
      uses.push_back(cluster_.claim_key(use.claim) + flag(" ephemeral", use.is_ephemeral));
    lines_.push_back("pod " + pod_name(pod) + " " + name(pod.instance.uid) + " on " +
                     name(cluster_.nodes_[pod.row.index()].name) + flag(" terminating", pod.instance.is_terminating) +
                     " " + labels(pod.instance.labels) + " takes " + usage(pod.used()) + " uses " +
                     sorted(std::move(uses)) + " template " + fingerprint(pod.program->content));
  }

  void claim(ClaimId id) {
    const Claim& claim = cluster_.claims.at(id);
    const VolumeId reserved = cluster_.volumes.first_of_claim(id);
    const std::span<const PodId> users = cluster_.claims.users(id);
    if (!claim.exists && cluster_.claims.use_count(id) == 0 && users.empty() && !reserved.valid()) return;
    std::string line = "claim " + cluster_.claim_key(id) + " used " + std::to_string(cluster_.claims.use_count(id));
    Parts names;
    for (const PodId user : users) names.push_back(pod_name(cluster_.pods_[user.index()]));
    line += " by " + sorted(std::move(names)) + " reserved";
    for (VolumeId at = reserved; at.valid(); at = cluster_.volumes.at(at).next_of_claim)
      line += " " + name(cluster_.volumes.at(at).name);
    if (claim.exists) {
      line += ", exists " + name(claim.uid) + " class " + class_name(claim.storage_class) +
              flag(" (none)", !claim.has_class) + " of spec " + name(claim.spec_class) + " request " +
              (claim.has_request ? number(claim.request) + " " + std::to_string(claim.request_bytes) : "none") + " " +
              access_modes(claim.access_modes) + flag(" one pod only", claim.is_one_pod_only) + " " +
              name(claim.volume_mode) + " " + name(claim.attributes_class) + " selector " +
              (claim.selector.valid() ? selector(cluster_.volumes.selector_at(claim.selector)) : "none") + " volume " +
              (claim.volume.valid() ? name(cluster_.volumes.at(claim.volume).name) : "none") +
              flag(" bound", claim.is_bind_completed) + flag(" lost", claim.is_lost) +
              flag(" deleting", claim.is_deleting) + " owner " + name(claim.owner_uid) +
              (claim.has_selected_node ? " selected " + name(claim.selected_node) : "");
      if (const PoolHold* hold = cluster_.hold_of(id)) line += held(*hold);
      if (const auto named = cluster_.pools_named_by(id); !named.empty()) line += " names " + pools(named);
    }
    lines_.push_back(std::move(line));
  }

  void volume(VolumeId id) {
    const Volume& volume = cluster_.volumes.at(id);
    if (!volume.exists) return;
    const auto hold = cluster_.volume_holds_.find(id.value());
    const std::string taken = hold == cluster_.volume_holds_.end() ? "" : held(hold->second);
    lines_.push_back("volume " + name(volume.name) + " class " + class_name(volume.storage_class) + " of spec " +
                     name(volume.spec_class) + " holds " + number(volume.capacity) + " " +
                     std::to_string(volume.capacity_bytes) + " " + access_modes(volume.access_modes) + " " +
                     name(volume.volume_mode) + " " + name(volume.attributes_class) + " for " +
                     (volume.claim.valid() ? cluster_.claim_key(volume.claim) + " " + name(volume.claim_uid) : "none") +
                     " " + name(volume.phase) + flag(" available", volume.is_available) +
                     flag(" deleting", volume.is_deleting) + " " + labels(volume.labels) + " source " +
                     std::to_string(static_cast<int>(volume.source)) + " " + driver_name(volume.driver) + " " +
                     name(volume.handle) + " " + name(volume.plugin) + " " + name(volume.translation_error) + " from " +
                     selector(volume.affinity) + " migrated " + selector(volume.migrated_affinity) + taken);
  }

  void storage_class(const StorageClass& of) {
    if (!of.exists) return;
    lines_.push_back("class " + name(of.name) + " " + name(of.provisioner) + " mode " +
                     std::to_string(static_cast<int>(of.mode)) + flag(" provisions", of.provisions) + " " +
                     driver_name(of.driver) + flag(" in-tree", of.is_in_tree) + " " + driver_name(of.migrated_driver) +
                     " allows " + selector(of.allowed) + " shares " + name(of.shared_capacity));
  }

  void pool(CapacityId id) {
    const Pool& pool = cluster_.capacities.at(id);
    const Nanos held_bytes = cluster_.capacities.held(id);
    if (held_bytes != 0) lines_.push_back("held in pool " + cluster_.pool_key(id) + " " + number(held_bytes));
    if (!pool.exists) return;
    const auto figure = [](bool is_given, std::int64_t bytes) { return is_given ? std::to_string(bytes) : "none"; };
    lines_.push_back("pool " + cluster_.pool_key(id) + " class " + class_name(pool.storage_class) + " capacity " +
                     figure(pool.has_capacity, pool.capacity_bytes) + " maximum " +
                     figure(pool.has_maximum, pool.maximum_bytes) + " " + selector(pool.topology));
  }

  void driver(DriverId id) {
    const bool tracks_capacity = cluster_.attach.tracks_capacity(id);
    const bool must_be_installed = cluster_.attach.must_be_installed(id);
    if (!tracks_capacity && !must_be_installed) return;  // as if there were no such object
    lines_.push_back("driver " + driver_name(id) + flag(" tracks capacity", tracks_capacity) +
                     flag(" must be installed", must_be_installed));
  }

  void kind(const PodKind& kind) {
    Parts places;
    for (const PodKind::Place& place : kind.places)
      places.push_back(name(cluster_.nodes_[place.row.index()].name) + " x" + std::to_string(place.count));
    if (places.empty()) return;
    lines_.push_back("kind " + name(kind.space) + " " + labels(kind.labels) +
                     flag(" terminating", kind.is_terminating) + " terms " +
                     (kind.terms ? fingerprint(kind.terms->content) : "none") + " " + sorted(std::move(places)));
  }

  void workloads() {
    cluster_.workloads.for_each_service([&](StringId space, StringId of, const Labels* selects) {
      lines_.push_back("service " + name(space) + "/" + name(of) + " " +
                       (selects == nullptr ? "none" : sorted(label_parts(*selects))));
    });
    cluster_.workloads.for_each_controller(
        [&](OwnerKind kind, StringId space, StringId of, const LabelSelector& selects) {
          lines_.push_back("controller " + std::to_string(static_cast<int>(kind)) + " " + name(space) + "/" + name(of) +
                           " " + selector(selects));
        });
    for (const auto& [space, of] : cluster_.workloads.namespaces())
      lines_.push_back("namespace " + name(space) + " " + labels(of));
  }

  const Cluster& cluster_;
  std::vector<Parts> on_row_;  ///< ports and disks in use, by row
  Parts lines_;
};

std::string Cluster::digest() {
  refresh_attachments();
  return ClusterDigest(*this).text();
}

}  // namespace volsched
