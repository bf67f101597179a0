#include "volsched/text.hpp"

namespace volsched {

std::string quoting(std::string_view before, std::string_view name, std::string_view after) {
  std::string text;
  text.reserve(before.size() + name.size() + after.size() + 2);
  text.append(before).append(1, '"').append(name).append(1, '"').append(after);
  return text;
}

}  // namespace volsched
