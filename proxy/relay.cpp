// Step 10: the answer, as it comes. Each read leaves for the agent at once (NOTHING_WAITS) in one write; the
// meter looks at the same bytes afterwards. A slow agent holds back the provider, not memory: nothing is read
// while a write waits. What the agent must not see (the key, an inserted usage chunk) is taken out in place.
// A cut answer never looks whole.
#include "metering/decode.hpp"
#include "proxy/exchange.hpp"
#include "proxy/http/chunked.hpp"
#include "proxy/objects.hpp"
#include "proxy/upstream/coded_watch.hpp"
#include "proxy/upstream/masking.hpp"

#include <algorithm>
#include <cstring>

namespace keyhole::proxy {
namespace {

constexpr std::size_t framing_room = 32;                // a chunk's size line
constexpr std::size_t tail_room = 8;                    // CRLF and the last chunk
constexpr std::size_t longest_error_body = 512 * 1024;  // an error body is masked whole up to here
constexpr std::size_t longest_listing = 8 * 1024 * 1024;
constexpr std::string_view last_chunk = "0\r\n\r\n";

/// The relay's own state: one buffer, lent by the worker, with room before and after the payload for chunk
/// framing.
struct relaying {
    explicit relaying(exchange& owner)
        : x(owner)
        , c(owner.agent)
        , buffer(c.home().lend_buffer())
        , base(framing_room + (owner.key ? std::min<std::size_t>(owner.key->size(), 1024) : 0))
        , room(worker::buffer_size - base - tail_room)
        , masker(owner.key && owner.key->size() <= 1024 ? owner.key->reveal() : std::string_view{})
    {
    }
    ~relaying() { c.home().return_buffer(std::move(buffer)); }
    relaying(const relaying&) = delete;
    relaying& operator=(const relaying&) = delete;

    exchange& x;
    connection& c;
    std::unique_ptr<char[]> buffer;
    std::size_t base;  ///< reads land here
    std::size_t room;
    std::size_t have = 0;  ///< raw bytes at base
    upstream::stream_masker masker;
    std::string carry;  ///< the end of the last payload, which could be the beginning of the key
    std::optional<upstream::coded_watch> watch;  ///< of an answer that came compressed
    std::string held;                            ///< coded bytes that must not leave yet, with framing room
    std::string leaving;                         ///< held bytes on their way
    http::chunk_decoder chunks;
    std::uint64_t left = 0;  ///< of a body with a length
    bool done = false;
    bool to_agent_chunked = false;
    std::string head;  ///< until it is sent
    std::optional<metering::include_usage_filter> filter;
    std::optional<made_object> made;  ///< reads the id of an object that this request makes
    std::size_t drained = 0;
    bool hung_up = false;  ///< the policy for a hang-up is in force
    bool cancelled = false;

