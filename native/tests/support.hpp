#pragma once

// What the native tests share: seeded chance, objects as packed rows, and naive pictures of sets of nodes.
//
// Rows are written here field by field as engine/rows.py writes them, not by calling the reader's code, so that a test
// of the reader is a test of the format. Every object has a struct with a plain default for each field; a test names
// only what it is about.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "volsched/amount.hpp"
#include "volsched/cluster.hpp"
#include "volsched/error.hpp"
#include "volsched/ids.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/selectors.hpp"

namespace volsched::test {

/// Seeded numbers for randomised tests; splitmix64, so that a seed means the same everywhere.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() { return mix64(state_ += 0x9e3779b97f4a7c15ULL); }
  /// In [0, bound); bound is small, so the bias does not matter.
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }
  std::uint32_t below32(std::uint32_t bound) { return static_cast<std::uint32_t>(next() % bound); }
  /// In [from, to].
  std::int64_t between(std::int64_t from, std::int64_t to) {
    return from + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(to - from + 1));
  }
  bool percent(std::size_t chance) { return below(100) < chance; }
  template <class T>
  const T& one_of(const std::vector<T>& values) {
    return values[below(values.size())];
  }

 private:
  std::uint64_t state_;
};

// Sets of nodes
// ---------------------------------------------------------------------------------------------------------------------------

using Rows = std::set<std::uint32_t>;

inline NodeId node(std::size_t row) {
  return NodeId(row);
}

/// The members of a NodeMask or NodeSet.
template <class Nodes>
Rows rows_of(const Nodes& nodes) {
  Rows found;
  nodes.for_each([&](NodeId row) { found.insert(row.value()); });
  return found;
}

inline NodeMask mask_of(std::size_t size, const Rows& rows) {
  NodeMask mask(size);
  for (const std::uint32_t row : rows) mask.set(NodeId(row));
  return mask;
}

/// Names of nodes that exist, from a mask.
inline std::set<std::string> names_of(const Cluster& cluster, const NodeMask& nodes) {
  std::set<std::string> names;
  nodes.for_each([&](NodeId row) { names.insert(cluster.strings.str(cluster.node(row).name)); });
  return names;
}

// Rows
// ------------------------------------------------------------------------------------------------------------------------------------

using Texts = std::vector<std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;
using Amounts = std::vector<std::pair<std::string, std::int64_t>>;

