// A limit: so much of a unit in a calendar window, as text ("usd/day=2.50") and as numbers, and where those
// windows begin and end (UTC). Thread rule: pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace keyhole::metering {

enum class limit_unit : std::uint8_t { usd, tokens, requests, concurrency };
enum class limit_window : std::uint8_t { total, minute, hour, day, month };

struct limit {
    limit_unit unit = limit_unit::usd;
    limit_window window = limit_window::total;
    std::int64_t value = 0;  ///< usd: nano-USD; else a count
    bool operator==(const limit&) const = default;
};

/// Start of the UTC calendar window that holds `t_us` (total: 0).
std::int64_t window_start(limit_window w, std::int64_t t_us) noexcept;
/// Its end (total: INT64_MAX).
std::int64_t window_end(limit_window w, std::int64_t t_us) noexcept;

/// "usd=2.50", "usd/day=1", "tokens/hour=100000", "requests/minute=60", "concurrency=4" -> limit; nullopt:
/// not understood.
std::optional<limit> parse_limit(std::string_view text);
std::string to_string(const limit& l);
/// "2.50", "0.000001" USD -> nano-USD without floating point; nullopt: not a number, negative or over 9
/// decimals.
std::optional<std::int64_t> parse_usd(std::string_view text) noexcept;
/// "2.50", "0.000123" (at least two decimals, no trailing zeros beyond).
std::string format_usd(std::int64_t nano_usd);

}  // namespace keyhole::metering
