// A limit in an agent's words: what is reached, what would help, and whether waiting does.
#include "proxy/reserving.hpp"

#include <algorithm>
#include <string>

namespace keyhole::proxy {
namespace {

constexpr int longest_retry_after = 30;  // agents sleep for longer ones without a word

std::string amount(metering::limit_unit unit, std::int64_t value)
{
    return unit == metering::limit_unit::usd ? metering::format_usd(value) + " USD" : std::to_string(value);
}

std::string_view name_of(metering::limit_window w) noexcept
{
    switch (w) {
    case metering::limit_window::minute:
        return "minute";
    case metering::limit_window::hour:
        return "hour";
    case metering::limit_window::day:
        return "day";
    case metering::limit_window::month:
        return "month";
    case metering::limit_window::total:
        break;
    }
    return "total";
}

}  // namespace

failure explain(const metering::refusal& r, std::int64_t now_us, bool never)
{
    using metering::limit_unit;
    using metering::limit_window;
    std::string text = "The limit " + metering::to_string(r.which) + " of " + r.owner +
                       " is reached: " + amount(r.which.unit, r.used) + " used";
    if (r.reserved != 0) text += ", " + amount(r.which.unit, r.reserved) + " held by running requests";
    if (r.which.unit != limit_unit::requests && r.which.unit != limit_unit::concurrency)
        text += ", this request may need up to " + amount(r.which.unit, r.asked);
    text += '.';
    if (never)
        return {errc::budget_exceeded, text + " No waiting helps: it is more than the whole limit.", {}, 0};
    if (r.which.unit == limit_unit::concurrency)
        return {errc::concurrency_limited, text + " Wait for a running request to end.", {}, 1};
    if (r.which.window == limit_window::minute) {
        const auto wait =
            std::clamp<std::int64_t>((r.resets_us - now_us) / 1'000'000 + 1, 1, longest_retry_after);
        return {errc::rate_limited, text, {}, static_cast<int>(wait)};
    }
    text += r.which.window == limit_window::total
                ? std::string(" Ask whoever runs Keyhole to raise it.")
                : " It starts anew with the next " + std::string(name_of(r.which.window)) + ".";
    return {errc::budget_exceeded, text, {}, 0};
}

bool never_fits(const metering::refusal& r, const metering::demand& least) noexcept
{
    using metering::limit_unit;
    switch (r.which.unit) {
    case limit_unit::usd:
        return least.nano_usd > r.which.value;
    case limit_unit::tokens:
        return least.tokens > r.which.value;
    case limit_unit::requests:
    case limit_unit::concurrency:
        return r.which.value <= 0;
    }
    return false;
}

failure unpriced(std::string_view model)
{
    return {
        errc::model_unpriced,
        "The model " + (model.empty() ? std::string("(none)") : std::string(model)) +
            " has no price, and this session has a money limit. The operator adds it to a [[prices]] file, "
            "or allows unpriced models with sessions.refuse_unpriced = false.",
        {},
        0};
}

}  // namespace keyhole::proxy
