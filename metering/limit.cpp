#include "metering/limit.hpp"

#include "metering/decimal.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace keyhole::metering {

namespace {

constexpr std::int64_t second_us = 1'000'000;

std::int64_t floor_to(std::int64_t t, std::int64_t unit) noexcept
{
    const std::int64_t down = t / unit * unit;
    return down > t ? down - unit : down;
}

std::int64_t fixed_length(limit_window w) noexcept
{
    switch (w) {
    case limit_window::minute:
        return 60 * second_us;
    case limit_window::hour:
        return 3600 * second_us;
    case limit_window::day:
        return 86400 * second_us;
    case limit_window::total:
    case limit_window::month:
        break;
    }
    return 0;
}

std::int64_t month_start(std::int64_t t_us, int months_later) noexcept
{
    using namespace std::chrono;
    constexpr std::int64_t last_us =
        253'402'300'799'000'000;  // the calendar's types end; nobody needs the year 10000
    const auto day = floor<days>(sys_time<microseconds>(microseconds(std::clamp(t_us, -last_us, last_us))));
    const year_month_day date(day);
    const sys_days first(date.year() / date.month() / 1 + months(months_later));
    return sys_time<microseconds>(first).time_since_epoch().count();
}

constexpr std::array<std::pair<std::string_view, limit_unit>, 4> units{
    {{"usd", limit_unit::usd},
     {"tokens", limit_unit::tokens},
     {"requests", limit_unit::requests},
     {"concurrency", limit_unit::concurrency}}};
constexpr std::array<std::pair<std::string_view, limit_window>, 4> windows{{{"minute", limit_window::minute},
                                                                            {"hour", limit_window::hour},
                                                                            {"day", limit_window::day},
                                                                            {"month", limit_window::month}}};

}  // namespace

std::int64_t window_start(limit_window w, std::int64_t t_us) noexcept
{
    if (w == limit_window::total) return 0;
    if (w == limit_window::month) return month_start(t_us, 0);
    return floor_to(t_us, fixed_length(w));
}

std::int64_t window_end(limit_window w, std::int64_t t_us) noexcept
{
    if (w == limit_window::total) return INT64_MAX;
    if (w == limit_window::month) return month_start(t_us, 1);
    std::int64_t end = 0;
    return __builtin_add_overflow(floor_to(t_us, fixed_length(w)), fixed_length(w), &end) ? INT64_MAX : end;
}

std::optional<limit> parse_limit(std::string_view text)
{
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view value = text.substr(equals + 1);
    std::string_view unit = text.substr(0, equals);
    limit l;
    if (const std::size_t slash = unit.find('/'); slash != std::string_view::npos) {
        const auto* w = std::ranges::find(windows, unit.substr(slash + 1),
                                          &std::pair<std::string_view, limit_window>::first);
        if (w == windows.end()) return std::nullopt;
        l.window = w->second;
        unit = unit.substr(0, slash);
    }
    const auto* u = std::ranges::find(units, unit, &std::pair<std::string_view, limit_unit>::first);
    if (u == units.end()) return std::nullopt;
    l.unit = u->second;
    if (l.unit == limit_unit::concurrency && l.window != limit_window::total) return std::nullopt;

    const bool plain =
        !value.empty() && std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; });
    if (l.unit != limit_unit::usd && !plain) return std::nullopt;
    const auto parsed = l.unit == limit_unit::usd ? parse_usd(value) : scaled_decimal(value, 0, true);
    if (!parsed) return std::nullopt;
    l.value = *parsed;
    return l;
}

std::string to_string(const limit& l)
{
    std::string text;
    for (const auto& [name, unit] : units) {
        if (unit == l.unit) text = name;
    }
    for (const auto& [name, window] : windows) {
        if (window == l.window) text.append("/").append(name);
    }
    return text + "=" + (l.unit == limit_unit::usd ? format_usd(l.value) : std::to_string(l.value));
}

std::optional<std::int64_t> parse_usd(std::string_view text) noexcept
{
    const bool plain = std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
    const std::size_t point = text.find('.');
    if (!plain || (point != std::string_view::npos && text.size() - point - 1 > 9)) return std::nullopt;
    return scaled_decimal(text, 9, true);
}

std::string format_usd(std::int64_t nano_usd)
{
    // Through unsigned: the smallest number has no positive counterpart.
    const bool negative = nano_usd < 0;
    const auto magnitude =
        negative ? 0 - static_cast<std::uint64_t>(nano_usd) : static_cast<std::uint64_t>(nano_usd);
    std::string fraction = std::to_string(magnitude % 1'000'000'000);
    fraction.insert(0, 9 - fraction.size(), '0');
    fraction.erase(std::max<std::size_t>(fraction.find_last_not_of('0') + 1, 2));
    return (negative ? "-" : "") + std::to_string(magnitude / 1'000'000'000) + "." + fraction;
}

}  // namespace keyhole::metering
