// Step 6: BUDGET_HOLDS. What the request may cost at most is held on the session's limits, and its account's,
// before a byte leaves. Where the agent bounds its answer (max_tokens up to sessions.reserve_output_tokens),
// the whole of it is held: nothing can pass a limit. Where it does not, a full hold would wall off small
// budgets, so a request that does not fit takes all that is left, if that covers its input and a short
// answer: spend can then pass the limit by that one request's answer, and nothing else is admitted meanwhile.
#include "metering/request_demand.hpp"
#include "proxy/reserving.hpp"

#include <algorithm>
#include <variant>

namespace keyhole::proxy {
namespace {

constexpr std::int64_t short_answer_tokens = 256;
constexpr std::int64_t most_pages = 1000;  // that one document may have

/// Input tokens of the request's own bytes. Without limits nothing hangs on it, but that what a background
/// answer used is booked by its bound until somebody looks at it.
std::int64_t brought_by(const exchange& x, const metering::request_demand& asked, bool limited)
{
    if (limited) return metering::most_input_tokens(x.facts, asked.media);
    if (!x.facts.background) return metering::estimate_input_tokens(x.facts);
    return metering::most_input_tokens(x.facts,
                                       metering::media_sum_of(x.way->wire, x.facts.model, x.body.view()));
}

/// The body is as its length says.
bool readable(const exchange& x)
{
    return std::ranges::all_of(x.head.fields, [](const http::field& f) {
        return !http::iequals(f.name, "content-encoding") || f.value.empty() ||
               http::iequals(f.value, "identity");
    });
}

failure check_model(const exchange& x)
{
    const auto& model = x.facts.model;
    if (!model.empty()) {
        if (auto f = check_model_name(x, model)) return f;
    }
    // What could not be read to its end could name another model behind that place.
    if (x.facts.is_object && !x.facts.complete && !x.who->info.models.empty())
        return {errc::bad_request,
                "This session may use certain models only, and the request's JSON cannot be read.",
                {},
                0};
    if (model.empty() && x.way->counts) return check_model_name(x, model);
    return {};
}

}  // namespace

failure check_model_name(const exchange& x, std::string_view model)
{
    if (model.empty() && !x.who->info.models.empty())
        return {errc::model_not_allowed,
                "This session may use certain models only, and the request names none.",
                {},
                0};
    // TOKEN_STAYS_HOME: a token in the model's place would reach the log, the ledger and the provider.
    if ((!x.token.empty() && model.find(x.token) != std::string_view::npos) ||
        (model.size() > 40 && model.find("kh_") != std::string_view::npos))
        return {errc::bad_request, "The model's name holds a session token.", {}, 0};
    if (!model.empty() && !x.who->may_use_model(model))
        return {
            errc::model_not_allowed, "This session may not use the model " + std::string(model) + ".", {}, 0};
    return {};
}

failure reserve(exchange& x)
{
    const auto& route = *x.way;
    if (route.counts && route.operation == "batches") return reserve_batch(x);
    if (auto f = check_model(x)) return f;
    if (!route.counts) {
        // Not counted and never refused, but what it turns out to have used (a background response,
        // retrieved) is charged.
        if (route.wire != metering::wire::none) {
            auto free = x.who->budget->reserve({0, 0, false}, metering::now_us());
            if (auto* held = std::get_if<metering::reservation>(&free)) x.held = std::move(*held);
        }
        return {};
    }

    const auto& model = x.facts.model;
    const auto& rules = x.rt->settings->sessions;
    const auto& provider = x.to->provider.name;
    const auto& prices = *x.rt->prices;
    const auto* price = prices.find(provider, model);
    auto& budget = *x.who->budget;
    // A document is billed by its pages, which only its reader counts.
    const bool by_page = route.wire == metering::wire::mistral_ocr;
    const bool has_price = price != nullptr && (!by_page || price->standard.web_search >= 0);
    if (!has_price && rules.refuse_unpriced && budget.limits_money()) return unpriced(model);

    const auto now = metering::now_us();
    const auto left = budget.left(now);
    // Only limits need the second look through the body.
    const bool limited = left.nano_usd || left.tokens || !x.who->info.models.empty();
    auto asked = limited && x.asked
                     ? *x.asked
                     : metering::demand_of(route.wire, model,
                                           limited && x.facts.is_object ? x.body.view() : std::string_view());
    x.asked.reset();
    if (route.body == body_kind::multipart) asked.answers = x.facts.choices;
    if (!limited) {
        if (!asked.output) asked.output = x.facts.max_tokens;
        asked.answers = std::clamp<std::int64_t>(x.facts.choices, 1, 128);
    } else if (x.facts.is_object && !x.facts.complete)
        asked.output.reset();  // more may stand behind the place where reading stopped
    for (const auto& further : asked.models)
        if (auto f = check_model_name(x, further)) return f;

    if (limited && !readable(x))
        return {errc::bad_request,
                "The request's body is compressed, so what it may cost cannot be told, and this session has "
                "limits. Send it as it is, without a Content-Encoding.",
                {},
                0};

    const auto declared = asked.output.value_or(-1);
    const bool bounded = !by_page && declared >= 0 && declared <= rules.reserve_output_tokens;
    std::int64_t output = bounded ? declared : rules.reserve_output_tokens;
    if (price != nullptr && price->max_output_tokens > 0) output = std::min(output, price->max_output_tokens);
    const auto brought = brought_by(x, asked, limited);
    const auto worst_for = [&](std::int64_t answer) {
        metering::token_counts worst;
        worst.input = brought + asked.input_elsewhere;
        worst.output = answer * asked.answers;
        return worst;
    };
    const auto need_for = [&](std::int64_t answer, std::int64_t pages) {
        const auto worst = worst_for(answer);
        metering::demand d;
        d.tokens = worst.total();
        d.nano_usd = prices.most(provider, model,
                                 {.service_tier = x.facts.service_tier,
                                  .input = worst.input,
                                  .output = worst.output,
                                  .searches = asked.searches + (by_page ? pages : 0),
                                  .cache_write = asked.writes_cache,
                                  .long_cache_write = asked.writes_long_cache,
                                  .audio = asked.output_audio,
                                  .image = asked.output_image});
        return d;
    };

    auto need = need_for(output, most_pages);
    x.bound = worst_for(output);
    const auto least = bounded ? need : need_for(std::min(output, short_answer_tokens), 1);
    auto outcome = budget.reserve(need, now);
    if (std::holds_alternative<metering::refusal>(outcome) && !bounded) {
        const auto rest = budget.left(now);
        need.nano_usd = std::min(need.nano_usd, rest.nano_usd.value_or(need.nano_usd));
        need.tokens = std::min(need.tokens, rest.tokens.value_or(need.tokens));
        if (need.nano_usd >= least.nano_usd && need.tokens >= least.tokens) {
            outcome = budget.reserve(need, now);
        }
    }
    if (const auto* refused = std::get_if<metering::refusal>(&outcome))
        return explain(*refused, now, never_fits(*refused, least));
    x.held = std::get<metering::reservation>(std::move(outcome));
    return {};
}

}  // namespace keyhole::proxy
