#pragma once

#include <cstdint>

namespace volsched {

__extension__ typedef __int128 Int128;

/// A storage size in nanos of a byte: Kubernetes quantities are exact decimals down to 10^-9 and are compared exactly,
/// so bytes are not enough. 128 bits hold every size below 1.7e29 bytes; the encoder caps what is larger.
using Nanos = Int128;

}  // namespace volsched
