// What a kill -9 would leave: while a request is in flight, its journal slot holds the best that is known of
// its usage, so that the row which it becomes (`interrupted`, priced at the next start) says what the agent
// had, not what the provider had got round to counting. Written as the answer grows, not at each event.
#include "metering/best_known.hpp"
#include "metering/estimate.hpp"
#include "proxy/exchange.hpp"
#include "proxy/stored_usage.hpp"

#include <algorithm>

namespace keyhole::proxy {
namespace {

/// A few bytes of text are not worth a second look at the request.
constexpr std::uint64_t worth_sampling = 1024;
constexpr std::uint64_t first_step = 48;

/// The prompt's tokens, at a cost that does not grow with it.
std::int64_t input_so_far(exchange& x, std::uint64_t written)
{
    if (x.counted_input) return *x.counted_input;
    if (x.quick_input == 0) x.quick_input = metering::rough_input(x.facts.text_bytes);
    if (written >= worth_sampling && !x.input_sampled && !x.body.empty() && x.facts.is_object) {
        x.input_sampled = true;
        x.quick_input = metering::sampled_input(x.body.view(), x.facts.text_bytes);
    }
    return x.quick_input;
}

std::int64_t spoken(const exchange& x) noexcept
{
    return x.spoken_bytes + x.spoken_bytes / 2;
}

}  // namespace

void note_sent(exchange& x)
{
    if (!x.reuse.request_fully_sent || !x.way->counts) return;
    auto& row = x.row();
    if (!is_made_whole(x, row, {}, false) || row.format == metering::wire::none) return;
    const auto known = metering::best_known_usage({}, {.format = row.format,
                                                       .streamed = row.stream,
                                                       .counted_input = input_so_far(x, 0),
                                                       .kept_input = x.kept_input});
    row.counts = known.counts;
    row.source = known.source;
}

void note_refused(exchange& x)
{
    auto& row = x.row();
    row.counts = row.beyond = {};
    row.source = metering::usage_source::none;
}

void note_progress(exchange& x)
{
    // Of what was made before, only the whole is billed; what goes on by itself stays booked at its bound.
    if (x.way->objects == object_rule::uses || x.facts.background) return;
    const auto& seen = x.meter->so_far();
    const auto told = seen.counts.total();
    if (seen.text.bytes < x.next_note && told == x.noted_total && x.spoken_bytes == 0) return;
    x.noted_total = told;
    x.next_note = seen.text.bytes + std::max(first_step, seen.text.bytes / 16);

    auto& row = x.row();
    const auto known = metering::best_known_usage(seen, {.format = row.format,
                                                         .streamed = row.stream,
                                                         .complete = false,
                                                         .counted_input = input_so_far(x, seen.text.bytes),
                                                         .kept_input = x.kept_input});
    row.counts = known.counts;
    row.source = known.source;
    if (seen.beyond.total() != 0) {
        row.beyond = seen.beyond;
        row.beyond_model = seen.beyond_model;
    }
    if (x.spoken_bytes != 0 && row.bytes_out != 0 && seen.source == metering::usage_source::none)
        row.counts.output_audio = spoken(x);
    if (!seen.model.empty()) row.answered_model = seen.model;
    if (!seen.service_tier.empty()) row.service_tier = seen.service_tier;
}

}  // namespace keyhole::proxy
