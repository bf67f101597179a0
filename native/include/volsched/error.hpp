#pragma once

#include <stdexcept>
#include <string>

namespace volsched {

/// The engine was given something that is not its own or is malformed: a caller's bug, not a decision.
/// The bindings raise it as volsched.errors.EngineError.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace volsched
