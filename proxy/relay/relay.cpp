// Step 10: the answer, as it comes. Each read leaves for the agent at once (NOTHING_WAITS) in one write; the
// meter looks at the same bytes afterwards. A slow agent holds back the provider, not memory: nothing is read
// while a write waits. What the agent must not see (the key, an inserted usage chunk) is taken out in place.
// A cut answer never looks whole.
#include "metering/decode.hpp"
#include "metering/estimate.hpp"
#include "metering/numbers.hpp"
#include "proxy/relay/relaying.hpp"

namespace keyhole::proxy {
namespace {

/// A stream may last for minutes, and thousands may run: what only its beginning needed goes once it has
/// begun.
void shed_heads(relaying& r)
{
    auto& x = r.x;
    config::wipe(x.head_text.data(), x.head_text.size());
    x.head.verb_text = x.head.target = x.answer.reason = {};
    for (auto* text : {&x.head_text, &x.answer_text, &r.head})
        std::string().swap(*text);  // an assignment would keep its memory
    for (auto* fields : {&x.head.fields, &x.answer.fields})
        std::vector<http::field>().swap(*fields);
    for (auto* names : {&x.head.connection_options, &x.answer.connection_options})
        std::vector<std::string_view>().swap(*names);
}

/// The prompt is kept for an estimate, should the provider never say its size. One that is soon counted is
/// counted early where its answer takes long.
void shed_body(exchange& x, const metering::record& row)
{
    constexpr std::int64_t long_us = 1'000'000;
    constexpr std::size_t soon_counted = 64 * 1024;
    if (x.body.empty() || x.body.size() > soon_counted || metering::now_us() - row.forwarded_us < long_us)
        return;
    x.counted_input = x.facts.is_object ? metering::estimate_input(row.format, x.body.view()) : 0;
    x.body.let_go();
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
        if (row.first_token_us == 0 && x.answer.status < 300 && r.silence.broken_by(p.view()))
            row.first_token_us = metering::now_us();
        const std::string_view metered = p.view();
        if (r.done) {
            // The last piece: the row is settled before the agent learns that the answer is over.
            x.meter->feed(metered);
            mask(r, p);
            if (!vouch(r, p)) co_return not_vouched_for(r);
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
            if (!vouch(r, out)) co_return not_vouched_for(r);
            bool written = send_at_once(r, out, false);
            if (!written) {
                const bool rest = co_await send_rest(r);
                written = rest;
            }
            if (!held_back) x.meter->feed(metered);
            if (!written && r.c.cut() == cut_reason::none) hang_up(r);
        }
        first = false;
        note_progress(x);
        if (!r.hung_up) r.c.limit().expect(waiting_for::answer, idle);
        if (!x.head_text.empty() && x.answer_begun) shed_heads(r);
        shed_body(x, row);
        error_code ec;
        std::size_t n = read_expected(r, ec);
        if (n == 0 && !ec && may_rest(r)) {
            // Here rather than in a coroutine of its own, whose frame every stream would hold meanwhile.
            r.reads_in_a_row = 0;
            r.rest();
            auto [waited] = co_await x.line->socket().async_wait(tcp_socket::wait_read, as_result);
            ec = waited;
            if (!ec) n = read_awaited(r, ec);
        }
        if (n == 0 && !ec) {
            const std::size_t read = co_await read_some(r, ec);
            n = read;
        }
        if (n != 0) continue;
        if (ec == asio::error::eof && x.answer.framing == http::body_framing::until_close &&
            r.c.cut() == cut_reason::none)
        {
            r.done = true;
            payload rest{r.raw(), 0};
            mask(r, rest);
            if (!vouch(r, rest)) co_return not_vouched_for(r);
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

std::string_view provider_request_id(const http::response_head& head)
{
    for (const auto* name : {"request-id", "x-request-id", "x-amzn-requestid", "apim-request-id"})
        if (const auto id = head.get(name); !id.empty()) return id;
    return {};
}

/// Bedrock counts in the head where the model's own body does not.
metering::answer_head what_the_head_says(const http::response_head& head, std::string_view type,
                                         std::string_view coding)
{
    const auto count = [&](std::string_view name) {
        const auto text = head.get(name);
        return text.empty() ? std::nullopt : metering::parse_count(text);
    };
    return {.status = head.status,
            .content_type = type,
            .content_encoding = coding,
            .counts = {.input = count("x-amzn-bedrock-input-token-count"),
                       .output = count("x-amzn-bedrock-output-token-count"),
                       .cache_read = count("x-amzn-bedrock-cache-read-input-token-count"),
                       .cache_write = count("x-amzn-bedrock-cache-write-input-token-count")},
            .service_tier = head.get("x-amzn-bedrock-service-tier"),
            .error_type = head.get("x-amzn-errortype"),
            .texts = metering::texts_counted::unbilled};
}

/// Decides how the answer goes on: framing towards the agent, and whether an inserted usage chunk must come
/// out.
void prepare(relaying& r)
{
    auto& x = r.x;
    auto& row = x.row();
    const auto type = x.answer.get("content-type");
    const auto coding = x.answer.get("content-encoding");
    const bool identity = metering::content_decoder::is_identity(coding);
    const auto is = [&](std::string_view wanted) {
        return http::iequals(type.substr(0, wanted.size()), wanted);
    };
    const bool events = is("text/event-stream");
    r.silence = silence_watch(!identity ? silence_watch::form::any
                              : events  ? silence_watch::form::events
                                        : silence_watch::form::text);
    const bool streams = events || is("application/x-ndjson") || is("application/vnd.amazon.eventstream");
    row.status = static_cast<std::int16_t>(x.answer.status);
    if (x.answer.status >= 300) note_refused(x);
    row.provider_request_id = provider_request_id(x.answer);
    row.stream = row.stream || streams;
    x.meter.emplace(row.format, what_the_head_says(x.answer, type, coding));
    if (streams) {
        x.counted_stream = true;
        r.c.home().shared().meters.stream_started();
    }
    if (x.key && !identity) r.coded = std::make_unique<coded_answer>(coding, x.key->reveal());
    if (x.edit && events && identity && x.answer.status == 200) r.cuts = std::make_unique<edited_answer>();
    const bool makes = x.way->objects == object_rule::makes && x.way->wire == metering::wire::none;
    const bool looks_at_batch = x.way->objects == object_rule::uses && x.way->path == "/batches/{id}";
    if ((makes || looks_at_batch) && x.answer.status < 300) r.made = std::make_unique<made_object>();
}

/// Up to where the body begins; `whole`: it is to be held until it is whole. A frame of its own, gone when
/// the body begins: the body's may wait for minutes.
task<failure> begin_answer(relaying& r, bool& whole)
{
    auto& x = r.x;
    failure bad = co_await read_answer_head(r);
    if (bad) {
        const bool waited = r.c.agent_gone() || r.c.cut() != cut_reason::none || r.cancelled;
        account(x, waited ? cut_outcome(r) : metering::outcome::provider_down,
                bad.code() == errc::provider_bad_answer ? std::string_view("bad_answer") : cut_error(r),
                bad.log_detail());
        co_return bad;
    }
    prepare(r);
    judge_key(x);
    const bool unreadable = r.coded && !r.coded->watch.knows_coding();
    if (unreadable && x.answer.framing != http::body_framing::none) {
        account(x, metering::outcome::provider_cut, "unknown_coding",
                "an answer in a coding that nobody asked for");
        co_return failure{errc::provider_bad_answer,
                          "The provider's answer came in a coding that nobody asked for.",
                          "unknown content-encoding", 0};
    }
    const bool listing = x.way->objects == object_rule::lists && x.answer.status == 200;
    whole = (x.answer.status >= 400 || listing) && x.answer.framing != http::body_framing::none;
    if (whole) co_return failure{};
    std::optional<std::uint64_t> length;
    if (x.answer.framing == http::body_framing::length && !r.cuts)
        length = x.answer.content_length;
    else if (x.answer.framing == http::body_framing::none && x.answer.status != 204 && x.answer.status != 304)
        length = 0;
    bool keeps_alive = true;
    const bool has_body = x.answer.framing != http::body_framing::none;
    r.to_agent_chunked = has_body && !length && x.head.http_1_1;
    if (has_body && !length && !x.head.http_1_1) keeps_alive = false;
    r.head = build_answer_head(x, length, r.to_agent_chunked, keeps_alive);
    x.head.keep_alive = keeps_alive;
    co_return failure{};
}

}  // namespace

task<failure> relay(exchange& x)
{
    auto& c = x.agent;
    failure out;
    {
        relaying r(x);
        c.set_on_hangup([&r] { hang_up(r); });
        c.rest_buffer();
        c.watch_for_hangup();
        if (c.agent_gone()) hang_up(r);
        bool whole = false;
        failure before = co_await begin_answer(r, whole);
        if (before)
            out = std::move(before);
        else if (whole) {
            failure f = co_await relay_whole(r);
            out = std::move(f);
        } else {
            failure f = co_await relay_body(r);
            out = std::move(f);
        }
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
