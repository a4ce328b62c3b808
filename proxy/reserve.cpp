// Step 6: BUDGET_HOLDS. What the request may cost at most is held on the session's limits, and its account's,
// before a byte leaves. What can't be known beforehand (an undeclared answer length) is bounded by
// sessions.reserve_output_tokens; docs/configuration.md says so.
#include "proxy/exchange.hpp"

#include <algorithm>
#include <variant>

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

failure explain(const metering::refusal& r, std::int64_t now_us)
{
    using metering::limit_unit;
    using metering::limit_window;
    const auto limit = metering::to_string(r.which);
    std::string text =
        "The limit " + limit + " of " + r.owner + " is reached: " + amount(r.which.unit, r.used) + " used";
    if (r.reserved != 0) text += ", " + amount(r.which.unit, r.reserved) + " held by running requests";
    if (r.which.unit != limit_unit::requests && r.which.unit != limit_unit::concurrency)
        text += ", this request may need up to " + amount(r.which.unit, r.asked);
    text += '.';
    if (r.which.unit == limit_unit::concurrency)
        return {errc::concurrency_limited, text + " Wait for a running request to end.", {}, 1};
    if (r.which.window == limit_window::minute) {
        const auto wait =
            std::clamp<std::int64_t>((r.resets_us - now_us) / 1'000'000 + 1, 1, longest_retry_after);
        return {errc::rate_limited, text, {}, static_cast<int>(wait)};
    }
    text += r.resets_us != 0 && r.resets_us != INT64_MAX
                ? " It starts anew with the next " + std::string(name_of(r.which.window)) + "."
                : std::string(" Ask whoever runs Keyhole to raise it.");
    return {errc::budget_exceeded, text, {}, 0};
}

}  // namespace

failure reserve(exchange& x)
{
    const auto& route = *x.way;
    const auto& model = x.facts.model;
    if (!model.empty() && !x.who->may_use_model(model))
        return {errc::model_not_allowed, "This session may not use the model " + model + ".", {}, 0};
    if (model.empty() && !x.who->info.models.empty() && route.counts)
        return {errc::model_not_allowed,
                "This session may use certain models only, and the request names none.",
                {},
                0};
    if (!route.counts) return {};

    const auto& rules = x.rt->settings->sessions;
    const auto& provider = x.to->provider.name;
    const auto* price = x.rt->prices->find(provider, model);
    if (price == nullptr && rules.refuse_unpriced && x.who->budget->limits_money() &&
        route.wire != metering::wire::none)
        return {errc::model_unpriced,
                "The model " + (model.empty() ? std::string("(none)") : model) +
                    " has no price, and this session has a money limit. The operator adds it to a [[prices]] "
                    "file, or allows "
                    "unpriced models with sessions.refuse_unpriced = false.",
                {},
                0};

    std::int64_t output = rules.reserve_output_tokens;
    if (x.facts.max_tokens && *x.facts.max_tokens >= 0) output = std::min(output, *x.facts.max_tokens);
    if (price != nullptr && price->max_output_tokens > 0) output = std::min(output, price->max_output_tokens);
    metering::token_counts worst;
    worst.input = metering::estimate_input_tokens(x.facts);
    worst.output = output * std::clamp<std::int64_t>(x.facts.choices, 1, 128);
    metering::demand need;
    need.tokens = worst.total();
    need.nano_usd = x.rt->prices->price(provider, model, {}, worst).nano_usd;

    const auto now = metering::now_us();
    auto outcome = x.who->budget->reserve(need, now);
    if (const auto* refused = std::get_if<metering::refusal>(&outcome)) return explain(*refused, now);
    x.held = std::get<metering::reservation>(std::move(outcome));
    return {};
}

}  // namespace keyhole::proxy