class Packer {
 public:
  Packer& u8(std::uint8_t value) {
    bytes_.push_back(static_cast<char>(value));
    return *this;
  }
  Packer& flag(bool value) { return u8(value ? 1 : 0); }
  Packer& u32(std::size_t value) { return raw(static_cast<std::uint32_t>(value)); }
  Packer& i64(std::int64_t value) { return raw(value); }
  Packer& nanos(Nanos value) { return raw(value); }
  Packer& text(std::string_view value) {
    u32(value.size());
    bytes_.append(value);
    return *this;
  }
  Packer& texts(const Texts& values) {
    u32(values.size());
    for (const std::string& value : values) text(value);
    return *this;
  }
  Packer& pairs(const Pairs& values) {
    u32(values.size());
    for (const auto& [key, value] : values) text(key).text(value);
    return *this;
  }
  Packer& amounts(const Amounts& values) {
    u32(values.size());
    for (const auto& [name, amount] : values) text(name).i64(amount);
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  template <class Value>
  Packer& raw(Value value) {
    char buffer[sizeof value];
    std::memcpy(buffer, &value, sizeof value);
    bytes_.append(buffer, sizeof value);
    return *this;
  }

  std::string bytes_;
};

struct Expression {
  std::string key = {};
  Op op = Op::kExists;
  Texts values = {};
};
using Expressions = std::vector<Expression>;

/// A NodeSelectorTerm.
struct TermText {
  Expressions labels = {};
  Expressions fields = {};
};
using SelectorText = std::vector<TermText>;

/// A LabelSelector.
struct LabelSelectorText {
  Pairs labels = {};
  Expressions expressions = {};
};

inline void pack(Packer& to, const Expressions& expressions) {
  to.u32(expressions.size());
  for (const Expression& expression : expressions)
    to.text(expression.key).u8(static_cast<std::uint8_t>(expression.op)).texts(expression.values);
}
inline void pack(Packer& to, const TermText& term) {
  pack(to, term.labels);
  pack(to, term.fields);
}
inline void pack(Packer& to, const SelectorText& selector) {
  to.u32(selector.size());
  for (const TermText& term : selector) pack(to, term);
}
inline void pack(Packer& to, const LabelSelectorText& selector) {
  to.pairs(selector.labels);
  pack(to, selector.expressions);
}
template <class Value>
void pack(Packer& to, const std::optional<Value>& value) {
  to.flag(value.has_value());
  if (value) pack(to, *value);
}

/// The name of a node, its labels and what it offers.
struct NodeText {
  struct TaintText {
    std::string key = {};
    std::string value = {};
    TaintEffect effect = TaintEffect::kNoSchedule;
  };
  struct Image {
    Texts names = {};
    std::int64_t bytes = 0;
  };
  std::string name = {};
  Pairs labels = {};
  bool is_unschedulable = false;
  std::vector<TaintText> taints = {};
  std::int64_t milli_cpu = 4000;
  std::int64_t memory_bytes = 8LL << 30;
  std::int64_t ephemeral_bytes = 100LL << 30;
  std::int64_t pods = 110;
  Amounts scalars = {};
  std::vector<Image> images = {};
  Texts features = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(name).pairs(labels).flag(is_unschedulable).u32(taints.size());
    for (const TaintText& taint : taints)
      to.text(taint.key).text(taint.value).u8(static_cast<std::uint8_t>(taint.effect));
    to.i64(milli_cpu).i64(memory_bytes).i64(ephemeral_bytes).i64(pods).amounts(scalars).u32(images.size());
    for (const Image& image : images) to.texts(image.names).i64(image.bytes);
    return to.texts(features).bytes();
  }
};

struct CsiNodeText {
  struct DriverText {
    std::string name = {};
    std::optional<std::int64_t> count = {};
  };
  std::string name = {};
  Texts migrated_plugins = {};
  std::vector<DriverText> drivers = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(name).texts(migrated_plugins).u32(drivers.size());
    for (const DriverText& driver : drivers)
      to.text(driver.name).flag(driver.count.has_value()).i64(driver.count.value_or(0));
    return to.bytes();
  }
};

struct CsiDriverText {
  std::string name = {};
  bool tracks_capacity = false;
  bool must_be_installed = false;

  [[nodiscard]] std::string row() const {
    return Packer().text(name).flag(tracks_capacity).flag(must_be_installed).bytes();
  }
};

struct AttachmentText {
  std::string name = {};
  std::string node = {};
  std::string attacher = {};
  std::string volume = {};

  [[nodiscard]] std::string row() const { return Packer().text(name).text(node).text(attacher).text(volume).bytes(); }
};

constexpr Nanos kNanosPerByte = 1000000000;
constexpr std::int64_t kGi = 1LL << 30;

struct ClaimRefText {
  std::string space = "default";
  std::string name = {};
  std::string uid = {};
};

struct VolumeText {
  std::string name = {};
  std::string version = "1";
  std::string storage_class = {};
  std::optional<std::string> spec_class = {};  ///< as storage_class when unset
  std::int64_t bytes = 10 * kGi;
  Nanos more_nanos = 0;
  Texts access_modes = {"ReadWriteOnce"};
  std::string volume_mode = "Filesystem";
  std::string attributes_class = {};
  std::optional<ClaimRefText> claim = {};
  std::string phase = "Available";
  bool is_deleting = false;
  Pairs labels = {};
  std::optional<SelectorText> affinity = {};
  VolumeSource source = VolumeSource::kOther;
  std::string plugin = {};  ///< migratable
  std::string driver = {};  ///< CSI, or what a migratable one becomes
  std::string handle = {};
  std::string translation_error = {};  ///< migratable, and the translation fails
  std::optional<SelectorText> migrated_affinity = {};

