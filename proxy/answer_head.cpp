// The head that the agent gets: the provider's status and fields, without hop-by-hop ones and without
// anything that could carry a credential back. Everything else (request ids, rate limits, unknown fields)
// passes.
#include "proxy/exchange.hpp"
#include "proxy/upstream/masking.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace keyhole::proxy {
namespace {

constexpr int longest_retry_after = 30;  // seconds: several agents sleep for whatever they are told, silently

constexpr std::array never_passed_on{
    std::string_view("connection"),
    std::string_view("keep-alive"),
    std::string_view("proxy-authenticate"),
    std::string_view("proxy-authentication-info"),
    std::string_view("proxy-connection"),
    std::string_view("te"),
    std::string_view("trailer"),
    std::string_view("transfer-encoding"),
    std::string_view("upgrade"),
    std::string_view("content-length"),
    std::string_view("set-cookie"),
    std::string_view("set-cookie2"),
    std::string_view("www-authenticate"),
    std::string_view("authentication-info"),
    std::string_view("authorization"),
    std::string_view("alt-svc"),
    std::string_view("x-keyhole-request-id"),
};

bool stays_here(const exchange& x, const http::field& f)
{
    for (const auto name : never_passed_on)
        if (http::iequals(f.name, name)) return true;
    return http::is_option(x.answer.connection_options, f.name);
}

/// The wait that is passed on for a retry-after of `value` (seconds, or a date that is taken as long).
std::string capped_wait(std::string_view value, double unit)
{
    double n = 0;
    const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (ec != std::errc{} || end != value.data() + value.size())
        return std::to_string(static_cast<long>(longest_retry_after * unit));
    if (n <= longest_retry_after * unit) return std::string(value);
    return std::to_string(static_cast<long>(longest_retry_after * unit));
}

void append_field(std::string& out, std::string_view name, std::string_view value)
{
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
}

}  // namespace

std::string build_answer_head(exchange& x, std::optional<std::uint64_t> content_length, bool chunked,
                              bool& keeps_alive)
{
    const auto& answer = x.answer;
    std::string out;
    out.reserve(x.answer_text.size() + 256);
    out += "HTTP/1.1 " + std::to_string(answer.status) + ' ';
    out += answer.reason;
    out += "\r\n";
    for (const auto& f : answer.fields) {
        if (stays_here(x, f)) continue;
        if (http::iequals(f.name, "retry-after"))
            append_field(out, f.name, capped_wait(f.value, 1));
        else if (http::iequals(f.name, "retry-after-ms"))
            append_field(out, f.name, capped_wait(f.value, 1000));
        else
            append_field(out, f.name, f.value);
    }
    if (x.key) {
        // KEY_STAYS_HOME: the fields, too. Same length, so nothing else moves.
        bool masked = false;
        upstream::stream_masker whole(x.key->reveal());
        whole.mask(out, masked);
        if (answer.status >= 400) masked = upstream::mask_fragments(out, x.key->reveal()) || masked;
        if (masked) x.agent.home().shared().meters.key_masked(x.to->provider.name);
    }
    // A gateway's bad key is nothing that an agent's retry could mend; agents would retry a 401 for minutes.
    if ((answer.status == 401 || answer.status == 403) && answer.get("x-should-retry").data() == nullptr)
        append_field(out, "x-should-retry", "false");
    append_field(out, "x-keyhole-request-id", x.id_view());
    if (x.rt->settings->sessions.budget_headers && x.who) {
        const auto left = x.who->budget->left(metering::now_us());
        if (left.nano_usd)
            append_field(out, "x-keyhole-budget-remaining-usd", metering::format_usd(*left.nano_usd));
        if (left.tokens) append_field(out, "x-keyhole-budget-remaining-tokens", std::to_string(*left.tokens));
        if (left.requests)
            append_field(out, "x-keyhole-budget-remaining-requests", std::to_string(*left.requests));
        if (left.concurrency)
            append_field(out, "x-keyhole-budget-remaining-concurrency", std::to_string(*left.concurrency));
    }
    if (content_length)
        append_field(out, "content-length", std::to_string(*content_length));
    else if (chunked)
        append_field(out, "transfer-encoding", "chunked");
    keeps_alive = keeps_alive && x.head.keep_alive && !x.agent.draining();
    if (!keeps_alive)
        append_field(out, "connection", "close");
    else if (!x.head.http_1_1)
        append_field(out, "connection", "keep-alive");
    out += "\r\n";
    return out;
}

}  // namespace keyhole::proxy
