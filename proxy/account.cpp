// Step 11, and the slot it closes. EVERY_REQUEST_ONE_ROW: open_slot() comes before the first byte leaves,
// account() on every way out, once. The row, the log line, the metrics and the budget are fed from the same
// record, so they cannot disagree.
#include "metering/best_known.hpp"
#include "metering/estimate.hpp"
#include "metering/reprice.hpp"
#include "metering/storable.hpp"
#include "proxy/exchange.hpp"
#include "proxy/stored_usage.hpp"

#include <algorithm>

namespace keyhole::proxy {
namespace {

std::string_view label_or(const session& s, std::string_view name, std::string_view otherwise)
{
    const auto found = s.info.labels.find(std::string(name));
    return found != s.info.labels.end() ? std::string_view(found->second) : otherwise;
}

/// Speech comes as sound, without a word about its usage: it is billed by what was spoken.
void take_speech(exchange& x, metering::record& row)
{
    if (x.way->path != "/audio/speech" || row.bytes_out == 0) return;
    row.counts.input =
        x.counted_input ? *x.counted_input : metering::estimate_input(row.format, x.body.view());
    row.counts.output_audio = x.spoken_bytes + x.spoken_bytes / 2;
    row.source = metering::usage_source::estimated;
}

/// TOKENS_EXACT: the provider's numbers where it gave them; where an answer broke off, or never said, the
/// best that is known, marked.
void take_usage(exchange& x, metering::record& row, bool complete)
{
    if (!x.meter) return;
    const auto& r = x.meter->finish(complete);
    row.counts = r.counts;
    row.beyond = r.beyond;
    row.beyond_model = r.beyond_model;
    row.source = r.source;
    row.total_mismatch = r.total_mismatch;
    row.provider_cost_nano_usd = r.provider_cost_nano_usd;
    if (!r.model.empty()) row.answered_model = r.model;
    if (!r.id.empty()) row.answer_id = r.id;
    if (!r.service_tier.empty()) row.service_tier = r.service_tier;
    if (row.error.empty() && !r.error_type.empty()) row.error = r.error_type;
    if (!is_made_whole(x, row, r, complete)) return;
    if (row.format == metering::wire::none || row.status < 200 || row.status >= 400) return;
    // The agent has its bytes; what they say of the usage is not known.
    if (row.error.empty() && !r.unread.empty() && row.source != metering::usage_source::provider)
        row.error = r.unread;

    if (x.way->objects == object_rule::uses) return take_stored(x, row, r, complete);

    const auto known =
        metering::best_known_usage(r, {.format = row.format,
                                       .streamed = row.stream,
                                       .complete = complete,
                                       .request_body = x.facts.is_object ? x.body.view() : std::string_view(),
                                       .counted_input = x.counted_input});
    row.counts = known.counts;
    row.source = known.source;
    if (row.source == metering::usage_source::none || row.source == metering::usage_source::estimated)
        take_speech(x, row);
}

/// The provider has the whole request and works on it, but its answer was not waited for: the input is billed
/// there, so it counts here. A provider that broke the connection itself is not taken to have billed.
void take_unheard(exchange& x, metering::record& row, metering::outcome end)
{
    using metering::outcome;
    const bool left = end == outcome::agent_gone || end == outcome::revoked || end == outcome::shutdown ||
                      row.error.view() == "first_byte_timeout";
    if (x.meter || !left || !x.reuse.request_fully_sent || !x.way->counts) return;
    if (!is_made_whole(x, row, {}, false) || row.format == metering::wire::none) return;
    const auto known = metering::best_known_usage(
        {}, {.format = row.format,
             .streamed = row.stream,
             .complete = false,
             .request_body = x.facts.is_object ? x.body.view() : std::string_view()});
    row.counts = known.counts;
    row.source = known.source;
}

}  // namespace

failure open_slot(exchange& x)
{
    metering::record r;
    const auto& s = x.who->info;
    r.request_id = x.id;
    r.session = s.id;
    r.account = s.account;
    r.sandbox = s.sandbox;
    r.run = label_or(*x.who, "run", x.head.get("x-keyhole-run"));
    r.attempt = label_or(*x.who, "attempt", x.head.get("x-keyhole-attempt"));
    r.provider = x.to->provider.name;
    r.route = x.way->name;
    r.model = x.facts.model;
    r.format =
        x.way->objects == object_rule::uses && x.stored_id.empty() ? metering::wire::none : x.way->wire;
    r.stream = x.facts.stream;
    r.received_us = x.received_us;
    r.reserved_nano_usd = x.held ? x.held.held().nano_usd : 0;
    x.slot = x.agent.home().shared().inflight.open(r);
    if (x.slot) return {};
    x.held.release();
    x.agent.set_upstream(nullptr);  // it is nobody's from here on
    x.agent.home().pool().give_back(std::move(x.line));
    return {errc::ledger_unavailable,
            "The ledger cannot take another request (the disk may be full, or the database locked); nothing "
            "is forwarded unmetered.",
            "no free journal slot", 1};
}

void account(exchange& x, metering::outcome end, std::string_view error, std::string_view log_detail)
{
    if (x.accounted) return;
    x.accounted = true;
    if (x.counted_connection) x.who->connections.fetch_sub(1, std::memory_order_relaxed);
    if (!x.slot) {
        x.held.release();  // nothing left: nothing is counted
        return;
    }
    auto& shared = x.agent.home().shared();
    auto& row = shared.inflight.at(*x.slot);
    const bool complete = end == metering::outcome::ok || end == metering::outcome::provider_error ||
                          end == metering::outcome::stream_error || x.answer_complete;
    row.end = end;
    if (!error.empty()) row.error = error;
    if (!x.meter) note_refused(x);  // what the slot held for a kill -9
    take_usage(x, row, complete);
    take_unheard(x, row, end);
    if (!x.made_id.empty()) row.answer_id = x.made_id;

    const auto& prices = *x.rt->prices;
    const auto provider = row.provider.view();
    const auto* known = prices.find(provider, row.answered_model.view());
    if (known == nullptr) known = prices.find(provider, row.model.view());
    if (metering::has_cost(row)) {
        const auto cost = metering::price_of(row, prices);
        row.cost_nano_usd = cost.nano_usd;
        row.priced = cost.priced;
        if (cost.priced) row.price_version = prices.version();
    }
    row.ended_us = std::max(metering::now_us(), row.received_us);
    // Log, metrics and budget count what the ledger will hold, whatever a provider claims.
    metering::bound_numbers(row);

    const auto overhead = row.forwarded_us == 0 ? 0 : row.forwarded_us - x.overhead_from_us - x.connect_us;
    shared.meters.request_ended(row, known != nullptr ? std::string_view(known->model) : std::string_view{},
                                std::max<std::int64_t>(overhead, 0));
    if (x.counted_stream) shared.meters.stream_ended();
    if (x.counted_drain) shared.drains.fetch_sub(1, std::memory_order_relaxed);
    shared.log.request(row, log_detail);
    const auto cost = row.cost_nano_usd;
    const auto tokens = row.counts.total() + row.beyond.total();
    const auto ended_us = row.ended_us;
    const bool settles = row.settles_estimate;
    shared.inflight.settle(*x.slot);
    shared.books.submit(*x.slot);  // the row is the writer's from here on
    x.slot.reset();
    // After the row: a limit that is set meanwhile finds what was used in one of the two, never in neither.
    x.held.settle(cost, tokens, ended_us);
    give_back_estimates(x, settles);
}

}  // namespace keyhole::proxy
