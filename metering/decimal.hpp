// Decimal text to integers without floating point: "2.50" USD, "1.25e-06" USD a token.
// Thread rule: plain functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace keyhole::metering {

/// `text` times 10^`scale` as an integer: scaled_decimal("2.50", 9) = 2'500'000'000. Accepts digits, one
/// point, an exponent and
/// '_' between digits; nullopt for anything else, for negative numbers and where 64 bits are too few.
/// Digits beyond the scale: nullopt if `exact`, else rounded half up.
std::optional<std::int64_t> scaled_decimal(std::string_view text, int scale, bool exact) noexcept;

}  // namespace keyhole::metering
