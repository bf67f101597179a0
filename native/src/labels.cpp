#include "volsched/labels.hpp"

#include <algorithm>

namespace volsched {

StringId label_value(const Labels& labels, StringId key) {
  const auto at = std::lower_bound(labels.begin(), labels.end(), key,
                                   [](const Label& label, StringId wanted) { return label.key < wanted; });
  return at != labels.end() && at->key == key ? at->value : StringId();
}

void sort_labels(Labels& labels) {
  std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.key < b.key; });
  Labels unique;
  unique.reserve(labels.size());
  for (const Label& label : labels) {
    if (!unique.empty() && unique.back().key == label.key) {
      unique.back() = label;
    } else {
      unique.push_back(label);
    }
  }
  labels = std::move(unique);
}

namespace {

std::uint64_t hash_labels(const Labels& labels) {
  std::uint64_t hash = labels.size();
  for (const Label& label : labels) hash = mix64(hash ^ pack(label.key, label.value));
  return hash;
}

}  // namespace

LabelSets::LabelSets() {
  intern({});
}

LabelSetId LabelSets::intern(const Labels& labels) {
  const std::uint64_t hash = hash_labels(labels);
  const std::uint32_t known = by_hash_.find(hash, [&](std::uint32_t at) { return sets_[at] == labels; });
  if (known != HashIndex::kMissing) return LabelSetId(known);
  const LabelSetId id(sets_.size());
  sets_.push_back(labels);
  by_hash_.add(hash, id.value());
  return id;
}

std::size_t LabelSets::bytes() const {
  std::size_t total = sets_.bytes() + by_hash_.bytes();
  for (const Labels& labels : sets_) total += labels.capacity() * sizeof(Label);
  return total;
}

LabelIndex::Key& LabelIndex::key_entry(StringId key) {
  std::uint32_t at = key_ids_.find(key.value());
  if (at == FlatMap::kMissing) {
    at = static_cast<std::uint32_t>(keys_.size());
    keys_.emplace_back();
    key_ids_.set(key.value(), at);
  }
  return keys_[at];
}

PairId LabelIndex::pair(Label label) {
  const PairId known = find_pair(label);
  if (known.valid()) return known;
  const PairId id(pairs_.size());
  pairs_.push_back({label, {}});
  pair_ids_.set(pack(label.key, label.value), id.value());
  key_entry(label.key).values.push_back(id);
  return id;
}

const NodeSet* LabelIndex::with_key(StringId key) const {
  const std::uint32_t at = key_ids_.find(key.value());
  return at == FlatMap::kMissing ? nullptr : &keys_[at].nodes;
}

const std::vector<PairId>& LabelIndex::values_of(StringId key) const {
  static const std::vector<PairId> kNoValues;
  const std::uint32_t at = key_ids_.find(key.value());
  return at == FlatMap::kMissing ? kNoValues : keys_[at].values;
}

void LabelIndex::assign(NodeId row, Labels labels, std::size_t rows) {
  by_row_.grow_to(rows);
  if (live_.size() < rows) live_.resize(rows);
  const Labels& old = of(row);
  for (const Label& label : old) {
    if (std::binary_search(labels.begin(), labels.end(), label)) continue;
    pairs_.edit(find_pair(label).index()).nodes.erase(row);
    if (!label_value(labels, label.key).valid()) key_entry(label.key).nodes.erase(row);
  }
  for (const Label& label : labels) {
    if (std::binary_search(old.begin(), old.end(), label)) continue;
    const PairId id = pair(label);
    pairs_.edit(id.index()).nodes.insert(row, rows);
    key_entry(label.key).nodes.insert(row, rows);
  }
  live_.assign(row, !labels.empty());
  ++version_;
  labels.shrink_to_fit();
  by_row_.edit(row.index()) = std::move(labels);
}

std::size_t LabelIndex::bytes() const {
  std::size_t total = by_row_.bytes() + pairs_.bytes() + keys_.capacity() * sizeof(Key) + pair_ids_.bytes() +
                      key_ids_.bytes() + live_.bytes();
  for (const Labels& labels : by_row_) total += labels.capacity() * sizeof(Label);
  for (const Pair& pair : pairs_) total += pair.nodes.bytes();
  for (const Key& key : keys_) total += key.nodes.bytes() + key.values.capacity() * sizeof(PairId);
  return total;
}

std::string LabelIndex::validate() const {
  std::size_t pairs_on_nodes = 0;
  for (std::size_t row = 0; row < by_row_.size(); ++row) {
    for (const Label& label : by_row_[row]) {
      const PairId id = find_pair(label);
      if (!id.valid() || !pairs_[id.index()].nodes.contains(NodeId(row)))
        return "LabelIndex: row " + std::to_string(row) + " is missing from a pair";
      const NodeSet* with = with_key(label.key);
      if (with == nullptr || !with->contains(NodeId(row)))
        return "LabelIndex: row " + std::to_string(row) + " is missing from a key";
      ++pairs_on_nodes;
    }
    if (live_.test(NodeId(row)) == by_row_[row].empty())
      return "LabelIndex: row " + std::to_string(row) + " is live without labels or the reverse";
  }
  std::size_t pairs_indexed = 0;
  for (const Pair& pair : pairs_) {
    if (auto problem = pair.nodes.validate(); !problem.empty()) return problem;
    pairs_indexed += pair.nodes.count();
  }
  if (pairs_indexed != pairs_on_nodes) return "LabelIndex: pairs list nodes that do not carry them";
  return live_.validate();
}

}  // namespace volsched
