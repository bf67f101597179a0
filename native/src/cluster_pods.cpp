// Pods of a Cluster: compiling, counting on nodes, assume and forget.

#include <algorithm>

#include "volsched/cluster.hpp"
#include "volsched/error.hpp"
#include "volsched/row_reader.hpp"

namespace volsched {

// Compiling
// ------------------------------------------------------------------------------------------------------------------------------

Usage Cluster::read_usage(RowReader& reader) {
  Usage usage;
  usage.milli_cpu = reader.i64();
  usage.memory_bytes = reader.i64();
  usage.ephemeral_bytes = reader.i64();
  usage.scored_milli_cpu = reader.i64();
  usage.scored_memory_bytes = reader.i64();
  usage.scalars = read_scalars(reader);
  return usage;
}

std::vector<std::pair<std::uint32_t, std::int64_t>> Cluster::read_scalars(RowReader& reader) {
  std::vector<std::pair<std::uint32_t, std::int64_t>> scalars(reader.count());
  for (auto& [scalar, amount] : scalars) {
    scalar = resources.scalar(strings.intern(reader.text()));
    amount = reader.i64();
  }
  return scalars;
}

void Cluster::compile(RowReader& reader, PodProgram& program) {
  const auto text = [&] { return strings.intern(reader.text()); };
  program.tolerations.resize(reader.count());
  for (Toleration& toleration : program.tolerations) {
    const std::uint8_t op = reader.u8();
    toleration.op = op == 0 ? Toleration::Op::kEqual : op == 1 ? Toleration::Op::kExists : Toleration::Op::kOther;
    toleration.key = text();
    toleration.value = text();
    const std::uint8_t effect = reader.u8();
    toleration.effect = effect <= 4 ? static_cast<TaintEffect>(effect) : TaintEffect::kOther;
  }
  program.has_node_selector = reader.flag();
  if (program.has_node_selector) {
    Term term;
    const std::uint32_t count = reader.count();
    for (std::uint32_t at = 0; at < count; ++at) {
      const StringId key = text();
      term.push_back({key, Op::kIn, 0, {text()}});
    }
    program.node_selector = selectors.intern({{std::move(term)}}, labels, strings);
  }
  program.has_required_affinity = reader.flag();
  if (program.has_required_affinity) {
    program.required_affinity =
        selectors.intern(read_node_selector(reader, strings, labels.name_key(), FieldsAre::kCompared), labels, strings);
  }
  program.has_name_set = reader.flag();
  if (program.has_name_set) {
    program.name_set.resize(reader.count());
    for (StringId& name : program.name_set) name = text();
  }
  program.has_preferred_affinity = reader.flag();
  if (program.has_preferred_affinity) {
    program.preferred.resize(reader.count());
    for (PreferredTerm& term : program.preferred) {
      term.weight = static_cast<std::int32_t>(reader.i64());
      term.selector = selectors.intern(read_preferred_term(reader, strings, labels.name_key()), labels, strings);
    }
    program.preferred_error = std::string(reader.text());
  }
  program.ports.resize(reader.count());
  for (HostPort& port : program.ports) {
    port.protocol = text();
    port.ip = text();
    port.port = reader.u32();
  }
  program.usage = read_usage(reader);
  program.fit_milli_cpu = reader.i64();
  program.fit_memory_bytes = reader.i64();
  program.images.resize(reader.count());
  for (StringId& image : program.images) image = text();
  program.features.resize(reader.count());
  for (StringId& feature : program.features) feature = text();
  program.inline_volumes.resize(reader.count());
  for (InlineVolume& volume : program.inline_volumes) {
    if (reader.flag()) {
      volume.driver = attach.driver(text());
      volume.handle = text();
    } else {
      volume.error = std::string(reader.text());
    }
  }
  program.disks.resize(reader.count());
  for (InlineDisk& disk : program.disks) {
    disk.kind = static_cast<DiskKind>(std::min<std::uint8_t>(reader.u8(), 3));
    disk.name = text();
    disk.pool = text();
    disk.is_read_only = reader.flag();
    disk.monitors.resize(reader.count());
    for (StringId& monitor : disk.monitors) monitor = text();
  }
  compile_pod_terms(reader, program);
  program.has_fit_scalars = reader.has_list();
  if (program.has_fit_scalars) program.fit_scalars = read_scalars(reader);
  reader.finish();
}

ProgramPtr Cluster::program(std::string_view content) {
  const auto known = programs_.find(content);
  if (known != programs_.end()) return known->second;
  if (programs_.size() >= programs_purge_at_) {
    std::erase_if(programs_, [](const auto& entry) { return entry.second.use_count() == 1; });
    programs_purge_at_ = std::max<std::size_t>(4096, programs_.size() * 2);
  }
  auto made = std::make_shared<PodProgram>();
  made->content = std::string(content);
  RowReader reader("pod template", made->content);
  compile(reader, *made);
  programs_.emplace(made->content, made);
  return made;
}

PodInstance Cluster::instance(std::string_view bytes) {
  RowReader reader("pod", bytes);
  PodInstance read;
  read.space = strings.intern(reader.text());
  read.name = strings.intern(reader.text());
  read.uid = strings.intern(reader.text());
  read.node = strings.intern(reader.text());
  read.labels = read_label_set(reader);
  read.is_terminating = reader.flag();
  read.priority = reader.i64();
  const std::uint8_t owner = reader.u8();
  read.owner.kind = owner <= 3 ? static_cast<OwnerKind>(owner) : OwnerKind::kNone;
  read.owner.name = strings.intern(reader.text());
  read.claims.resize(reader.count());
  for (ClaimUse& use : read.claims) {
    use.claim = claims.slot(read.space, strings.intern(reader.text()));
    use.is_ephemeral = reader.flag();
  }
  reader.finish();
  return read;
}

// Counting
// -------------------------------------------------------------------------------------------------------------------------------

void Cluster::count_uses(const PodRow& pod, std::int32_t sign) {
  for (const ClaimUse& use : pod.instance.claims) {
    if (!use.is_ephemeral) claims.count_use(use.claim, sign);
  }
}

void Cluster::place(PodId id, NodeId row) {
  PodRow& pod = pods_.edit(id.index());
  pod.row = row;
  pod.exists = true;
  NodeRow& node = nodes_.edit(row.index());
  node.pods.push_back(id);
  resources.add(row, pod.used());
  images.touch(row);
  for (const HostPort& port : pod.program->ports) ports.add(row, port);
  for (const InlineDisk& disk : pod.program->disks) disks.add(row, disk);
  for (const ClaimUse& use : pod.instance.claims) claims.add_user(use.claim, id);
  if (node.exists) count_uses(pod, 1);
  pod.kind = kinds.intern(pod.instance.space, pod.instance.labels, pod.instance.is_terminating, pod.program);
  kinds.count(pod.kind, row, 1);
  attach_pod(id);
  pod_ids_.set(pack(pod.instance.space, pod.instance.name), id.value());
}

void Cluster::displace(PodId id) {
  detach_pod(id);
  PodRow& pod = pods_.edit(id.index());
  NodeRow& node = nodes_.edit(pod.row.index());
  if (node.exists) count_uses(pod, -1);
  kinds.count(pod.kind, pod.row, -1);
  for (const ClaimUse& use : pod.instance.claims) claims.remove_user(use.claim, id);
  for (const InlineDisk& disk : pod.program->disks) disks.remove(pod.row, disk);
  for (const HostPort& port : pod.program->ports) ports.remove(pod.row, port);
  resources.subtract(pod.row, pod.used());
  images.touch(pod.row);
  // as upstream: the last pod takes the place of the one that leaves
  const auto at = std::find(node.pods.begin(), node.pods.end(), id);
  *at = node.pods.back();
  node.pods.pop_back();
  pod_ids_.erase(pack(pod.instance.space, pod.instance.name));
  const NodeId row = pod.row;
  pod = PodRow{};
  free_pods_.push_back(id);
  release_if_unused(row);
}

PodRow Cluster::guest(std::string_view content, std::string_view instance_row, std::string_view usage_row, NodeId row) {
  PodRow made;
  made.instance = instance(instance_row);
  made.program = program(content);
  if (!usage_row.empty()) {
    RowReader reader("pod usage", usage_row);
    auto usage = std::make_shared<Usage>(read_usage(reader));
    reader.finish();
    if (*usage != made.program->usage) made.usage = std::move(usage);
  }
  made.row = row;
  return made;
}

void Cluster::put_pod(std::string_view content, std::string_view instance_row, std::string_view usage_row) {
  PodRow given = guest(content, instance_row, usage_row, NodeId());
  PodInstance& read = given.instance;
  const ProgramPtr& compiled = given.program;
  const std::shared_ptr<const Usage>& usage = given.usage;
  bump();
  const PodId known = find_pod(read.space, read.name);
  if (known.valid()) {
    PodRow& pod = pods_.edit(known.index());
    const bool is_same_use = pod.program == compiled && (usage ? *usage : compiled->usage) == pod.used() &&
                             pod.instance.claims == read.claims && pod.instance.uid == read.uid &&
                             nodes_[pod.row.index()].name == read.node;
    if (is_same_use) {  // the usual case: the API server confirms what was assumed
      const KindId kind = kinds.intern(read.space, read.labels, read.is_terminating, pod.program);
      if (kind != pod.kind) {
        kinds.count(pod.kind, pod.row, -1);
        kinds.count(kind, pod.row, 1);
        pod.kind = kind;
      }
      pod.instance.labels = read.labels;
      pod.instance.is_terminating = read.is_terminating;
      pod.instance.priority = read.priority;
      pod.instance.owner = read.owner;
      pod.instance.node = read.node;
      pod.assumption = 0;
      NodeRow& node = nodes_.edit(pod.row.index());  // as upstream, which takes a changed pod out and puts it back
      std::swap(*std::find(node.pods.begin(), node.pods.end(), known), node.pods.back());
      if (node.attach_error.valid()) stale_attachments(pod.row);
      images.touch(pod.row);
      resources.touch(pod.row);
      return;
    }
    displace(known);
  }
  if (read.node == StringPool::kEmpty) return;
  PodId id(pods_.size());
  if (free_pods_.empty()) {
    pods_.emplace_back();
  } else {
    id = free_pods_.back();
    free_pods_.pop_back();
  }
  const NodeId row = node_slot(read.node);
  pods_.edit(id.index()) = std::move(given);
  place(id, row);
}

void Cluster::remove_pod(std::string_view space, std::string_view name) {
  const StringId space_id = strings.find(space);
  const StringId name_id = strings.find(name);
  if (!space_id.valid() || !name_id.valid()) return;
  const PodId id = find_pod(space_id, name_id);
  if (!id.valid()) return;
  displace(id);
  bump();
}

// Assume and forget
// ----------------------------------------------------------------------------------------------------------------------

AssumedState Cluster::assume(const ProgramPtr& compiled, const PodInstance& assumed, NodeId row, const Plan& plan) {
  if (find_pod(assumed.space, assumed.name).valid()) {
    throw Error("pod " + strings.str(assumed.space) + "/" + strings.str(assumed.name) +
                " is assumed or counted on a node already");
  }
  AssumedState state;
  state.id = next_assumption_++;
  for (const BindStep& step : plan.bind) {
    const Volume& volume = volumes.at(step.volume);
    const ClaimRef wanted{step.claim, claims.at(step.claim).uid};
    auto& layers = assumed_volumes_.try_emplace(step.volume.value()).first->second;
    if (layers.assumed.empty()) layers.own = {volume.claim, volume.claim_uid};
    layers.assumed.emplace_back(state.id, wanted);
    state.volumes.push_back(step.volume);
    if (volume.claim != wanted.claim || volume.claim_uid != wanted.claim_uid)
      volumes.reserve(step.volume, wanted.claim, wanted.claim_uid, strings);
  }
  const StringId node_name = nodes_[row.index()].name;
  for (const BindStep& step : plan.provision) {
    Claim& claim = claims.edit(step.claim);
    auto& layers = assumed_claims_.try_emplace(step.claim.value()).first->second;
    if (layers.assumed.empty()) layers.own = {claim.has_selected_node, claim.selected_node, {}};
    layers.assumed.emplace_back(state.id, Selection{true, node_name, step.holds});
    state.claims.push_back(step.claim);
    claim.has_selected_node = true;
    claim.selected_node = node_name;
    if (!step.holds.empty() || !named_pools_.empty() || !claim_holds_.empty()) settle_hold(step.claim);
  }
  PodId id(pods_.size());
  if (free_pods_.empty()) {
    pods_.emplace_back();
  } else {
    id = free_pods_.back();
    free_pods_.pop_back();
  }
  PodRow& pod = pods_.edit(id.index());
  pod.instance = assumed;
  pod.instance.node = node_name;
  pod.program = compiled;
  pod.assumption = state.id;
  place(id, row);
  state.pod = id;
  bump();
  return state;
}

void Cluster::forget(const AssumedState& state) {
  const PodRow& pod = pods_[state.pod.index()];
  if (pod.exists && pod.assumption == state.id) displace(state.pod);
  for (const ClaimId id : state.claims) {
    const auto known = assumed_claims_.find(id.value());
    if (known == assumed_claims_.end() || !known->second.forget(state.id)) continue;
    Claim& claim = claims.edit(id);
    claim.has_selected_node = known->second.effective().has_node;
    claim.selected_node = known->second.effective().node;
    if (known->second.assumed.empty()) assumed_claims_.erase(known);
    if (!claim_holds_.empty() || !named_pools_.empty()) settle_hold(id);
  }
  for (const VolumeId id : state.volumes) {
    const auto known = assumed_volumes_.find(id.value());
    if (known == assumed_volumes_.end() || !known->second.forget(state.id)) continue;
    const ClaimRef left = known->second.effective();
    const Volume& volume = volumes.at(id);
    if (volume.claim != left.claim || volume.claim_uid != left.claim_uid)
      volumes.reserve(id, left.claim, left.claim_uid, strings);
    if (known->second.assumed.empty()) assumed_volumes_.erase(known);
  }
  bump();
}

}  // namespace volsched
