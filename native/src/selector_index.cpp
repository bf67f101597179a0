#include <algorithm>

#include "volsched/selectors.hpp"

namespace volsched {

namespace {

std::uint64_t hash_selector(const NodeSelector& selector) {
  std::uint64_t hash = selector.terms.size();
  const auto take = [&](std::uint64_t word) { hash = mix64(hash ^ word) + 0x9e3779b97f4a7c15ULL; };
  for (const Term& term : selector.terms) {
    take(term.size());
    for (const Requirement& requirement : term) {
      take(pack(requirement.key, StringId(static_cast<std::uint32_t>(requirement.op))));
      take(static_cast<std::uint64_t>(requirement.bound));
      take(requirement.values.size());
      for (const StringId value : requirement.values) take(value.value());
    }
  }
  return mix64(hash);
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
  const std::uint64_t hash = hash_selector(selector);
  const std::uint32_t known =
      by_content_.find(hash, [&](std::uint32_t at) { return entries_[at].selector == selector; });
  if (known != HashIndex::kMissing) return SelectorId(known);

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
      anchored_.grow_to(pair.index() + 1);
      auto& waiting = anchored_.edit(pair.index());
      if (waiting.empty() || waiting.back() != id) waiting.push_back(id);
    }
  }
  if (is_unanchored) unanchored_.push_back(id);
  entry.selector = std::move(selector);
  entries_.push_back(std::move(entry));
  by_content_.add(hash, id.value());
  return id;
}

void SelectorIndex::consider(SelectorId id) {
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
  candidates_.clear();
  consider_anchored(old_labels, labels);
}

const std::vector<SelectorChange>& SelectorIndex::finish_update(NodeId row, const LabelIndex& labels,
                                                                const StringPool& strings, std::size_t rows) {
  consider_anchored(labels.of(row), labels);
  for (const SelectorId id : unanchored_) consider(id);
  // each once, in the order of the first mention: what follows the changes goes by it
  changes_.clear();
  for (const SelectorId id : candidates_) {
    const Entry& known = entries_[id.index()];
    const bool matches_now = holds(known.selector, row, labels, strings);
    if (matches_now == known.nodes.contains(row)) continue;
    Entry& entry = entries_.edit(id.index());
    matches_now ? entry.nodes.insert(row, rows) : entry.nodes.erase(row);
    ++entry.version;
    changes_.push_back({id, row, matches_now});
  }
  return changes_;
}

std::size_t SelectorIndex::bytes() const {
  std::size_t total = entries_.bytes() + anchored_.bytes() + by_content_.bytes();
  for (const Entry& entry : entries_) {
    total += entry.nodes.bytes() + entry.selector.terms.capacity() * sizeof(Term);
    for (const Term& term : entry.selector.terms) {
      for (const Requirement& requirement : term)
        total += sizeof(Requirement) + requirement.values.capacity() * sizeof(StringId);
    }
  }
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
