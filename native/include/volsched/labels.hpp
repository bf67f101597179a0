#pragma once

#include <optional>
#include <string>
#include <vector>

#include "volsched/flat_map.hpp"
#include "volsched/hash_index.hpp"
#include "volsched/ids.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/strings.hpp"

namespace volsched {

/// One label; lists of them are sorted by key id, each key once.
struct Label {
  StringId key;
  StringId value;
  auto operator<=>(const Label&) const = default;
};
using Labels = std::vector<Label>;

/// The value of a key, an invalid id when it is missing.
[[nodiscard]] StringId label_value(const Labels& labels, StringId key);
/// Sort by key; of two entries with one key the later wins, as in a map.
void sort_labels(Labels& labels);

/// Label sets of pods, volumes and namespaces: equal sets are stored once.
class LabelSets {
 public:
  LabelSets();
  LabelSetId intern(const Labels& labels);
  [[nodiscard]] const Labels& at(LabelSetId id) const { return sets_[id.index()]; }
  [[nodiscard]] std::size_t size() const { return sets_.size(); }
  [[nodiscard]] std::size_t bytes() const;

  static constexpr LabelSetId kEmpty{std::uint32_t{0}};

 private:
  SharedVector<Labels> sets_;
  HashIndex by_hash_;
};

/// Which nodes carry which label: pair -> nodes, key -> nodes, key -> its values. A node's name is indexed as one more
/// label under a key that no object can have, so that a selector on `metadata.name` is a selector like any other.
class LabelIndex {
 public:
  explicit LabelIndex(StringPool& strings) : name_key_(strings.intern("\x01metadata.name")) {}

  /// Replace a node's labels. `labels` is sorted; it includes the name pair for a node that exists and is empty for one
  /// that does not.
  void assign(NodeId row, Labels labels, std::size_t rows);
  [[nodiscard]] const Labels& of(NodeId row) const { return by_row_[row.index()]; }
  [[nodiscard]] StringId value(NodeId row, StringId key) const { return label_value(by_row_[row.index()], key); }

  /// The id of a pair, made when it is new: selectors may wait for a pair that no node has yet.
  PairId pair(Label label);
  [[nodiscard]] PairId find_pair(Label label) const { return PairId(pair_ids_.find(pack(label.key, label.value))); }
  [[nodiscard]] const NodeSet& with_pair(PairId id) const { return pairs_[id.index()].nodes; }
  /// Nodes that carry the key at all; nullptr when none ever did.
  [[nodiscard]] const NodeSet* with_key(StringId key) const;
  /// Pairs of a key.
  [[nodiscard]] const std::vector<PairId>& values_of(StringId key) const;
  [[nodiscard]] Label label(PairId id) const { return pairs_[id.index()].label; }
  /// Rows that exist: those that have a name pair.
  [[nodiscard]] const NodeMask& live() const { return live_; }
  [[nodiscard]] StringId name_key() const { return name_key_; }
  /// Grows with every change of any node's labels.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] std::string validate() const;

 private:
  struct Pair {
    Label label;
    NodeSet nodes;
  };
  struct Key {
    NodeSet nodes;
    std::vector<PairId> values;
  };
  Key& key_entry(StringId key);

  StringId name_key_;
  SharedVector<Labels> by_row_;
  SharedVector<Pair> pairs_;
  FlatMap pair_ids_;
  std::vector<Key> keys_;
  FlatMap key_ids_;
  NodeMask live_;
  std::uint64_t version_ = 1;
};

}  // namespace volsched
