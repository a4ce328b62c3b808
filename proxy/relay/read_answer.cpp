// The provider's side of the relay: its head, its transfer coding.
#include "proxy/net/at_once.hpp"
#include "proxy/relay/relaying.hpp"

#include <algorithm>
#include <cstring>

namespace keyhole::proxy {
namespace {

constexpr std::size_t much_at_once = 2048;  // several events: their sender is faster than this relay

std::size_t came(relaying& r, std::size_t n) noexcept
{
    r.more_expected = n >= much_at_once;
    r.have += n;
    return n;
}

}  // namespace

bool may_rest(const relaying& r) noexcept
{
    return r.have == 0 && r.x.line->tls() == nullptr;
}

std::size_t read_expected(relaying& r, error_code& ec)
{
    ec = {};
    const bool in_turn = r.reads_in_a_row++ < most_at_once;
    if (!r.more_expected || !in_turn) return 0;
    const auto n = r.x.line->read_at_once(r.raw() + r.have, r.room - r.have, ec);
    return came(r, n);
}

std::size_t read_awaited(relaying& r, error_code& ec)
{
    const auto n = r.x.line->read_at_once(r.raw() + r.have, r.room - r.have, ec);
    return came(r, n);
}

task<std::size_t> read_some(relaying& r, error_code& ec)
{
    auto& line = *r.x.line;
    std::size_t n = read_expected(r, ec);
    if (n != 0 || ec) co_return n;
    r.reads_in_a_row = 0;
    if (may_rest(r)) {
        r.rest();
        auto [waited] = co_await line.socket().async_wait(tcp_socket::wait_read, as_result);
        ec = waited;
        if (!ec) n = read_awaited(r, ec);
        if (n != 0 || ec) co_return n;
    }
    if (r.have == 0 && line.tls() != nullptr) {
        // TLS can't tell whether it has something without reading: one byte waits in place of a buffer.
        r.rest();
        char first = 0;
        auto [error, got] = co_await line.async_read_some(asio::buffer(&first, 1), as_result);
        ec = error;
        if (got == 0) co_return 0;
        *r.raw() = first;
        n = got + line.read_decrypted(r.raw() + got, r.room - got);
        co_return came(r, n);
    }
    auto [error, got] =
        co_await line.async_read_some(asio::buffer(r.raw() + r.have, r.room - r.have), as_result);
    ec = error;
    co_return came(r, got);
}

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

}  // namespace keyhole::proxy
