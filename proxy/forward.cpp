// Step 9: a connection to the provider, and the request on it. A request that may have reached the provider
// is never sent twice: connecting may be tried again, sending may not.
#include "proxy/exchange.hpp"
#include "proxy/http/chunked.hpp"
#include "proxy/net/at_once.hpp"

#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <cstdio>

namespace keyhole::proxy {
namespace {

failure provider_gone(const exchange& x, std::string detail)
{
    const auto& c = x.agent;
    if (c.cut() == cut_reason::revoked) return {errc::session_revoked, "The session was revoked.", {}, 0};
    if (c.cut() == cut_reason::shutdown)
        return {errc::shutting_down, "The proxy is shutting down; try again in a moment.", {}, 1};
    const auto& name = x.to->provider.name;
    if (c.expired() == waiting_for::connect)
        return {errc::provider_timeout, "The provider " + name + " could not be reached in time.",
                std::move(detail), 0};
    if (c.expired() == waiting_for::first_byte)
        return {errc::provider_timeout,
                "The provider " + name + " took the request but did not answer in time.", std::move(detail),
                0};
    return {errc::provider_unreachable, "The provider " + name + " could not be reached.", std::move(detail),
            0};
}

using request_pieces = std::array<asio::const_buffer, 4>;

request_pieces first_bytes(request_pieces of, std::size_t most)
{
    for (auto& piece : of) {
        piece = asio::buffer(piece, most);
        most -= piece.size();
    }
    return of;
}

/// All of it, a bounded part a turn: the kernel would take megabytes in one.
task<error_code> send_rest(upstream::link& line, request_pieces pieces)
{
    while (asio::buffer_size(pieces) != 0) {
        co_await let_others(line.get_executor());
        std::size_t n = line.write_at_once(pieces);
        if (n == 0) {
            const auto next = first_bytes(pieces, bytes_at_once);
            auto [ec, sent] = co_await line.async_write_some(next, as_result);
            if (ec) co_return ec;
            n = sent;
        }
        drop_front(pieces, n);
    }
    co_return error_code();
}

/// Sends the rest of an opaque body on as it comes from the agent.
task<failure> pump_body(exchange& x)
{
    auto& c = x.agent;
    auto& out = *x.line;
    http::chunk_decoder decoder;
    const bool chunked = x.head.framing == http::body_framing::chunked;
    std::uint64_t left = x.head.content_length;
    const std::uint64_t limit = x.rt->settings->bounds.max_body_bytes;
    std::uint64_t sent = 0;
    std::string piece;
    c.set_on_hangup([&out] { out.close(); });  // half an upload is of no use to anybody
    while (chunked ? !decoder.done() : left != 0) {
        if (c.unread().empty()) {
            c.limit().expect(waiting_for::body, seconds_of(x.rt->settings->bounds.body_timeout));
            const bool more = co_await c.read_more();
            if (!more)
                co_return failure{errc::bad_request, "The request's body ended early.",
                                  "the agent hung up while uploading", 0};
        }
        char size_line[24];
        std::size_t size_length = 0;
        std::string_view payload;
        if (chunked) {
            piece.assign(c.unread());
            const auto step = decoder.feed(piece.data(), piece.size());
            if (decoder.failed())
                co_return failure{errc::bad_request, "The request's chunked body is malformed.", {}, 0};
            c.consume(step.consumed);
            payload = std::string_view(piece).substr(step.payload_begin, step.payload_size);
            if (payload.empty()) continue;
            size_length = static_cast<std::size_t>(
                std::snprintf(size_line, sizeof size_line, "%zx\r\n", payload.size()));
        } else {
            piece.assign(c.unread().substr(
                0, static_cast<std::size_t>(std::min<std::uint64_t>(left, c.unread().size()))));
            c.consume(piece.size());
            left -= piece.size();
            payload = piece;
        }
        sent += payload.size();
        if (sent > limit)
            co_return failure{
                errc::body_too_large, "The upload is larger than limits.max_body_bytes.", {}, 0};
        const std::array<asio::const_buffer, 3> pieces{asio::buffer(size_line, size_length),
                                                       asio::buffer(payload),
                                                       asio::buffer("\r\n", chunked ? 2 : 0)};
        // A provider that reads no more must not hold the slot for ever.
        c.limit().expect(waiting_for::answer, seconds_of(x.to->provider.idle_timeout));
        auto [ec, n] = co_await asio::async_write(out, pieces, as_result);
        x.row().bytes_in += static_cast<std::int64_t>(payload.size());
        if (ec) {
            x.head.keep_alive = false;
            co_return failure{};  // the provider may have answered already (413 …): its answer is read next
        }
    }
    if (chunked) {
        auto [ec, n] = co_await asio::async_write(out, asio::buffer("0\r\n\r\n", 5), as_result);
        x.reuse.request_fully_sent = !ec;
    } else
        x.reuse.request_fully_sent = true;
    x.body_read = true;
    co_return failure{};
}

}  // namespace

task<failure> lease(exchange& x)
{
    auto& c = x.agent;
    auto& meters = c.home().shared().meters;
    const auto& name = x.to->provider.name;
    // A revocation may have come while nothing could be cut.
    if (c.cut() != cut_reason::none) co_return provider_gone(x, {});
    x.line = c.home().pool().take_idle(x.to);
    if (x.line) {
        c.set_upstream(x.line.get());
        meters.upstream_connected(name, true);
        co_return failure{};
    }
    const auto began = metering::now_us();
    c.limit().expect(waiting_for::connect, seconds_of(x.to->provider.connect_timeout));
    upstream::attempt being_made;
    c.watch_connecting(&being_made);
    auto made = co_await c.home().pool().connect(x.to, &being_made);
    c.watch_connecting(nullptr);
    x.connect_us = metering::now_us() - began;
    if (made.error || c.cut() != cut_reason::none || c.expired() == waiting_for::connect) {
        meters.upstream_failed(name, c.expired() == waiting_for::connect ? std::string_view("timeout")
                                                                         : made.error.step);
        co_return provider_gone(x, made.error.detail);
    }
    meters.upstream_connected(name, false);
    x.line = std::move(made.connection);
    c.set_upstream(x.line.get());
    co_return failure{};
}

task<failure> forward(exchange& x)
{
    auto& c = x.agent;
    const bool buffered = x.way->body != body_kind::opaque;
    std::optional<std::uint64_t> length;
    if (buffered) {
        const bool has_body = !x.body.empty() || x.head.verb == http::method::post;
        const std::size_t grown = x.edit ? x.edit->insert.size() - (x.edit->end - x.edit->begin) : 0;
        if (has_body) length = x.body.size() + grown;
    } else if (x.head.framing != http::body_framing::chunked)
        length = x.head.content_length;

    auto& together = c.home().end_of_turn();
    if (together.has_company()) co_await together.wait();
    auto& row = x.row();
    row.forwarded_us = metering::now_us();
    row.bytes_in = static_cast<std::int64_t>(x.body.size());
    auto head = build_upstream_head(x, length);
    c.limit().expect(waiting_for::first_byte, seconds_of(x.to->provider.first_byte_timeout));
    const std::string_view body = x.body.view();
    request_pieces pieces{asio::buffer(head), asio::buffer(body)};
    if (x.edit) {
        pieces[1] = asio::buffer(body.substr(0, x.edit->begin));
        pieces[2] = asio::buffer(x.edit->insert);
        pieces[3] = asio::buffer(body.substr(x.edit->end));
    }
    error_code ec;
    drop_front(pieces, x.line->write_at_once(pieces));
    if (asio::buffer_size(pieces) != 0) {
        const error_code error = co_await send_rest(*x.line, pieces);
        ec = error;
    }
    config::wipe(head.data(), head.size());
    x.reuse.request_fully_sent = !ec && buffered;
    if (!ec && !buffered && (x.head.framing != http::body_framing::none)) {
        if (x.head.expects_continue) {
            const bool told = co_await c.write_interim("HTTP/1.1 100 Continue\r\n\r\n");
            if (!told) co_return failure{errc::bad_request, "The agent hung up.", {}, 0};
        }
        failure f = co_await pump_body(x);
        c.set_on_hangup(nullptr);
        if (f) {
            account(x, metering::outcome::agent_gone, "upload_cut", f.log_detail());
            co_return f;
        }
    } else if (!buffered)
        x.reuse.request_fully_sent = !ec;
    // An error while sending is no verdict yet: a provider may answer (413, 401) and close before it has read
    // everything.
    note_sent(x);
    c.limit().expect(waiting_for::first_byte, seconds_of(x.to->provider.first_byte_timeout));
    co_return failure{};
}

}  // namespace keyhole::proxy
