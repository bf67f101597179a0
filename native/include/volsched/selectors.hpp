#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "volsched/hash_index.hpp"
#include "volsched/ids.hpp"
#include "volsched/labels.hpp"
#include "volsched/node_mask.hpp"
#include "volsched/row_reader.hpp"
#include "volsched/shared_vector.hpp"
#include "volsched/strings.hpp"

namespace volsched {

enum class Op : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist, kGt, kLt, kUnknown };

/// One valid requirement, canonical: values sorted, each once; `bound` only for Gt and Lt.
struct Requirement {
  StringId key;
  Op op = Op::kExists;
  std::int64_t bound = 0;
  std::vector<StringId> values;
  auto operator<=>(const Requirement&) const = default;
};

/// A conjunction; the empty one holds for every label set.
using Term = std::vector<Requirement>;

/// A disjunction; zero terms hold for none.
struct NodeSelector {
  std::vector<Term> terms;
  bool operator==(const NodeSelector&) const = default;

  static NodeSelector everything() { return {{Term{}}}; }
  static NodeSelector nothing() { return {}; }
  /// Sort terms and requirements, drop doubles; a term that always holds makes the others pointless.
  void canonicalize();
};

/// A selector over label sets as objects carry it.
struct LabelSelector {
  Term requirements;
  std::string error;  ///< set: the selector is invalid; told by the row, in upstream's words

  [[nodiscard]] bool matches(const Labels& labels, const StringPool& strings) const;
};

[[nodiscard]] bool matches(const Requirement& requirement, StringId value, const StringPool& strings);
[[nodiscard]] bool matches(const Term& term, const Labels& labels, const StringPool& strings);

/// Kubernetes' syntax rules. Source: apimachinery/pkg/util/validation.
[[nodiscard]] bool is_label_key(std::string_view text);
[[nodiscard]] bool is_label_value(std::string_view text);
/// strconv.ParseInt(text, 10, 64).
[[nodiscard]] bool parse_int64(std::string_view text, std::int64_t& value);

/// Who the terms are read for: a pod's own affinity compares `matchFields` with the node; a volume's ignores valid
/// ones. Source: spec/scheduling.md 6.2.
enum class FieldsAre { kCompared, kIgnored };

NodeSelector read_node_selector(RowReader& reader, StringPool& strings, StringId name_key, FieldsAre fields);
/// One preferred term of a pod; an invalid one selects nothing.
NodeSelector read_preferred_term(RowReader& reader, StringPool& strings, StringId name_key);
LabelSelector read_label_selector(RowReader& reader, StringPool& strings);
/// allowedTopologies of a storage class: every expression is an In. No terms at all hold for every node.
NodeSelector read_allowed_topologies(RowReader& reader, StringPool& strings);

/// A node that has begun or ceased to match a selector.
struct SelectorChange {
  SelectorId selector;
  NodeId row;
  bool joined = false;
};

/// Node selectors, each once, with the nodes that match it kept up to date. A selector waits at the label pairs of one
/// In requirement of each of its terms, so that a node's change looks only at selectors that its old or new labels can
/// concern.
class SelectorIndex {
 public:
  /// `selector` need not be canonical.
  SelectorId intern(NodeSelector selector, LabelIndex& labels, const StringPool& strings);
  [[nodiscard]] const NodeSet& nodes(SelectorId id) const { return entries_[id.index()].nodes; }
  [[nodiscard]] const NodeSelector& selector(SelectorId id) const { return entries_[id.index()].selector; }
  /// Grows with every change of nodes(id).
  [[nodiscard]] std::uint64_t version(SelectorId id) const { return entries_[id.index()].version; }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  /// To be called before a node's labels change, with the labels it has, and `finish_update` after.
  void begin_update(const Labels& old_labels, const LabelIndex& labels);
  /// Re-evaluates what the old or new labels concern; the changes are valid until the next call.
  const std::vector<SelectorChange>& finish_update(NodeId row, const LabelIndex& labels, const StringPool& strings,
                                                   std::size_t rows);

  [[nodiscard]] std::size_t bytes() const;
  /// Compares every stored node set with a fresh evaluation.
  [[nodiscard]] std::string validate(const LabelIndex& labels, const StringPool& strings) const;

 private:
  struct Entry {
    NodeSelector selector;
    NodeSet nodes;
    std::uint64_t version = 0;
  };
  [[nodiscard]] bool holds(const NodeSelector& selector, NodeId row, const LabelIndex& labels,
                           const StringPool& strings) const;
  void consider(SelectorId id);
  void consider_anchored(const Labels& of, const LabelIndex& labels);

  SharedVector<Entry> entries_;
  HashIndex by_content_;
  SharedVector<std::vector<SelectorId>> anchored_;  ///< by PairId
  std::vector<SelectorId> unanchored_;              ///< selectors with a term that no pair stands for
  std::vector<SelectorId> candidates_;
  std::vector<SelectorChange> changes_;
};

}  // namespace volsched