  [[nodiscard]] Nanos capacity() const { return Nanos{bytes} * kNanosPerByte + more_nanos; }
  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(name)
        .text(version)
        .text(storage_class)
        .text(spec_class.value_or(storage_class))
        .nanos(capacity())
        .i64(bytes + (more_nanos > 0 ? 1 : 0));
    to.texts(access_modes).text(volume_mode).text(attributes_class).flag(claim.has_value());
    if (claim) to.text(claim->space).text(claim->name).text(claim->uid);
    to.text(phase).flag(is_deleting).pairs(labels);
    pack(to, affinity);
    to.u8(static_cast<std::uint8_t>(source));
    if (source == VolumeSource::kCsi) to.text(driver).text(handle);
    if (source == VolumeSource::kMigratable) {
      to.text(plugin).flag(translation_error.empty());
      if (translation_error.empty()) {
        to.text(driver).text(handle);
        pack(to, migrated_affinity);
      } else {
        to.text(translation_error);
      }
    }
    return to.bytes();
  }
};

struct ClaimText {
  std::string space = "default";
  std::string name = {};
  std::string uid = {};
  std::string version = "1";
  std::string storage_class = {};
  std::optional<std::string> spec_class = {};  ///< as storage_class when unset
  bool has_request = true;
  std::int64_t bytes = 5 * kGi;
  Nanos more_nanos = 0;
  Texts access_modes = {"ReadWriteOnce"};
  std::string volume_mode = "Filesystem";
  std::string attributes_class = {};
  std::optional<LabelSelectorText> selector = {};
  std::string volume = {};
  bool is_bind_completed = false;
  std::optional<std::string> selected_node = {};
  bool is_lost = false;
  bool is_deleting = false;
  std::string owner_uid = {};

  [[nodiscard]] Nanos request() const { return has_request ? Nanos{bytes} * kNanosPerByte + more_nanos : 0; }
  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(space).text(name).text(uid).text(version).text(storage_class).text(spec_class.value_or(storage_class));
    to.flag(has_request)
        .nanos(request())
        .i64(has_request ? bytes + (more_nanos > 0 ? 1 : 0) : 0)
        .texts(access_modes)
        .text(volume_mode);
    to.text(attributes_class);
    pack(to, selector);
    to.text(volume).flag(is_bind_completed).flag(selected_node.has_value()).text(selected_node.value_or(""));
    return to.flag(is_lost).flag(is_deleting).text(owner_uid).bytes();
  }
};

/// An allowedTopologies expression.
struct TopologyText {
  std::string key = {};
  Texts values = {};
};

struct ClassText {
  std::string name = {};
  std::string provisioner = "csi.example.com";
  bool is_in_tree = false;
  std::string migrated_driver = {};
  BindingMode mode = BindingMode::kWaitForFirstConsumer;
  std::vector<std::vector<TopologyText>> allowed = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(name)
        .text(provisioner)
        .flag(is_in_tree)
        .text(migrated_driver)
        .u8(static_cast<std::uint8_t>(mode))
        .u32(allowed.size());
    for (const auto& term : allowed) {
      to.u32(term.size());
      for (const TopologyText& expression : term) to.text(expression.key).texts(expression.values);
    }
    return to.bytes();
  }
};

struct CapacityText {
  std::string space = "default";
  std::string name = {};
  std::string storage_class = {};
  std::optional<LabelSelectorText> topology = LabelSelectorText{};
  std::optional<std::int64_t> capacity = 100 * kGi;
  std::optional<std::int64_t> maximum = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(space).text(name).text(storage_class);
    pack(to, topology);
    return to.flag(capacity.has_value())
        .i64(capacity.value_or(0))
        .flag(maximum.has_value())
        .i64(maximum.value_or(0))
        .bytes();
  }
};

