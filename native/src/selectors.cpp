#include "volsched/selectors.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace volsched {

namespace {

bool is_alphanumeric(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
}

/// Letters, digits and `-_.`, alphanumeric at both ends, at most 63 characters.
bool is_qualified_part(std::string_view text) {
  if (text.empty() || text.size() > 63 || !is_alphanumeric(text.front()) || !is_alphanumeric(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [](char letter) {
    return is_alphanumeric(letter) || letter == '-' || letter == '_' || letter == '.';
  });
}

/// A DNS-1123 subdomain: labels of lower-case letters, digits and inner `-`, joined by dots, at most 253 characters.
bool is_subdomain(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  const auto plain = [](char letter) { return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9'); };
  while (true) {
    const std::size_t dot = text.find('.');
    const std::string_view part = text.substr(0, dot);
    if (part.empty() || !plain(part.front()) || !plain(part.back())) return false;
    if (!std::all_of(part.begin(), part.end(), [&](char letter) { return plain(letter) || letter == '-'; }))
      return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

/// Whether a label can be tested with this. `raw` are the values as written.
bool is_valid_requirement(std::string_view key, Op op, const std::vector<std::string_view>& raw) {
  std::int64_t bound = 0;
  switch (op) {
    case Op::kIn:
    case Op::kNotIn:
      if (raw.empty()) return false;
      break;
    case Op::kExists:
    case Op::kDoesNotExist:
      if (!raw.empty()) return false;
      break;
    case Op::kGt:
    case Op::kLt:
      if (raw.size() != 1 || !parse_int64(raw.front(), bound)) return false;
      break;
    case Op::kUnknown:
      return false;
  }
  return is_label_key(key) && std::all_of(raw.begin(), raw.end(), is_label_value);
}

Requirement make_requirement(std::string_view key, Op op, const std::vector<std::string_view>& raw,
                             StringPool& strings) {
  Requirement made{strings.intern(key), op, 0, {}};
  if (op == Op::kGt || op == Op::kLt) {
    static_cast<void>(parse_int64(raw.front(), made.bound));
  } else {
    for (const std::string_view value : raw) made.values.push_back(strings.intern(value));
    std::sort(made.values.begin(), made.values.end());
    made.values.erase(std::unique(made.values.begin(), made.values.end()), made.values.end());
  }
  return made;
}

Op read_op(RowReader& reader) {
  const std::uint8_t code = reader.u8();
  return code < static_cast<std::uint8_t>(Op::kUnknown) ? static_cast<Op>(code) : Op::kUnknown;
}

std::vector<std::string_view> read_values(RowReader& reader) {
  std::vector<std::string_view> values(reader.count());
  for (auto& value : values) value = reader.text();
  return values;
}

struct ReadTerm {
  Term term;
  bool never = false;  ///< it asks for nothing, is invalid, or has a field clause that no node satisfies
};

ReadTerm read_term(RowReader& reader, StringPool& strings, StringId name_key, FieldsAre fields) {
  ReadTerm read;
  const std::uint32_t expressions = reader.count();
  for (std::uint32_t at = 0; at < expressions; ++at) {
    const std::string_view key = reader.text();
    const Op op = read_op(reader);
    const auto values = read_values(reader);
    if (is_valid_requirement(key, op, values)) {
      read.term.push_back(make_requirement(key, op, values, strings));
    } else {
      read.never = true;
    }
  }
  const std::uint32_t field_count = reader.count();
  for (std::uint32_t at = 0; at < field_count; ++at) {
    const std::string_view key = reader.text();
    const Op op = read_op(reader);
    const auto values = read_values(reader);
    if ((op != Op::kIn && op != Op::kNotIn) || values.size() != 1) {
      read.never = true;
    } else if (fields == FieldsAre::kIgnored) {
      continue;
    } else if (key == "metadata.name") {
      read.term.push_back({name_key, op, 0, {strings.intern(values.front())}});
    } else if (values.front().empty() != (op == Op::kIn)) {
      read.never = true;  // any other field reads as the empty text
    }
  }
  read.never = read.never || (expressions == 0 && field_count == 0);
  return read;
}

}  // namespace

bool is_label_key(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return is_qualified_part(text);
  return is_subdomain(text.substr(0, slash)) && is_qualified_part(text.substr(slash + 1));
}

bool is_label_value(std::string_view text) {
  return text.empty() || is_qualified_part(text);
}

bool parse_int64(std::string_view text, std::int64_t& value) {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text.front() == '-') return false;
  }
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool matches(const Requirement& requirement, StringId value, const StringPool& strings) {
  switch (requirement.op) {
    case Op::kIn:
      return value.valid() && std::binary_search(requirement.values.begin(), requirement.values.end(), value);
    case Op::kNotIn:
      return !value.valid() || !std::binary_search(requirement.values.begin(), requirement.values.end(), value);
    case Op::kExists:
      return value.valid();
    case Op::kDoesNotExist:
      return !value.valid();
    case Op::kGt:
    case Op::kLt: {
      std::int64_t number = 0;
      if (!value.valid() || !parse_int64(strings.view(value), number)) return false;
      return requirement.op == Op::kGt ? number > requirement.bound : number < requirement.bound;
    }
    case Op::kUnknown:
      return false;
  }
  return false;
}

bool matches(const Term& term, const Labels& labels, const StringPool& strings) {
  return std::all_of(term.begin(), term.end(), [&](const Requirement& requirement) {
    return matches(requirement, label_value(labels, requirement.key), strings);
  });
}

bool LabelSelector::matches(const Labels& labels, const StringPool& strings) const {
  return volsched::matches(requirements, labels, strings);
}

void NodeSelector::canonicalize() {
  for (Term& term : terms) {
    std::sort(term.begin(), term.end());
    term.erase(std::unique(term.begin(), term.end()), term.end());
  }
  std::sort(terms.begin(), terms.end());
  terms.erase(std::unique(terms.begin(), terms.end()), terms.end());
  if (!terms.empty() && terms.front().empty()) terms.resize(1);
}

NodeSelector read_node_selector(RowReader& reader, StringPool& strings, StringId name_key, FieldsAre fields) {
  NodeSelector selector;
  const std::uint32_t count = reader.count();
  for (std::uint32_t at = 0; at < count; ++at) {
    ReadTerm read = read_term(reader, strings, name_key, fields);
    if (!read.never) selector.terms.push_back(std::move(read.term));
  }
  selector.canonicalize();
  return selector;
}

NodeSelector read_preferred_term(RowReader& reader, StringPool& strings, StringId name_key) {
  ReadTerm read = read_term(reader, strings, name_key, FieldsAre::kCompared);
  NodeSelector selector;
  if (!read.never) selector.terms.push_back(std::move(read.term));
  selector.canonicalize();
  return selector;
}

LabelSelector read_label_selector(RowReader& reader, StringPool& strings) {
  LabelSelector selector;
  const std::uint32_t labels = reader.count();
  for (std::uint32_t at = 0; at < labels; ++at) {
    const std::string_view key = reader.text();
    const std::vector<std::string_view> value{reader.text()};
    selector.requirements.push_back(make_requirement(key, Op::kIn, value, strings));
  }
  const std::uint32_t expressions = reader.count();
  for (std::uint32_t at = 0; at < expressions; ++at) {
    const std::string_view key = reader.text();
    const Op op = read_op(reader);
    const auto values = read_values(reader);
    if (op == Op::kGt || op == Op::kLt || op == Op::kUnknown) continue;  // invalid, and with it the whole selector
    selector.requirements.push_back(make_requirement(key, op, values, strings));
  }
  selector.error = std::string(reader.text());
  std::sort(selector.requirements.begin(), selector.requirements.end());
  selector.requirements.erase(std::unique(selector.requirements.begin(), selector.requirements.end()),
                              selector.requirements.end());
  return selector;
}

NodeSelector read_allowed_topologies(RowReader& reader, StringPool& strings) {
  const std::uint32_t count = reader.count();
  if (count == 0) return NodeSelector::everything();
  NodeSelector selector;
  for (std::uint32_t at = 0; at < count; ++at) {
    Term term;
    bool valid = true;
    const std::uint32_t expressions = reader.count();
    for (std::uint32_t expression = 0; expression < expressions; ++expression) {
      const std::string_view key = reader.text();
      const auto values = read_values(reader);
      if (is_valid_requirement(key, Op::kIn, values)) {
        term.push_back(make_requirement(key, Op::kIn, values, strings));
      } else {
        valid = false;
      }
    }
    if (valid && expressions > 0) selector.terms.push_back(std::move(term));
  }
  selector.canonicalize();
  return selector;
}

}  // namespace volsched
