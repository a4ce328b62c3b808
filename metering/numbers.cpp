#include "metering/numbers.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>

namespace keyhole::metering {

namespace {

/// ±digits × 10^exponent.
struct decimal {
    bool negative = false;
    std::int64_t digits = 0;
    int exponent = 0;
};

std::optional<decimal> parse_decimal(std::string_view text) noexcept
{
    decimal d;
    std::size_t i = 0;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) d.negative = text[i++] == '-';
    bool any = false;
    bool fraction = false;
    for (; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9') break;
        any = true;
        if (d.digits < 100'000'000'000'000'000) {
            d.digits = d.digits * 10 + (c - '0');
            if (fraction) --d.exponent;
        } else if (!fraction) {
            ++d.exponent;  // digits beyond the seventeenth change nothing that is billed
        }
    }
    if (!any) return std::nullopt;
    if (i < text.size()) {
        if (text[i] != 'e' && text[i] != 'E') return std::nullopt;
        ++i;
        if (i < text.size() && text[i] == '+') ++i;
        int exponent = 0;
        const char* const end = text.data() + text.size();
        const auto [rest, error] = std::from_chars(text.data() + i, end, exponent);
        if (error != std::errc{} || rest != end) return std::nullopt;
        d.exponent += std::clamp(exponent, -1000, 1000);
    }
    return d;
}

constexpr std::int64_t largest_scaled = INT64_MAX / 10;

bool is_digit(char c) noexcept
{
    return c >= '0' && c <= '9';
}

/// A number with a fraction or an exponent, digit by digit: nothing is rounded.
std::optional<std::int64_t> whole_decimal(std::string_view text) noexcept
{
    const bool negative = text.starts_with('-');
    text.remove_prefix(negative ? 1 : 0);
    const std::size_t mantissa = std::min(text.find_first_of("eE"), text.size());
    const std::size_t point = std::min(text.find('.'), mantissa);
    const std::string_view whole = text.substr(0, point);
    const std::string_view fraction = point == mantissa ? "" : text.substr(point + 1, mantissa - point - 1);
    if (whole.empty() || (point != mantissa && fraction.empty())) return std::nullopt;
    if (!std::ranges::all_of(whole, is_digit) || !std::ranges::all_of(fraction, is_digit))
        return std::nullopt;
    std::int64_t exponent = 0;
    if (mantissa != text.size()) {
        std::string_view written = text.substr(mantissa + 1);
        if (written.starts_with('+')) written.remove_prefix(1);
        const char* const end = written.data() + written.size();
        const auto [rest, error] = std::from_chars(written.data(), end, exponent);
        if (rest != end || error != std::errc{} || exponent > 1000 || exponent < -1000) return std::nullopt;
    }
    const auto digit = [&](std::size_t i) { return i < point ? whole[i] : fraction[i - point]; };
    const std::int64_t digits = static_cast<std::int64_t>(whole.size() + fraction.size());
    const std::int64_t places = static_cast<std::int64_t>(whole.size()) + exponent;  // before the point
    std::int64_t value = 0;
    for (std::int64_t i = 0; i < std::max(digits, places); ++i) {
        const int d = i < digits ? digit(static_cast<std::size_t>(i)) - '0' : 0;
        if (i < places)
            value = std::min(value * 10 + d, largest_count);
        else if (d != 0)
            return std::nullopt;
    }
    return negative ? -value : value;
}

}  // namespace

std::optional<std::int64_t> scaled_decimal(std::string_view text, int power) noexcept
{
    const auto d = parse_decimal(text);
    if (!d) return std::nullopt;
    std::int64_t value = d->digits;
    int exponent = d->exponent + power;
    for (; exponent > 0 && value != 0; --exponent) {
        if (value > largest_scaled / 10) {
            value = largest_scaled;
            break;
        }
        value *= 10;
    }
    bool half = false;
    for (; exponent < 0 && (value != 0 || half); ++exponent) {
        half = value % 10 >= 5;
        value /= 10;
    }
    if (half) ++value;
    return d->negative ? -value : value;
}

std::optional<std::int64_t> parse_count(std::string_view text) noexcept
{
    std::int64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || rest == text.data()) return std::nullopt;
    if (rest != end) return whole_decimal(text);
    if (error == std::errc::result_out_of_range) return text.front() == '-' ? -largest_count : largest_count;
    return std::clamp(value, -largest_count, largest_count);
}

std::int64_t saturated_sum(std::int64_t a, std::int64_t b) noexcept
{
    return std::clamp(a + b, -largest_count, largest_count);
}

}  // namespace keyhole::metering