struct UsageText {
  std::int64_t milli_cpu = 100;
  std::int64_t memory_bytes = 1LL << 28;
  std::int64_t ephemeral_bytes = 0;
  std::int64_t scored_milli_cpu = 100;
  std::int64_t scored_memory_bytes = 1LL << 28;
  Amounts scalars = {};

  void pack_to(Packer& to) const {
    to.i64(milli_cpu)
        .i64(memory_bytes)
        .i64(ephemeral_bytes)
        .i64(scored_milli_cpu)
        .i64(scored_memory_bytes)
        .amounts(scalars);
  }
  [[nodiscard]] std::string row() const {
    Packer to;
    pack_to(to);
    return to.bytes();
  }
};

/// What pods of one template share.
struct ProgramText {
  struct TolerationText {
    Toleration::Op op = Toleration::Op::kEqual;
    std::string key = {};
    std::string value = {};
    TaintEffect effect = TaintEffect::kAny;
  };
  struct Preferred {
    std::int64_t weight = 1;
    TermText term = {};
  };
  struct Port {
    std::string protocol = "TCP";
    std::string ip = "0.0.0.0";
    std::uint32_t port = 0;
  };
  struct Inline {
    std::string driver = {};
    std::string handle = {};
    std::string error = {};
  };
  struct Disk {
    DiskKind kind = DiskKind::kGcePersistentDisk;
    std::string name = {};
    std::string pool = {};
    bool is_read_only = false;
    Texts monitors = {};
  };
  struct Spread {
    std::string key = {};
    std::int64_t max_skew = 1;
    std::int64_t domains_min = 1;
    SpreadMode mode = SpreadMode::kSoft;
    bool honors_affinity = true;
    bool honors_taints = false;
    std::optional<LabelSelectorText> selector = {};
  };
  /// A pod affinity term; the weight is negative for anti-affinity that should hold.
  struct PodTermText {
    std::int64_t weight = 1;
    std::string key = {};
    std::optional<LabelSelectorText> selector = {};
    Texts namespaces = {};
    std::optional<LabelSelectorText> namespace_selector = {};
  };
  using PodTermTexts = std::vector<PodTermText>;
  std::vector<TolerationText> tolerations = {};
  std::optional<Pairs> node_selector = {};
  std::optional<SelectorText> required = {};
  std::optional<Texts> name_set = {};
  std::optional<std::vector<Preferred>> preferred = {};
  std::vector<Port> ports = {};
  UsageText usage = {};
  std::int64_t fit_milli_cpu = 100;
  std::int64_t fit_memory_bytes = 1LL << 28;
  Texts images = {};
  Texts features = {};
  std::vector<Inline> inline_volumes = {};
  std::vector<Disk> disks = {};
  std::vector<Spread> spread = {};
  PodTermTexts affinity = {};
  PodTermTexts anti_affinity = {};
  PodTermTexts preferred_near = {};
  PodTermTexts preferred_far = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.u32(tolerations.size());
    for (const TolerationText& toleration : tolerations) {
      to.u8(static_cast<std::uint8_t>(toleration.op))
          .text(toleration.key)
          .text(toleration.value)
          .u8(static_cast<std::uint8_t>(toleration.effect));
    }
    to.flag(node_selector.has_value());
    if (node_selector) to.pairs(*node_selector);
    pack(to, required);
    to.flag(name_set.has_value());
    if (name_set) to.texts(*name_set);
    to.flag(preferred.has_value());
    if (preferred) {
      to.u32(preferred->size());
      for (const Preferred& one : *preferred) {
        to.i64(one.weight);
        pack(to, one.term);
      }
    }
    to.u32(ports.size());
    for (const Port& port : ports) to.text(port.protocol).text(port.ip).u32(port.port);
    usage.pack_to(to);
    to.i64(fit_milli_cpu).i64(fit_memory_bytes).texts(images).texts(features).u32(inline_volumes.size());
    for (const Inline& volume : inline_volumes) {
      to.flag(volume.error.empty());
      if (volume.error.empty()) {
        to.text(volume.driver).text(volume.handle);
      } else {
        to.text(volume.error);
      }
    }
    to.u32(disks.size());
    for (const Disk& disk : disks) {
      to.u8(static_cast<std::uint8_t>(disk.kind))
          .text(disk.name)
          .text(disk.pool)
          .flag(disk.is_read_only)
          .texts(disk.monitors);
    }
    to.u32(spread.size());
    for (const Spread& constraint : spread) {
      to.text(constraint.key).i64(constraint.max_skew).i64(constraint.domains_min);
      to.u8(static_cast<std::uint8_t>(constraint.mode)).flag(constraint.honors_affinity).flag(constraint.honors_taints);
      pack(to, constraint.selector);
    }
    for (const PodTermTexts* terms : {&affinity, &anti_affinity, &preferred_near, &preferred_far}) {
      to.u32(terms->size());
      for (const PodTermText& term : *terms) {
        to.i64(term.weight).text(term.key);
        pack(to, term.selector);
        to.texts(term.namespaces);
        pack(to, term.namespace_selector);
      }
    }
    return to.bytes();
  }
};

