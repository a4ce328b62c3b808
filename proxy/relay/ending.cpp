// How an answer can end: whole, cut by the provider, by the agent, by us. A cut answer never looks whole.
#include "proxy/relay/relaying.hpp"

#include <chrono>

namespace keyhole::proxy {
namespace {

bool wants_drain(const exchange& x)
{
    const auto& own = x.who->info.gone_policy;
    if (!own.empty()) return own == "drain";
    return x.rt->settings->gone.policy == config::agent_gone_policy::drain;
}

/// Whether a stream that ended in good order also ended with its API's own last word. One that did not was
/// cut behind a polite proxy, and every SDK would take it for whole.
bool has_last_word(const exchange& x, const metering::reading& seen)
{
    using metering::wire;
    if (!x.counted_stream || x.answer.status != 200 || seen.terminal || seen.error_event) return true;
    switch (x.way->wire) {
    case wire::anthropic_messages:
    case wire::openai_responses:
        return false;
    // Several compatible providers never send [DONE]; the usage they end with says as much.
    case wire::openai_chat:
    case wire::openai_completions:
        return seen.source != metering::usage_source::none;
    default:
        return true;
    }
}

}  // namespace

failure cut(exchange& x, std::string_view detail)
{
    const auto& name = x.to->provider.name;
    if (x.agent.cut() == cut_reason::revoked)
        return {errc::session_revoked, "The session was revoked.", std::string(detail), 0};
    if (x.agent.cut() == cut_reason::shutdown)
        return {errc::shutting_down, "The proxy is shutting down; try again in a moment.",
                std::string(detail), 1};
    if (x.agent.expired() == waiting_for::first_byte)
        return {errc::provider_timeout,
                "The provider " + name + " took the request but did not answer in time.", std::string(detail),
                0};
    return {errc::provider_unreachable, "The provider " + name + " broke the connection before it answered.",
            std::string(detail), 0};
}

metering::outcome cut_outcome(const relaying& r)
{
    if (r.c.cut() == cut_reason::revoked) return metering::outcome::revoked;
    if (r.c.cut() == cut_reason::shutdown) return metering::outcome::shutdown;
    if (r.cancelled || r.c.agent_gone() || r.c.expired() == waiting_for::drain)
        return metering::outcome::agent_gone;
    return metering::outcome::provider_cut;
}

std::string_view cut_error(const relaying& r)
{
    switch (r.c.expired()) {
    case waiting_for::first_byte:
        return "first_byte_timeout";
    case waiting_for::answer:
        return "idle_timeout";
    case waiting_for::drain:
        return "drain_timeout";
    case waiting_for::agent_to_read:
        return "agent_stalled";
    default:
        return r.c.agent_gone() ? "agent_gone" : "provider_reset";
    }
}

void hang_up(relaying& r)
{
    auto& x = r.x;
    if (r.hung_up || x.accounted) return;  // with its row written, nothing is left to read on for
    r.hung_up = true;
    auto& shared = r.c.home().shared();
    if (x.meter && x.meter->so_far().terminal) {
        r.c.limit().expect(waiting_for::drain,
                           std::chrono::seconds(1));  // only the framing's end is still to come
        return;
    }
    x.row().agent_gone = true;
    const bool room = shared.drains.fetch_add(1, std::memory_order_relaxed) < x.rt->settings->gone.max_drains;
    x.counted_drain = true;
    if (wants_drain(x) && room) {
        r.c.limit().expect(waiting_for::drain, seconds_of(x.rt->settings->gone.drain_seconds));
        return;
    }
    r.cancelled = true;
    if (x.line) x.line->close();
}

bool finish(relaying& r)
{
    auto& x = r.x;
    x.answer_complete = true;
    if (r.made && x.way->objects == object_rule::makes)
        x.made_id = r.made->id();
    else if (r.made)
        adopt_results(x, *r.made);
    x.reuse.response_complete = true;
    x.reuse.response_keeps_alive =
        x.answer.keep_alive && x.answer.http_1_1 && x.answer.framing != http::body_framing::until_close;
    using metering::outcome;
    const auto& seen = x.meter->finish(true);
    if (!has_last_word(x, seen)) {
        account(x, outcome::provider_cut, "stream_cut", "the stream ended without its API's last event");
        return !r.to_agent_chunked;
    }
    outcome end = outcome::ok;
    if (x.answer.status >= 400)
        end = outcome::provider_error;
    else if (seen.error_event)
        end = outcome::stream_error;
    else if (x.row().agent_gone)
        end = outcome::agent_gone;
    account(x, end, {}, {});
    return true;
}

failure broke_off(const exchange& x)
{
    return {errc::provider_bad_answer, "The provider's stream ended before its last event.",
            "provider " + x.to->provider.name + " ended the stream early", 0};
}

failure not_vouched_for(relaying& r)
{
    auto& x = r.x;
    if (r.coded->watch.swollen()) {
        account(x, metering::outcome::provider_cut, "answer_swollen",
                "the compressed answer holds more than can be looked through");
        return {errc::provider_bad_answer, "The provider's compressed answer swells beyond bounds.",
                "provider " + x.to->provider.name + " sent a compressed answer that swells beyond bounds", 0};
    }
    account(x, metering::outcome::provider_cut, "key_in_answer", "the compressed answer holds the key");
    return {errc::provider_bad_answer, "The provider's answer holds what must not leave the proxy.",
            "provider " + x.to->provider.name + " sent its key back, compressed", 0};
}

}  // namespace keyhole::proxy
