#pragma once

#include <string>
#include <string_view>

namespace volsched {

/// `before "name" after`, as Kubernetes messages quote names.
[[nodiscard]] std::string quoting(std::string_view before, std::string_view name, std::string_view after = {});

}  // namespace volsched