/// What is a pod's own.
struct PodText {
  struct ClaimUseText {
    std::string claim = {};
    bool is_ephemeral = false;
  };
  std::string space = "default";
  std::string name = {};
  std::string uid = {};
  std::string node = {};
  Pairs labels = {};
  bool is_terminating = false;
  std::int64_t priority = 0;
  OwnerKind owner_kind = OwnerKind::kNone;
  std::string owner = {};
  std::vector<ClaimUseText> claims = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.text(space).text(name).text(uid).text(node).pairs(labels).flag(is_terminating).i64(priority);
    to.u8(static_cast<std::uint8_t>(owner_kind)).text(owner).u32(claims.size());
    for (const ClaimUseText& use : claims) to.text(use.claim).flag(use.is_ephemeral);
    return to.bytes();
  }
};

struct ServiceText {
  std::string space = "default";
  std::string name = {};
  std::optional<Pairs> selector = {};

  [[nodiscard]] std::string row() const {
    return Packer().text(space).text(name).flag(selector.has_value()).pairs(selector.value_or(Pairs{})).bytes();
  }
};

/// A ReplicationController, ReplicaSet or StatefulSet.
struct ControllerText {
  OwnerKind kind = OwnerKind::kReplicaSet;
  std::string space = "default";
  std::string name = {};
  LabelSelectorText selector = {};

  [[nodiscard]] std::string row() const {
    Packer to;
    to.u8(static_cast<std::uint8_t>(kind)).text(space).text(name);
    pack(to, selector);
    return to.bytes();
  }
};

struct NamespaceText {
  std::string name = {};
  Pairs labels = {};

  [[nodiscard]] std::string row() const { return Packer().text(name).pairs(labels).bytes(); }
};

inline std::vector<PodText::ClaimUseText> uses_of(const Texts& claims) {
  std::vector<PodText::ClaimUseText> uses;
  for (const std::string& claim : claims) uses.push_back({claim, false});
  return uses;
}

/// Expressions `key in (values)`, the commonest selector.
inline SelectorText where(const std::string& key, const Texts& values) {
  return {{{{key, Op::kIn, values}}, {}}};
}

/// The message of the Error that `action` throws; fails the test when it throws none.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& problem) {
    return problem.what();
  }
  ADD_FAILURE() << "no error was raised";
  return {};
}

}  // namespace volsched::test

/// A structure's self-check has nothing to say.
#define EXPECT_SOUND(...) EXPECT_EQ((__VA_ARGS__), "")
#define ASSERT_SOUND(...) ASSERT_EQ((__VA_ARGS__), "")
