// Step 1: the head, within strict limits. A head that two readers could understand differently is refused and
// the connection closed.
#include "proxy/exchange.hpp"

namespace keyhole::proxy {
namespace {

failure explain(http::head_error e)
{
    using http::head_error;
    switch (e) {
    case head_error::too_large:
        return {errc::head_too_large, "The request's header fields are too large or too many.", {}, 0};
    case head_error::bad_version:
        return {errc::bad_request, "Only HTTP/1.1 and HTTP/1.0 are spoken here.", {}, 0};
    case head_error::bad_framing:
        return {errc::bad_request,
                "Content-Length and Transfer-Encoding contradict each other or are not understood; send "
                "exactly one of them.",
                {},
                0};
    case head_error::bad_host:
        return {errc::bad_request, "An HTTP/1.1 request carries exactly one Host field.", {}, 0};
    case head_error::bad_line:
        return {errc::bad_request, "The request line is malformed.", {}, 0};
    default:
        return {errc::bad_request, "A header field is malformed.", {}, 0};
    }
}

bool names_provider(std::string_view segment, const void* context)
{
    const auto* rt = static_cast<const runtime*>(context);
    return rt->has(segment) || config::find_provider_preset(segment) != nullptr;
}

}  // namespace

task<failure> read_head(exchange& x)
{
    auto& c = x.agent;
    const auto& bounds = x.rt->settings->bounds;
    c.limit().expect(waiting_for::head, seconds_of(bounds.head_timeout));
    x.id = metering::new_request_id();
    x.id_text = metering::format_request_id(x.id);

    // One empty line before a request is read over (RFC 9112 section 2.2).
    std::size_t searched = 0;
    std::size_t length = 0;
    bool skipped = false;
    while (true) {
        if (!skipped && c.unread().starts_with("\r\n")) {
            c.consume(2);
            skipped = true;
            searched = 0;
        }
        length = http::head_length(c.unread(), searched);
        if (length > bounds.max_head_bytes || (length == 0 && c.unread().size() >= bounds.max_head_bytes))
            co_return explain(http::head_error::too_large);
        if (length != 0) break;
        // Garbage and TLS hellos never grow a blank line: refuse them as soon as the first line cannot be
        // one.
        if (!c.unread().empty() && !http::is_token(c.unread().substr(0, 1)))
            co_return explain(http::head_error::bad_line);
        const bool more = co_await c.read_more();
        if (more) continue;
        if (c.expired() == waiting_for::head)
            co_return failure{errc::request_timeout, "The request's head did not arrive in time.", {}, 0};
        co_return failure{errc::bad_request, "The request ended before its head was complete.", {}, 0};
    }
    x.received_us = metering::now_us();
    x.head_text.assign(c.unread().substr(0, length));
    c.consume(length);
    if (const auto e = http::parse_request(x.head_text, x.head); e != http::head_error::none) {
        x.head.clear();  // nothing in it is to be believed, least of all where it ends
        co_return explain(e);
    }
    x.body_read = x.head.framing == http::body_framing::none;
    constexpr std::string_view codex = "codex_";
    x.codex = http::iequals(x.head.get("originator").substr(0, codex.size()), codex);
    if (x.head.verb == http::method::connect)
        co_return failure{errc::method_not_allowed,
                          "CONNECT is not served: this is a reverse proxy for model APIs.",
                          {},
                          0};
    if (x.head.verb == http::method::trace || x.head.verb == http::method::other) {
        x.head.keep_alive = false;
        co_return failure{errc::method_not_allowed, "This method is not served.", {}, 0};
    }
    auto bad = parse_target(x.head.target, &names_provider, x.rt.get(), x.where);
    if (bad) x.head.keep_alive = false;
    co_return bad;
}

}  // namespace keyhole::proxy