    char* raw() { return buffer.get() + base; }
};

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

/// How an answer that did not reach its end is entered in the ledger.
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

bool wants_drain(const exchange& x)
{
    const auto& own = x.who->info.gone_policy;
    if (!own.empty()) return own == "drain";
    return x.rt->settings->gone.policy == config::agent_gone_policy::drain;
}

/// The agent hung up: from now on the provider is read for the meter alone, within bounds, or not at all.
void hang_up(relaying& r)
{
    if (r.hung_up) return;
    r.hung_up = true;
    auto& x = r.x;
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

/// Reads from the provider behind what is there. 0: its end, or an error (in `ec`).
task<std::size_t> read_some(relaying& r, error_code& ec)
{
    auto [error, n] =
        co_await r.x.line->async_read_some(asio::buffer(r.raw() + r.have, r.room - r.have), as_result);
    ec = error;
    r.have += n;
    co_return n;
}

/// Up to the final head; 1xx answers are read over.
task<failure> read_answer_head(relaying& r)
{
    auto& x = r.x;
    std::size_t searched = 0;
    while (true) {
        const std::string_view text(r.raw(), r.have);
        const auto length = http::head_length(text, searched);
        if (length != 0) {
            x.answer_text.assign(text.substr(0, length));
            const auto e = http::parse_response(x.answer_text, x.head.verb == http::method::head, x.answer);
            std::memmove(r.raw(), r.raw() + length, r.have - length);
            r.have -= length;
            searched = 0;
            if (e != http::head_error::none || x.answer.status == 101)
                co_return failure{errc::provider_bad_answer, "The provider's answer is not understood.",
                                  "malformed answer head", 0};
            if (x.answer.status >= 200) co_return failure{};
            continue;
        }
        if (r.have == r.room)
            co_return failure{errc::provider_bad_answer, "The provider's answer is not understood.",
                              "answer head too large", 0};
        error_code ec;
        const std::size_t n = co_await read_some(r, ec);
        if (n == 0) {
            const bool garbage =
                r.have != 0 && x.agent.expired() == waiting_for::nothing && x.agent.cut() == cut_reason::none;
            if (garbage)
                co_return failure{errc::provider_bad_answer, "The provider's answer is not understood.",
                                  "answer head cut short", 0};
            co_return cut(x, ec.message());
        }
        if (x.row().first_byte_us == 0) x.row().first_byte_us = metering::now_us();
    }
}

struct payload {
    char* at = nullptr;
    std::size_t size = 0;
    std::string_view view() const noexcept { return {at, size}; }
};

/// Takes the transfer coding off the raw bytes at hand. The payload lies in the buffer, framing room around
/// it.
payload decode(relaying& r)
{
    payload out{r.raw(), 0};
    switch (r.x.answer.framing) {
    case http::body_framing::chunked: {
        const auto step = r.chunks.feed(r.raw(), r.have);
        out = {r.raw() + step.payload_begin, step.payload_size};
        r.done = r.chunks.done();
        r.x.reuse.nothing_unread = r.done && step.consumed == r.have;
        break;
    }
    case http::body_framing::length: {
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(r.left, r.have));
        out.size = n;
        r.left -= n;
        r.done = r.left == 0;
        r.x.reuse.nothing_unread = r.done && n == r.have;
        break;
    }
    case http::body_framing::until_close:
        out.size = r.have;
        break;
    case http::body_framing::none:
        r.done = true;
        r.x.reuse.nothing_unread = r.have == 0;
        break;
    }
    r.have = 0;
    return out;
}

/// KEY_STAYS_HOME for bodies: whole keys are starred out; the beginning of one at the end of a read waits for
/// the next.
void mask(relaying& r, payload& p)
{
    if (!r.x.key) return;
    if (!r.carry.empty()) {
        p.at -= r.carry.size();
        std::memcpy(p.at, r.carry.data(), r.carry.size());
        p.size += r.carry.size();
        r.carry.clear();
    }
    bool masked = false;
    const auto waiting = r.masker.mask({p.at, p.size}, masked);
    if (waiting != 0 && r.done) {
        std::memset(p.at + p.size - waiting, '*', waiting);  // an end that is a long part of the key
        masked = true;
    } else if (waiting != 0) {
        r.carry.assign(p.at + p.size - waiting, waiting);
        p.size -= waiting;
    }
    if (masked) r.c.home().shared().meters.key_masked(r.x.to->provider.name);
}

/// KEY_STAYS_HOME for compressed bodies: they can't be starred out, so they are held while they might hold
/// the key. False: they do, and the answer ends here.
bool vouch(relaying& r, payload& p)
{
    using verdict = upstream::coded_watch::verdict;
    if (!r.watch) return true;
    const auto seen = r.watch->look(p.view(), r.done);
    if (seen == verdict::key_found) {
        r.c.home().shared().meters.key_masked(r.x.to->provider.name);
        return false;
    }
    if (seen == verdict::unsure || !r.held.empty()) {
        if (r.held.empty()) r.held.assign(framing_room, ' ');
        r.held.append(p.view());
        p.size = 0;
    }
    if (seen == verdict::clear && !r.held.empty()) {
        r.leaving = std::exchange(r.held, {});
        const auto n = r.leaving.size() - framing_room;
        r.leaving.append(tail_room, ' ');
        p = {r.leaving.data() + framing_room, n};
    }
    return true;
}

/// One write: what is left of the head, this payload in the agent's framing, and the end if this is it.
task<bool> send(relaying& r, payload p, bool last)
{
    std::string edited;
    if (r.filter) {
        edited = r.filter->feed(p.view());
        if (last) edited += r.filter->finish();
        if (!edited.empty() && r.to_agent_chunked) {
            char line[32];
            const auto n = http::write_size_line_before(line + sizeof line, edited.size());
            edited.insert(0, line + sizeof line - n, n);
            edited += "\r\n";
        }
        if (last && r.to_agent_chunked) edited += last_chunk;
        p = {edited.data(), edited.size()};
    } else if (r.to_agent_chunked) {
        // The framing is written around the payload where it lies.
        char* end = p.at + p.size;
        if (p.size != 0) {
            std::memcpy(end, "\r\n", 2);
            end += 2;
            const auto n = http::write_size_line_before(p.at, p.size);
            p.at -= n;
        }
        if (last) {
            std::memcpy(end, last_chunk.data(), last_chunk.size());
            end += last_chunk.size();
        }
        p.size = static_cast<std::size_t>(end - p.at);
    }
    if (r.head.empty() && p.size == 0) co_return true;
    r.c.limit().expect(waiting_for::agent_to_read, seconds_of(r.x.rt->settings->bounds.write_timeout));
    const std::string_view head = r.head;
    const bool written =
        co_await r.c.write(head.empty() ? p.view() : head, head.empty() ? std::string_view{} : p.view());
    if (written) r.x.answer_begun = true;
    r.head.clear();
    co_return written;
}

void note_progress(relaying& r)
{
    // What a kill -9 would leave: the journal slot is kept current with the best-known usage.
    auto& row = r.x.row();
    const auto& seen = r.x.meter->so_far();
    if (row.counts == seen.counts) return;
    const auto cost = r.x.rt->prices->price(row.provider.view(), row.model.view(), {}, seen.counts);
    row.cost_nano_usd = cost.nano_usd;
    row.priced = cost.priced;
    row.counts = seen.counts;
    row.source = seen.source == metering::usage_source::none ? metering::usage_source::none
                                                             : metering::usage_source::provider_partial;
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

/// The answer's framing is complete: settles the row. False: it breaks off all the same, and must not look
/// whole.
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

/// A compressed answer turned out to hold the real key.
failure key_came_back(exchange& x)
{
    account(x, metering::outcome::provider_cut, "key_in_answer", "the compressed answer holds the key");
    return {errc::provider_bad_answer, "The provider's answer holds what must not leave the proxy.",
            "provider " + x.to->provider.name + " sent its key back, compressed", 0};
}

/// The body, read by read.
task<failure> relay_body(relaying& r)
{
    auto& x = r.x;
    auto& row = x.row();
    const auto idle = seconds_of(x.to->provider.idle_timeout);
    r.left = x.answer.content_length;
    if (x.answer.framing == http::body_framing::none) r.done = true;
    bool first = true;
    while (true) {
        payload p = decode(r);
        if (r.chunks.failed()) {
            account(x, metering::outcome::provider_cut, "bad_chunk", "malformed chunked answer");
            co_return failure{errc::provider_bad_answer, "The provider's answer is malformed.", {}, 0};
        }
        row.bytes_out += static_cast<std::int64_t>(p.size);
        if (r.made) r.made->feed(p.view());
        if (p.size != 0 && row.first_token_us == 0 && x.answer.status < 300)
            row.first_token_us = metering::now_us();
        const std::string_view metered = p.view();
        if (r.done) {
            // The last piece: the row is settled before the agent learns that the answer is over.
            x.meter->feed(metered);
            mask(r, p);
            if (!vouch(r, p)) co_return key_came_back(x);
            const bool whole = finish(r);
            if (!r.c.agent_gone()) {
                const bool written = co_await send(r, p, whole);
                if (!written) x.reuse.cancelled = r.c.cut() != cut_reason::none;
            }
            if (!whole) co_return broke_off(x);
            co_return failure{};
        }
        if (!r.hung_up && r.c.agent_gone()) hang_up(r);
        if (r.hung_up) {
            x.meter->feed(metered);
            r.drained += metered.size();
            if (r.drained > x.rt->settings->gone.drain_bytes) x.line->close();
        } else if (p.size != 0 || first) {
            // The framing overwrites what surrounds the payload, never the payload: the meter reads it after
            // the write.
            payload out = p;
            mask(r, out);
            const bool held_back =
                !r.carry.empty();  // then the framing stands on bytes that the meter has not seen
            if (held_back) x.meter->feed(metered);
            if (!vouch(r, out)) co_return key_came_back(x);
            const bool written = co_await send(r, out, false);
            if (!held_back) x.meter->feed(metered);
            if (!written && r.c.cut() == cut_reason::none) hang_up(r);
        }
        first = false;
        note_progress(r);
        if (!r.hung_up) r.c.limit().expect(waiting_for::answer, idle);
        error_code ec;
        const std::size_t n = co_await read_some(r, ec);
        if (n != 0) continue;
        if (ec == asio::error::eof && x.answer.framing == http::body_framing::until_close &&
            r.c.cut() == cut_reason::none)
        {
            r.done = true;
            payload rest{r.raw(), 0};
            mask(r, rest);
            if (!vouch(r, rest)) co_return key_came_back(x);
            const bool whole = finish(r);
            if (!r.c.agent_gone()) co_await send(r, rest, whole);
            if (!whole) co_return broke_off(x);
            x.head.keep_alive = x.head.keep_alive && r.to_agent_chunked;
            co_return failure{};
        }
        account(x, cut_outcome(r), cut_error(r), ec.message());
        co_return cut(x, ec.message());
    }
}

/// Collects what a content decoder gives, up to a bound.
struct plain_text final : metering::decoded_sink {
    std::string text;
    void on_decoded(std::string_view bytes) override
    {
        if (text.size() < longest_error_body) text += bytes;
    }
};

/// KEY_STAYS_HOME in error bodies, compressed ones included: one that holds the key goes on in plain, masked.
void mask_error(relaying& r, std::string& body)
{
    auto& x = r.x;
    if (!x.key) return;
    const auto key = x.key->reveal();
    const auto mask = [&](std::string& text) {
        bool masked = upstream::mask_fragments(text, key);
        upstream::stream_masker(key).mask(text, masked);
        return masked;
    };
    bool known = false;
    plain_text decoded;
    bool masked = false;
    if (const auto decoder = metering::content_decoder::make(x.answer.get("content-encoding"), known)) {
        decoder->feed(body, decoded);
        masked = mask(decoded.text);
        if (masked) {
            body = std::move(decoded.text);
            std::erase_if(x.answer.fields,
                          [](const http::field& f) { return http::iequals(f.name, "content-encoding"); });
        }
    } else
        masked = mask(body);
    if (masked) r.c.home().shared().meters.key_masked(x.to->provider.name);
}

/// Errors and listings are held until they are whole: fragments of the key are found wherever they stand, and
/// other sessions' objects are taken out.
task<failure> relay_whole(relaying& r)
{
    auto& x = r.x;
    r.left = x.answer.content_length;
    const std::size_t most = x.answer.status >= 400 ? longest_error_body : longest_listing;
    std::string body;
    bool keeps_alive = true;
    while (true) {
        const payload p = decode(r);
        if (r.chunks.failed()) break;
        body.append(p.view());
        x.row().bytes_out += static_cast<std::int64_t>(p.size);
        if (r.done || body.size() > most) break;
        r.c.limit().expect(waiting_for::answer, seconds_of(x.to->provider.idle_timeout));
        error_code ec;
        const std::size_t n = co_await read_some(r, ec);
        if (n != 0) continue;
        r.done = ec == asio::error::eof && x.answer.framing == http::body_framing::until_close;
        break;
    }
    if (!r.done) {
        account(x, metering::outcome::provider_cut,
                r.chunks.failed() ? std::string_view("bad_chunk") : cut_error(r),
                "an answer that is cut, malformed or too long to be looked through");
        co_return failure{errc::provider_bad_answer, "The provider's answer broke off.", {}, 0};
    }
    x.meter->feed(body);
    mask_error(r, body);
    if (x.answer.status < 400) {
        std::string mine = co_await keep_own_objects(x, std::move(body));
        body = std::move(mine);
    }
    r.head = build_answer_head(x, body.size(), false, keeps_alive);
    x.head.keep_alive = keeps_alive;
    finish(r);
    if (r.c.agent_gone()) co_return failure{};
    r.c.limit().expect(waiting_for::agent_to_read, seconds_of(x.rt->settings->bounds.write_timeout));
    x.answer_begun = co_await r.c.write(r.head, body);
    co_return failure{};
}

/// Decides how the answer goes on: framing towards the agent, and whether an inserted usage chunk must come
/// out.
void prepare(relaying& r)
{
    auto& x = r.x;
    auto& row = x.row();
    const auto type = x.answer.get("content-type");
    const auto coding = x.answer.get("content-encoding");
    const bool identity = coding.empty() || http::iequals(coding, "identity");
    const bool events = type.substr(0, 17) == "text/event-stream";
    row.status = static_cast<std::int16_t>(x.answer.status);
    auto provider_id = x.answer.get("request-id");
    if (provider_id.empty()) provider_id = x.answer.get("x-request-id");
    row.provider_request_id = provider_id;
    row.stream = row.stream || events;
    x.meter.emplace(x.way->wire, metering::answer_head{x.answer.status, type, coding});
    if (events) {
        x.counted_stream = true;
        r.c.home().shared().meters.stream_started();
    }
    if (x.key && !identity) r.watch.emplace(coding, x.key->reveal());
    if (x.edit && events && identity && x.answer.status == 200) r.filter.emplace();
    const bool makes = x.way->objects == object_rule::makes && x.way->wire == metering::wire::none;
    const bool looks_at_batch = x.way->objects == object_rule::uses && x.way->path == "/batches/{id}";
    if ((makes || looks_at_batch) && x.answer.status < 300) r.made.emplace();
}

task<failure> relay_answer(relaying& r)
{
    auto& x = r.x;
    failure bad = co_await read_answer_head(r);
    if (bad) {
        const bool waited = r.c.agent_gone() || r.c.cut() != cut_reason::none || r.cancelled;
        account(x, waited ? cut_outcome(r) : metering::outcome::provider_down,
                bad.code == errc::provider_bad_answer ? std::string_view("bad_answer") : cut_error(r),
                bad.log_detail);
        co_return bad;
    }
    prepare(r);
    const bool unreadable = r.watch && !r.watch->knows_coding();
    if (unreadable && x.answer.framing != http::body_framing::none) {
        account(x, metering::outcome::provider_cut, "unknown_coding",
                "an answer in a coding that nobody asked for");
        co_return failure{errc::provider_bad_answer,
                          "The provider's answer came in a coding that nobody asked for.",
                          "unknown content-encoding", 0};
    }
    const bool listing = x.way->objects == object_rule::lists && x.answer.status == 200;
    if ((x.answer.status >= 400 || listing) && x.answer.framing != http::body_framing::none) {
        failure f = co_await relay_whole(r);
        co_return f;
    }
    std::optional<std::uint64_t> length;
    if (x.answer.framing == http::body_framing::length && !r.filter)
        length = x.answer.content_length;
    else if (x.answer.framing == http::body_framing::none && x.answer.status != 204 && x.answer.status != 304)
        length = 0;
    bool keeps_alive = true;
    const bool has_body = x.answer.framing != http::body_framing::none;
    r.to_agent_chunked = has_body && !length && x.head.http_1_1;
    if (has_body && !length && !x.head.http_1_1) keeps_alive = false;
    r.head = build_answer_head(x, length, r.to_agent_chunked, keeps_alive);
    x.head.keep_alive = keeps_alive;
    failure f = co_await relay_body(r);
    co_return f;
}

}  // namespace

task<failure> relay(exchange& x)
{
    auto& c = x.agent;
    failure out;
    {
        relaying r(x);
        c.set_on_hangup([&r] { hang_up(r); });
        c.watch_for_hangup();
        if (c.agent_gone()) hang_up(r);
        failure f = co_await relay_answer(r);
        out = std::move(f);
        c.stop_watching();
        c.set_on_hangup(nullptr);
    }
    c.set_upstream(nullptr);
    c.limit().rest();
    if (!out && upstream::may_reuse(x.reuse) && c.cut() == cut_reason::none)
        c.home().pool().give_back(std::move(x.line));
    x.line.reset();
    co_return out;
}

}  // namespace keyhole::proxy
