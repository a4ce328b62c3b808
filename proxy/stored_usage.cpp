#include "proxy/stored_usage.hpp"

#include "metering/best_known.hpp"
#include "metering/reprice.hpp"
#include "proxy/exchange.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace keyhole::proxy {
namespace {

using metering::usage_source;

/// States whose counts are the last ones. A body that names no state is taken at its word.
bool is_final(std::string_view state) noexcept
{
    constexpr std::array<std::string_view, 8> final{"",          "completed", "failed",  "incomplete",
                                                    "cancelled", "canceled",  "expired", "requires_action"};
    return std::ranges::find(final, state) != final.end();
}

void forget(metering::record& row)
{
    row.counts = {};
    row.beyond = {};
    row.source = usage_source::none;
    row.provider_cost_nano_usd = 0;
}

bool claim(exchange& x, std::string_view what)
{
    return x.agent.home().shared().adopted.claim(x.to->provider.name + '\n' + std::string(what) +
                                                 x.stored_id);
}

}  // namespace

bool is_made_whole(exchange& x, metering::record& row, const metering::reading& seen, bool complete)
{
    if (x.way->objects != object_rule::makes || !x.way->counts || row.status >= 300) return true;
    const bool batch = row.format == metering::wire::none;
    const bool finished = row.source == usage_source::provider && is_final(seen.state);
    // A stream that ends without its last word has broken off, unless it was to go on by itself.
    const bool unfinished = complete && !is_final(seen.state) && (!row.stream || x.facts.background);
    const bool goes_on = batch || unfinished || (!complete && !finished && x.facts.background);
    if (!goes_on) return true;
    forget(row);
    if (x.bound.total() == 0) return false;
    row.counts = x.bound;
    row.source = usage_source::estimated;
    if (batch) row.service_tier = "batch";
    return false;
}

void take_stored(exchange& x, metering::record& row, const metering::reading& seen, bool complete)
{
    if (metering::is_batch(row.format)) row.service_tier = "batch";
    const bool told = row.source != usage_source::none && row.counts.total() + row.beyond.total() != 0;
    // A part of it (a range), or one that could not be read to its end, is not the last word.
    const bool last_word = complete && is_final(seen.state) && row.status == 200 && !seen.damaged;
    // A failure that tells no usage is not billed, nor are results in which every request failed; what was
    // cancelled without a word stays estimated.
    const bool ends = last_word && (told || seen.state == "failed" ||
                                    row.format == metering::wire::anthropic_batch_results);
    if (!x.stored_id.empty() && !x.stored.final && ends && claim(x, {})) {
        row.answer_id = x.stored_id;
        row.settles_estimate = true;
        return;
    }
    const bool cut_off = !complete && !x.stored_id.empty() && !x.stored.final && x.stored.estimates.empty();
    if (cut_off) {
        const auto known = metering::best_known_usage(
            seen, {.format = row.format, .streamed = row.stream, .complete = false});
        if (known.counts.total() != 0 && claim(x, "cut:")) {
            row.counts = known.counts;
            row.source = usage_source::estimated;
            row.answer_id = x.stored_id;
            return;
        }
    }
    forget(row);
}

void give_back_estimates(exchange& x, bool settled)
{
    if (!settled) return;
    auto& registry = x.agent.home().shared().registry;
    for (const auto& e : x.stored.estimates) {
        auto whose = x.who->info.account == e.account ? x.who->budget->parent() : nullptr;
        if (const auto maker = registry.find_id(e.session)) whose = maker->budget;
        if (whose)
            whose->give_back(e.nano_usd, e.tokens, e.ended_us);  // of a maker that is gone: its account
    }
}

}  // namespace keyhole::proxy
