#include "metering/decimal.hpp"

namespace keyhole::metering {

namespace {

bool is_digit(char c) noexcept
{
    return c >= '0' && c <= '9';
}

/// "e-06" -> -6; nullopt: not an exponent, or one so far out that the number can't matter.
std::optional<int> exponent_of(std::string_view text) noexcept
{
    if (text.empty()) return 0;
    text.remove_prefix(1);
    bool negative = false;
    if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
        negative = text.front() == '-';
        text.remove_prefix(1);
    }
    if (text.empty() || text.size() > 3) return std::nullopt;
    int value = 0;
    for (const char c : text) {
        if (!is_digit(c)) return std::nullopt;
        value = value * 10 + (c - '0');
    }
    return negative ? -value : value;
}

}  // namespace

std::optional<std::int64_t> scaled_decimal(std::string_view text, int scale, bool exact) noexcept
{
    const std::size_t e = text.find_first_of("eE");
    const std::string_view digits = text.substr(0, e);
    const auto exponent = exponent_of(e == std::string_view::npos ? std::string_view{} : text.substr(e));
    if (!exponent || digits.empty() || !is_digit(digits.front()) || !is_digit(digits.back()))
        return std::nullopt;

    // Digits are taken while they count; `places` is how far the next one stands from the unit of the result.
    const std::size_t point = digits.find('.');
    const std::string_view before = digits.substr(0, point);
    int places = scale + *exponent;
    for (const char c : before) {
        places += c == '_' ? 0 : 1;
    }
    std::int64_t value = 0;
    bool half = false;
    bool dropped = false;
    char last = '0';
    for (std::size_t i = 0; i < digits.size(); ++i) {
        const char c = digits[i];
        const bool joins = is_digit(last) && i + 1 < digits.size() && is_digit(digits[i + 1]);
        last = c;
        if ((c == '_' || (c == '.' && i == point)) && joins) continue;
        if (!is_digit(c)) return std::nullopt;
        --places;
        if (places >= 0) {
            if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value))
                return std::nullopt;
        } else {
            half = half || (places == -1 && c >= '5');
            dropped = dropped || c != '0';
        }
    }
    for (; places > 0 && value != 0; --places) {
        if (__builtin_mul_overflow(value, 10, &value)) return std::nullopt;
    }
    if (exact && dropped) return std::nullopt;
    if (half && __builtin_add_overflow(value, 1, &value)) return std::nullopt;
    return value;
}

}  // namespace keyhole::metering
