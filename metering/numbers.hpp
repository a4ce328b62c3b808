// Numbers as JSON writes them, read without floating point.
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace keyhole::metering {

/// No count is larger: sums of a few can't overflow.
inline constexpr std::int64_t largest_count = 1'000'000'000'000'000;

/// "12", "-3", "10.0", "1e1" -> a whole number, at most ±largest_count; nullopt: anything else, "2.5" too.
std::optional<std::int64_t> parse_count(std::string_view text) noexcept;

/// The number times 10^power, rounded half away from zero; nullopt: not a number. Saturates at ±INT64_MAX
/// / 10.
std::optional<std::int64_t> scaled_decimal(std::string_view text, int power) noexcept;

/// a + b within ±largest_count.
std::int64_t saturated_sum(std::int64_t a, std::int64_t b) noexcept;

}  // namespace keyhole::metering
