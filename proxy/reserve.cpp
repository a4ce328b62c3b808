// Step 6: BUDGET_HOLDS. What the request may cost at most is held on the session's limits, and its account's,
// before a byte leaves. Where the agent bounds its answer (max_tokens up to sessions.reserve_output_tokens),
// the whole of it is held: nothing can pass a limit. Where it does not, a full hold would wall off small
// budgets, so a request that does not fit takes all that is left, if that covers its input and a short
// answer: spend can then pass the limit by that one request's answer, and nothing else is admitted meanwhile.
#include "metering/numbers.hpp"
#include "metering/request_demand.hpp"
#include "proxy/reserving.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <variant>

namespace keyhole::proxy {
namespace {

constexpr std::int64_t short_answer_tokens = 256;
constexpr std::int64_t most_pages = 1000;  // that one document may have

/// What an answer may be: tokens, searches, and pages of a document, which only its reader counts.
struct answer_size {
    std::int64_t tokens = 0;
    std::int64_t searches = 0;
    std::int64_t pages = 0;
};

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

failure check_readable(const exchange& x)
{
    if (!x.way->counts || readable(x)) return {};
    const auto left = x.who->budget->left(metering::now_us());
    if (!left.nano_usd && !left.tokens && x.who->info.models.empty()) return {};
    return {errc::bad_request,
            "The request's body is compressed, so what it may cost cannot be told, and this session has "
            "limits. Send it as it is, without a Content-Encoding.",
            {},
            0};
}

std::int64_t saturated_product(std::int64_t one, std::int64_t times) noexcept
{
    std::int64_t out = 0;
    return __builtin_mul_overflow(one, times, &out) ? metering::largest_count : out;
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

/// A document is billed by its pages, whatever its tokens cost.
bool has_price(const exchange& x, std::string_view model)
{
    const auto* price = x.rt->prices->find(x.to->provider.name, model);
    return price != nullptr &&
           (x.way->wire != metering::wire::mistral_ocr || price->standard.web_search >= 0);
}

/// Any of them may answer or be consulted, so each is allowed and has a price.
failure check_further_models(const exchange& x, const metering::request_demand& asked, bool must_be_priced)
{
    if (asked.too_many_models)
        return {errc::bad_request,
                "The request names more than " + std::to_string(metering::most_models) + " further models.",
                {},
                0};
    const auto check = [&](std::string_view further) -> failure {
        if (auto f = check_model_name(x, further)) return f;
        if (must_be_priced && !has_price(x, further)) return unpriced(further);
        return {};
    };
    for (const auto& further : asked.models)
        if (auto f = check(further)) return f;
    for (const auto& each : asked.consulted)
        if (auto f = check(each.name)) return f;
    return {};
}

/// What the request uses at most, if that model reads so many tokens and answers with so many.
metering::token_counts most_of(const exchange& x, const metering::request_demand& asked,
                               std::string_view model, std::int64_t input, answer_size size)
{
    auto answer = size.tokens;
    const auto* price = x.rt->prices->find(x.to->provider.name, model);
    if (price != nullptr && price->max_output_tokens > 0) answer = std::min(answer, price->max_output_tokens);
    metering::token_counts most;
    most.input = input + size.searches * metering::tokens_a_search(x.way->wire);
    most.web_searches = size.searches + size.pages;
    if (__builtin_mul_overflow(answer, asked.answers, &most.output) || most.output > metering::largest_count)
        most.output = metering::largest_count;
    return most;
}

metering::demand demand_by(const exchange& x, const metering::request_demand& asked, std::string_view model,
                           std::int64_t input, answer_size answer)
{
    const auto most = most_of(x, asked, model, input, answer);
    metering::demand out;
    out.tokens = most.total();
    out.nano_usd = x.rt->prices->most(x.to->provider.name, model,
                                      {.tiers = asked.tiers,
                                       .input = most.input,
                                       .output = most.output,
                                       .searches = most.web_searches,
                                       .cache_write = asked.writes_cache,
                                       .long_cache_write = asked.writes_long_cache,
                                       .audio = asked.output_audio,
                                       .image = asked.output_image});
    return out;
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
    if (auto f = check_readable(x)) return f;
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
    auto& budget = *x.who->budget;
    const bool must_be_priced = rules.refuse_unpriced && budget.limits_money();
    if (must_be_priced && !has_price(x, model)) return unpriced(model);

    const auto now = metering::now_us();
    const auto left = budget.left(now);
    // Only limits need the second look through the body.
    const bool limited = left.nano_usd || left.tokens || !x.who->info.models.empty();
    auto asked = limited && x.asked
                     ? *x.asked
                     : metering::demand_of(route.wire, model,
                                           limited && x.facts.is_object ? x.body.view() : std::string_view());
    x.asked.reset();
    if (route.body == body_kind::multipart && !x.facts.is_object) asked.answers = x.facts.choices;
    if (!limited) {
        if (!asked.output) asked.output = x.facts.max_tokens;
        asked.answers = std::clamp<std::int64_t>(x.facts.choices, 1, 128);
    } else if (x.facts.is_object && !x.facts.complete)
        asked.output.reset();  // more may stand behind the place where reading stopped
    if (auto f = check_further_models(x, asked, must_be_priced)) return f;
    add_tiers(x, asked);

    const auto declared = asked.output.value_or(-1);
    const bool by_page = route.wire == metering::wire::mistral_ocr;
    const bool declares = declared >= 0 && declared <= rules.reserve_output_tokens;
    const bool bounded = declares && !by_page;
    const answer_size largest{.tokens = declares ? declared : rules.reserve_output_tokens,
                              .searches = asked.searches,
                              .pages = by_page ? most_pages : 0};
    const auto input = brought_by(x, asked, limited) + asked.input_elsewhere + x.kept_input +
                       x.kept_unknown * metering::kept_allowance;
    const auto need_for = [&](answer_size answer) {
        metering::demand most;
        for (std::size_t i = 0; i <= asked.models.size(); ++i) {
            const auto one = demand_by(x, asked, i == 0 ? model : asked.models[i - 1], input, answer);
            most.nano_usd = std::max(most.nano_usd, one.nano_usd);
            most.tokens = std::max(most.tokens, one.tokens);
        }
        for (const auto& each : asked.consulted) {
            const auto one = demand_by(x, asked, each.name, input, {.tokens = rules.reserve_output_tokens});
            most.nano_usd =
                metering::saturated_sum(most.nano_usd, saturated_product(one.nano_usd, each.times));
            most.tokens = metering::saturated_sum(most.tokens, saturated_product(one.tokens, each.times));
        }
        return most;
    };

    auto need = need_for(largest);
    x.bound = most_of(x, asked, model, input, largest);
    // What the request leaves open may be cut to what is left, but not below this.
    const answer_size smallest{.tokens = std::min(largest.tokens, short_answer_tokens),
                               .searches = std::min<std::int64_t>(asked.searches, 1),
                               .pages = by_page ? 1 : 0};
    const auto least = bounded ? need : need_for(smallest);
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
