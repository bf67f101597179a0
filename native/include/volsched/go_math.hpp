#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace volsched {

/// A double cut to an integer as Go does it on amd64: what 64 bits cannot hold becomes the lowest number.
[[nodiscard]] inline std::int64_t go_int64(double x) {
  constexpr double kEnd = 0x1p63;
  return x >= -kEnd && x < kEnd ? static_cast<std::int64_t>(x) : std::numeric_limits<std::int64_t>::min();
}

/// ln(x) for finite x > 0 as Go computes it: not correctly rounded, and in the last bit different from C libraries for
/// some arguments. A rounded score can turn on that bit. Source: spec/scheduling.md 8.8.
[[nodiscard]] inline double go_log(double x) {
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  constexpr double kL1 = 6.666666666666735130e-01;
  constexpr double kL2 = 3.999999999940941908e-01;
  constexpr double kL3 = 2.857142874366239149e-01;
  constexpr double kL4 = 2.222219843214978396e-01;
  constexpr double kL5 = 1.818357216161805012e-01;
  constexpr double kL6 = 1.531383769920937332e-01;
  constexpr double kL7 = 1.479819860511658591e-01;
  int exponent = 0;
  double fraction = std::frexp(x, &exponent);
  if (fraction < std::sqrt(2.0) / 2) {
    fraction *= 2;
    --exponent;
  }
  const double f = fraction - 1;
  const double k = static_cast<double>(exponent);
  const double s = f / (2 + f);
  const double s2 = s * s;
  const double s4 = s2 * s2;
  const double t1 = s2 * (kL1 + s4 * (kL3 + s4 * (kL5 + s4 * kL7)));
  const double t2 = s4 * (kL2 + s4 * (kL4 + s4 * kL6));
  const double r = t1 + t2;
  const double half = 0.5 * f * f;
  return k * kLn2High - ((half - (s * (half + r) + k * kLn2Low)) - f);
}

}  // namespace volsched
