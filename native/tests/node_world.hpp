#pragma once

// Nodes with labels, as the indexes over nodes see them, and the same nodes as plain maps with a matcher of their own.

#include <algorithm>
#include <cstdlib>

#include "support.hpp"
#include "volsched/labels.hpp"
#include "volsched/selectors.hpp"

namespace volsched::test {

using PlainLabels = std::map<std::string, std::string>;

/// spec/scheduling.md 6.1 for labels whose numbers are small.
inline bool plain_holds(const Expression& expression, const PlainLabels& labels) {
  const auto found = labels.find(expression.key);
  const bool has = found != labels.end();
  const auto is_listed = [&] {
    return std::find(expression.values.begin(), expression.values.end(), found->second) != expression.values.end();
  };
  const auto number = [](const std::string& text) -> std::optional<long> {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    return text.empty() || *end != '\0' ? std::nullopt : std::optional(value);
  };
  switch (expression.op) {
    case Op::kIn:
      return has && is_listed();
    case Op::kNotIn:
      return !has || !is_listed();
    case Op::kExists:
      return has;
    case Op::kDoesNotExist:
      return !has;
    case Op::kGt:
      return has && number(found->second) && *number(found->second) > std::atol(expression.values[0].c_str());
    case Op::kLt:
      return has && number(found->second) && *number(found->second) < std::atol(expression.values[0].c_str());
    case Op::kUnknown:
      return false;
  }
  return false;
}

inline bool plain_holds(const Expressions& expressions, const PlainLabels& labels) {
  return std::all_of(expressions.begin(), expressions.end(),
                     [&](const Expression& each) { return plain_holds(each, labels); });
}

/// spec/scheduling.md 6.2 for valid terms; `name` is what fields are compared with.
inline bool plain_matches(const SelectorText& selector, const PlainLabels& labels, const std::string& name) {
  return std::any_of(selector.begin(), selector.end(), [&](const TermText& term) {
    if (term.labels.empty() && term.fields.empty()) return false;
    return plain_holds(term.labels, labels) && plain_holds(term.fields, PlainLabels{{"metadata.name", name}});
  });
}

/// A label selector of labels alone, or with expressions, on an object's labels.
inline bool plain_matches(const LabelSelectorText& selector, const PlainLabels& labels) {
  return std::all_of(
             selector.labels.begin(), selector.labels.end(),
             [&](const auto& pair) { return plain_holds(Expression{pair.first, Op::kIn, {pair.second}}, labels); }) &&
         plain_holds(selector.expressions, labels);
}

/// Nodes by row, kept in the engine's structures and in a map.
class NodeWorld {
 public:
  StringPool strings;
  LabelIndex labels{strings};
  SelectorIndex selectors;
  LabelSets label_sets;
  std::size_t rows = 0;
  std::map<std::uint32_t, PlainLabels> plain;

  [[nodiscard]] StringId id(const std::string& text) { return strings.intern(text); }
  [[nodiscard]] static std::string name_of(std::uint32_t row) { return "n" + std::to_string(row); }

  [[nodiscard]] NodeSelector read(const SelectorText& text) {
    Packer to;
    pack(to, text);
    RowReader reader("selector", to.bytes());
    return read_node_selector(reader, strings, labels.name_key(), FieldsAre::kCompared);
  }
  [[nodiscard]] LabelSelector read(const LabelSelectorText& text) {
    Packer to;
    pack(to, text);
    RowReader reader("selector", to.bytes());
    return read_label_selector(reader, strings);
  }
  /// No selector at all matches every node.
  SelectorId selector(const std::optional<SelectorText>& text) {
    return selectors.intern(text ? read(*text) : NodeSelector::everything(), labels, strings);
  }
  LabelSetId label_set(const PlainLabels& of) {
    Labels made;
    for (const auto& [key, value] : of) made.push_back({id(key), id(value)});
    sort_labels(made);
    return label_sets.intern(made);
  }
  /// Replace a node's labels by the steps the engine takes; none at all: the node is gone.
  std::vector<SelectorChange> set_node(std::uint32_t row, const std::optional<PlainLabels>& fresh) {
    rows = std::max<std::size_t>(rows, row + 1);
    for (std::size_t each = labels.live().size(); each < rows; ++each) labels.assign(NodeId(each), {}, rows);
    Labels made;
    if (fresh) {
      made.push_back({labels.name_key(), id(name_of(row))});
      for (const auto& [key, value] : *fresh) made.push_back({id(key), id(value)});
      sort_labels(made);
      plain[row] = *fresh;
    } else {
      plain.erase(row);
    }
    selectors.begin_update(labels.of(NodeId(row)), labels);
    labels.assign(NodeId(row), std::move(made), rows);
    return selectors.finish_update(NodeId(row), labels, strings, rows);
  }
  [[nodiscard]] bool matches(const std::optional<SelectorText>& selector, std::uint32_t row) const {
    const auto known = plain.find(row);
    return known != plain.end() && (!selector || plain_matches(*selector, known->second, name_of(row)));
  }
};

}  // namespace volsched::test
