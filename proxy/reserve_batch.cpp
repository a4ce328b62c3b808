// A batch is worked on after its answer and its usage stands in its results. So what its requests may cost
// together is held when it is made and stays booked until the results are read; a batch whose requests can't
// be seen (OpenAI's stand in a file) is refused where money or tokens are limited.
#include "metering/batch_requests.hpp"
#include "metering/request_demand.hpp"
#include "proxy/reserving.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <variant>

namespace keyhole::proxy {
namespace {

constexpr std::string_view batch_tier = "batch";
constexpr std::int64_t most_output = 1'000'000;  // of a model that has no entry; none writes more

failure unbounded(const std::string& why)
{
    return {errc::batch_unbounded,
            why +
                ", and this session's money or tokens are limited. Whoever runs Keyhole can allow it with "
                "sessions.unbounded_batches = true (results are billed and count all the same); or send the "
                "requests one by one.",
            {},
            0};
}

/// The sum over a batch's requests.
struct bounds {
    metering::token_counts worst;
    metering::demand need;
    std::string model;   ///< the first one's
    bool mixed = false;  ///< others name another
    bool whole = false;  ///< all of them could be read
};

bounds bounds_of(exchange& x, bool limited, failure& why)
{
    const auto& prices = *x.rt->prices;
    const auto& provider = x.to->provider.name;
    const auto& rules = x.rt->settings->sessions;
    const auto longest = rules.reserve_output_tokens;
    const bool must_be_priced = rules.refuse_unpriced && x.who->budget->limits_money();
    bounds out;
    out.whole = metering::each_batch_request(x.body.view(), [&](std::string_view params) {
        const auto facts = metering::scan_request(params);
        if (!facts.complete || !facts.ambiguous_member.empty()) return false;
        why = check_model_name(x, facts.model);
        if (!why && must_be_priced && prices.find(provider, facts.model) == nullptr)
            why = unpriced(facts.model);
        if (why) return false;
        if (out.model.empty()) out.model = facts.model;
        out.mixed = out.mixed || facts.model != out.model;
        metering::token_counts one;
        const auto asked = metering::demand_of(metering::wire::anthropic_messages, facts.model, params);
        for (const auto& each : asked.consulted)
            if (!why) why = check_model_name(x, each.name);
        if (!why && limited && !asked.consulted.empty() && !rules.unbounded_batches)
            why = unbounded("A request of the batch has a tool that consults another model");
        if (why) return false;
        auto& input = asked.writes_long_cache ? one.cache_write_1h
                      : asked.writes_cache    ? one.cache_write_5m
                                              : one.input;
        input = metering::most_input_tokens(facts, asked.media) + asked.input_elsewhere +
                asked.searches * metering::tokens_a_search(metering::wire::anthropic_messages);
        one.web_searches = asked.searches;
        one.output = std::min(asked.output.value_or(longest), most_output);
        if (const auto* price = prices.find(provider, facts.model); price && price->max_output_tokens > 0)
            one.output = std::min(one.output, price->max_output_tokens);
        const auto cost = prices.price(provider, facts.model, batch_tier, one).nano_usd;
        const auto plus = [](std::int64_t& sum, std::int64_t more) {
            if (__builtin_add_overflow(sum, more, &sum)) sum = INT64_MAX;
        };
        // As held, so that what stays booked is no less.
        plus(out.worst.input, one.input);
        plus(out.worst.cache_write_5m, one.cache_write_5m);
        plus(out.worst.cache_write_1h, one.cache_write_1h);
        plus(out.worst.web_searches, one.web_searches);
        plus(out.worst.output, one.output);
        plus(out.need.nano_usd, cost);
        return true;
    });
    out.need.tokens = out.worst.total();
    return out;
}

}  // namespace

failure reserve_batch(exchange& x)
{
    auto& budget = *x.who->budget;
    const auto now = metering::now_us();
    const bool allowed = x.rt->settings->sessions.unbounded_batches;
    const auto left = budget.left(now);
    const bool limited = left.nano_usd || left.tokens;
    bounds all;
    if (x.api == config::dialect::anthropic) {
        failure why;
        all = bounds_of(x, limited, why);
        if (why) return why;
        if (!all.whole && (limited || !x.who->info.models.empty()))
            return {errc::bad_request, "The batch's requests cannot be read.", {}, 0};
        // Its results tell one sum, which can't be priced by model.
        if (all.mixed && left.nano_usd && !allowed) return unbounded("The batch names several models");
    } else {
        if (auto f = check_model_name(x, {})) return f;
        if (limited && !allowed) return unbounded("What a batch of a file may cost is not known");
    }
    auto outcome = budget.reserve(all.need, now);
    if (const auto* refused = std::get_if<metering::refusal>(&outcome))
        return explain(*refused, now, never_fits(*refused, all.need));
    x.held = std::get<metering::reservation>(std::move(outcome));
    if (all.whole) {
        x.bound = all.worst;
        x.facts.model = all.model;
    }
    return {};
}

}  // namespace keyhole::proxy
