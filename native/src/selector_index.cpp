#include <algorithm>

#include "volsched/selectors.hpp"

namespace volsched {

namespace {

void append(std::string& content, std::uint64_t word) {
  content.append(reinterpret_cast<const char*>(&word), sizeof word);
}

std::string content_of(const NodeSelector& selector) {
  std::string content;
  append(content, selector.terms.size());
  for (const Term& term : selector.terms) {
    append(content, term.size());
    for (const Requirement& requirement : term) {
      append(content, pack(requirement.key, StringId(static_cast<std::uint32_t>(requirement.op))));
      append(content, static_cast<std::uint64_t>(requirement.bound));
      append(content, requirement.values.size());
      for (const StringId value : requirement.values) append(content, value.value());
    }
  }
  return content;
}

/// The In requirement with the fewest values, nullptr when the term has none.
const Requirement* anchor_of(const Term& term) {
  const Requirement* anchor = nullptr;
  for (const Requirement& requirement : term) {
    if (requirement.op == Op::kIn && (anchor == nullptr || requirement.values.size() < anchor->values.size()))
      anchor = &requirement;
  }
  return anchor;
}

}  // namespace

bool SelectorIndex::holds(const NodeSelector& selector, NodeId row, const LabelIndex& labels,
                          const StringPool& strings) const {
  if (!labels.live().test(row)) return false;
  return std::any_of(selector.terms.begin(), selector.terms.end(),
                     [&](const Term& term) { return matches(term, labels.of(row), strings); });
}

SelectorId SelectorIndex::intern(NodeSelector selector, LabelIndex& labels, const StringPool& strings) {
  selector.canonicalize();
  const auto [known, is_new] =
      by_content_.try_emplace(content_of(selector), static_cast<std::uint32_t>(entries_.size()));
  if (!is_new) return SelectorId(known->second);

  const SelectorId id(entries_.size());
  Entry entry;
  const std::size_t rows = labels.live().size();
  bool is_unanchored = false;
  for (const Term& term : selector.terms) {
    const Requirement* anchor = anchor_of(term);
    const auto take = [&](NodeId row) {
      if (matches(term, labels.of(row), strings)) entry.nodes.insert(row, rows);
    };
    if (anchor == nullptr) {
      is_unanchored = true;
      labels.live().for_each(take);
      continue;
    }
    for (const StringId value : anchor->values) {
      const PairId pair = labels.pair({anchor->key, value});
      labels.with_pair(pair).for_each(take);
      if (anchored_.size() <= pair.index()) anchored_.resize(pair.index() + 1);
      auto& waiting = anchored_[pair.index()];
      if (waiting.empty() || waiting.back() != id) waiting.push_back(id);
    }
  }
  if (is_unanchored) unanchored_.push_back(id);
  entry.selector = std::move(selector);
  entries_.push_back(std::move(entry));
  return id;
}

void SelectorIndex::consider(SelectorId id) {
  if (entries_[id.index()].stamp == stamp_) return;
  entries_[id.index()].stamp = stamp_;
  candidates_.push_back(id);
}

void SelectorIndex::consider_anchored(const Labels& of, const LabelIndex& labels) {
  for (const Label& label : of) {
    const PairId pair = labels.find_pair(label);
    if (!pair.valid() || pair.index() >= anchored_.size()) continue;
    for (const SelectorId id : anchored_[pair.index()]) consider(id);
  }
}

void SelectorIndex::begin_update(const Labels& old_labels, const LabelIndex& labels) {
  ++stamp_;
  candidates_.clear();
  consider_anchored(old_labels, labels);
}

const std::vector<SelectorChange>& SelectorIndex::finish_update(NodeId row, const LabelIndex& labels,
                                                                const StringPool& strings, std::size_t rows) {
  consider_anchored(labels.of(row), labels);
  for (const SelectorId id : unanchored_) consider(id);
  changes_.clear();
  for (const SelectorId id : candidates_) {
    Entry& entry = entries_[id.index()];
    const bool matches_now = holds(entry.selector, row, labels, strings);
    const bool changed = matches_now ? entry.nodes.insert(row, rows) : entry.nodes.erase(row);
    if (!changed) continue;
    ++entry.version;
    changes_.push_back({id, row, matches_now});
  }
  return changes_;
}

std::size_t SelectorIndex::bytes() const {
  std::size_t total = entries_.capacity() * sizeof(Entry) + anchored_.capacity() * sizeof(std::vector<SelectorId>);
  for (const Entry& entry : entries_) {
    total += entry.nodes.bytes() + entry.selector.terms.capacity() * sizeof(Term);
    for (const Term& term : entry.selector.terms) {
      for (const Requirement& requirement : term)
        total += sizeof(Requirement) + requirement.values.capacity() * sizeof(StringId);
    }
  }
  for (const auto& [content, id] : by_content_) total += content.capacity() + 64;
  for (const auto& waiting : anchored_) total += waiting.capacity() * sizeof(SelectorId);
  return total;
}

std::string SelectorIndex::validate(const LabelIndex& labels, const StringPool& strings) const {
  for (std::size_t at = 0; at < entries_.size(); ++at) {
    const Entry& entry = entries_[at];
    if (auto problem = entry.nodes.validate(); !problem.empty()) return problem;
    for (std::size_t row = 0; row < labels.live().size(); ++row) {
      if (holds(entry.selector, NodeId(row), labels, strings) != entry.nodes.contains(NodeId(row))) {
        return "SelectorIndex: selector " + std::to_string(at) + " is wrong about row " + std::to_string(row);
      }
    }
  }
  return {};
}

}  // namespace volsched
