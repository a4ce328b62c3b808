// Steps 7 and 8: the head is built anew from parsed fields. Every credential and every hop-by-hop field stays
// behind, one credential goes in; everything else, known or not, is forwarded as it was written
// (BYTES_UNTOUCHED, open lists).
#include "proxy/credential.hpp"
#include "proxy/exchange.hpp"

#include <algorithm>
#include <array>

namespace keyhole::proxy {
namespace {

// Lower case. Credentials; hop-by-hop (RFC 9110 section 7.6.1); what we decide ourselves; what would claim
// another sender.
constexpr std::array never_forwarded{
    std::string_view("authorization"),
    std::string_view("x-api-key"),
    std::string_view("api-key"),
    std::string_view("x-goog-api-key"),
    std::string_view("proxy-authorization"),
    std::string_view("cookie"),
    std::string_view("cookie2"),
    std::string_view("x-amz-security-token"),
    std::string_view("x-auth-token"),
    std::string_view("ocp-apim-subscription-key"),
    std::string_view("connection"),
    std::string_view("keep-alive"),
    std::string_view("proxy-connection"),
    std::string_view("te"),
    std::string_view("trailer"),
    std::string_view("transfer-encoding"),
    std::string_view("upgrade"),
    std::string_view("http2-settings"),
    std::string_view("host"),
    std::string_view("content-length"),
    std::string_view("expect"),
    std::string_view("accept-encoding"),
    // Whose bill it is, is the operator's to say (headers of the provider).
    std::string_view("openai-organization"),
    std::string_view("openai-project"),
    std::string_view("x-goog-user-project"),
    std::string_view("forwarded"),
    std::string_view("via"),
    std::string_view("x-real-ip"),
    std::string_view("x-original-url"),
    std::string_view("x-rewrite-url"),
    std::string_view("x-http-method-override"),
};

/// What may not be sent as X-API-KEY may not be sent as X_API_KEY.
bool stays_behind(const exchange& x, const http::field& f)
{
    for (const auto name : never_forwarded)
        if (http::iequals_as_variable(f.name, name)) return true;
    if (f.name.size() > 10 && (http::iequals(f.name.substr(0, 10), "x-keyhole-") ||
                               http::iequals(f.name.substr(0, 10), "x-forwarde")))
        return true;
    if (f.name.size() > 6 && http::iequals(f.name.substr(0, 6), "proxy-")) return true;
    for (const auto& [name, value] : x.to->provider.headers)
        if (http::iequals_as_variable(f.name, name)) return true;
    if (http::is_option(x.head.connection_options, f.name)) return true;
    // TOKEN_STAYS_HOME also where nobody would look for it.
    return !x.token.empty() && f.value.find(x.token) != std::string_view::npos;
}

}  // namespace

std::string build_upstream_head(const exchange& x, std::optional<std::uint64_t> content_length)
{
    const auto& provider = x.to->provider;
    std::size_t configured = 0;
    for (const auto& [name, value] : provider.headers)
        configured += name.size() + value.size() + 4;
    std::string out;
    out.reserve(x.head_text.size() + provider.base_path.size() + x.to->host_header.size() + configured +
                (x.key ? x.key->size() : 0) + 512);  // never grown: no copy of the key is left behind
    out += x.head.verb_text;
    out += ' ';
    out += path_at(provider, x.where);
    if (!x.where.query.empty()) {
        out += '?';
        out += x.where.query;
    }
    out += " HTTP/1.1\r\n";
    append_field(out, "host", x.to->host_header);
    bool named_by_agent = false;
    for (const auto& f : x.head.fields) {
        if (stays_behind(x, f)) continue;
        append_field(out, f.name, f.value);
        named_by_agent = named_by_agent || http::iequals(f.name, "x-client-request-id");
    }
    for (const auto& [name, value] : provider.headers) {
        append_field(out, name, value);
        named_by_agent = named_by_agent || name == "x-client-request-id";
    }
    // Compressed answers would hide the usage; and what the provider logs can be found again in the ledger.
    append_field(out, "accept-encoding", "identity");
    if (!named_by_agent) append_field(out, "x-client-request-id", x.id_view());
    if (content_length)
        append_field(out, "content-length", std::to_string(*content_length));
    else if (x.head.framing == http::body_framing::chunked)
        append_field(out, "transfer-encoding", "chunked");

    if (x.key) append_credential(out, provider.credential, *x.key);
    out += "\r\n";
    return out;
}

}  // namespace keyhole::proxy
