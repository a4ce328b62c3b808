// Steps 2 to 4: who asks, where to, may they. ONE_TABLE decides the path first (an unknown path tells nothing
// about sessions), then identity, strongest first: the socket the request came through, the bridge's word, a
// token in a credential place.
#include "proxy/exchange.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace keyhole::proxy {
namespace {

/// "Bearer TOKEN" -> TOKEN; any other scheme is no token of ours.
std::string_view bearer(std::string_view value) noexcept
{
    constexpr std::size_t n = 7;
    if (value.size() <= n || !http::iequals(value.substr(0, n), "bearer ")) return {};
    value.remove_prefix(n);
    while (!value.empty() && value.front() == ' ')
        value.remove_prefix(1);
    return value;
}

/// Every credential the request carries, each once. `any` also counts empty ones and other schemes.
std::vector<std::string_view> presented(const exchange& x)
{
    std::vector<std::string_view> out;
    const auto add = [&](std::string_view token) {
        if (!token.empty() && std::find(out.begin(), out.end(), token) == out.end()) out.push_back(token);
    };
    for (const auto& f : x.head.fields) {
        if (http::iequals(f.name, "authorization"))
            add(bearer(f.value));
        else if (http::iequals(f.name, "x-api-key") || http::iequals(f.name, "api-key") ||
                 http::iequals(f.name, "x-goog-api-key") || http::iequals(f.name, "x-amz-security-token"))
            add(f.value);
    }
    add(x.where.query_token);
    return out;
}

failure gone_session(const session& s, std::int64_t now_us)
{
    if (s.revoked.load(std::memory_order_acquire))
        return {errc::session_revoked,
                "This session was revoked. Ask whoever runs Keyhole for a new one.",
                {},
                0};
    if (s.expired(now_us))
        return {errc::session_expired,
                "This session has expired. Ask whoever runs Keyhole for a new one.",
                {},
                0};
    return {};
}

/// TOKEN_STAYS_HOME: remembers what was presented, so that it is kept out of everything that is sent on.
failure identify(exchange& x)
{
    const auto& registry = x.agent.home().shared().registry;
    const auto tokens = presented(x);
    session_ptr by_socket = x.agent.bound();
    if (!by_socket && !x.agent.vouched_token().empty()) {
        by_socket = registry.find_token(x.agent.vouched_token());
        if (!by_socket)
            return {errc::unknown_token,
                    "The sandbox's session is not known (any more). Ask whoever runs Keyhole for a new one.",
                    {},
                    0};
    }
    session_ptr by_header;
    for (const auto token : tokens) {
        auto found = registry.find_token(token);
        if (!found) continue;
        if (by_header && found != by_header)
            return {errc::conflicting_credentials,
                    "The request carries the tokens of two different sessions; send exactly one.",
                    {},
                    0};
        by_header = std::move(found);
        x.token = token;
    }
    if (by_socket && by_header && by_socket != by_header)
        return {errc::conflicting_credentials,
                "The request carries another session's token than the connection it came through.",
                "token of session " + by_header->info.id + " on a connection of session " +
                    by_socket->info.id,
                0};
    // Moved, not copied: the count of a session's users is shared by all workers.
    x.who = by_socket ? std::move(by_socket) : std::move(by_header);
    if (x.who) return {};
    if (tokens.empty())
        return {errc::missing_token,
                "No session token: set the API key of your SDK to the token that `keyhole session create` "
                "printed.",
                {},
                0};
    return {errc::unknown_token,
            "The API key is not the token of a known session. Real provider keys are not accepted here: use "
            "the token that "
            "`keyhole session create` printed.",
            {},
            0};
}

bool serves(config::dialect api, const void* configuration)
{
    return static_cast<const runtime*>(configuration)->has(api);
}

failure find_route(exchange& x)
{
    if (!x.where.provider.empty()) {
        x.to = x.rt->find(x.where.provider);
        x.api = x.to ? x.to->provider.api : config::find_provider_preset(x.where.provider)->api;
    } else
        x.api = dialect_of(x.where, x.head, &serves, x.rt.get());

    if (x.head.verb == http::method::options)
        return {errc::method_not_allowed, "OPTIONS is not served: no browser talks to this address.", {}, 0};
    const auto m = match_route(x.head.verb, x.where, x.api);
    if (x.head.wants_upgrade && m.path_known)
        return {errc::upgrade_required,
                "Upgrades (WebSocket) are not served; use plain HTTP with server-sent events.",
                {},
                0};
    if (m.found == nullptr && m.path_known)
        return {errc::method_not_allowed, "This path is not served with this method.", {}, 0};
    if (m.found == nullptr)
        return {errc::unknown_route,
                "Unknown path: Keyhole serves the model APIs only (e.g. /v1/chat/completions, /v1/messages).",
                {},
                0};
    x.way = m.found;
    x.named = m.names;
    return {};
}

failure find_provider(exchange& x)
{
    const auto& s = *x.who;
    if (s.credential) {
        const auto* preset = config::find_provider_preset(s.credential->provider);
        const bool named = x.where.provider.empty() || x.where.provider == s.credential->provider;
        if (!named || (preset != nullptr && preset->api != x.api))
            return {errc::provider_not_allowed,
                    "This session is for the provider " + s.credential->provider + " only.",
                    {},
                    0};
        x.to = x.agent.home().endpoint_for(s);
    } else if (!x.to && x.where.provider.empty())
        x.to = x.rt->for_api(x.api, x.who.get());
    if (!x.to)
        return {errc::provider_not_configured,
                "No provider for this API is configured. The operator sets its key (e.g. OPENAI_API_KEY) or "
                "a [providers] section.",
                {},
                0};
    if (!s.may_use_provider(x.to->provider.name))
        return {errc::provider_not_allowed,
                "This session may not use the provider " + x.to->provider.name + ".",
                {},
                0};
    if (!s.may_use_operation(x.way->operation))
        return {errc::operation_not_allowed,
                "This session may not use the operation " + std::string(x.way->operation) + ".",
                {},
                0};
    if (x.to->provider.credential != config::credential_style::none && x.to->provider.keys.empty())
        return {errc::provider_not_configured, "The provider " + x.to->provider.name + " has no key.", {}, 0};
    return {};
}

}  // namespace

failure admit(exchange& x)
{
    auto& shared = x.agent.home().shared();
    if (auto f = find_route(x)) return f;
    if (auto f = identify(x)) return f;
    if (!remove_token(x.where, x.token))
        return {errc::bad_request, "The path holds a session token; send it as the API key only.", {}, 0};
    if (auto f = gone_session(*x.who, x.received_us)) return f;
    if (shared.draining.load(std::memory_order_relaxed))
        return {errc::shutting_down, "The proxy is shutting down; try again in a moment.", {}, 1};
    // NO_WAY_AROUND: one session can't take all of the proxy's connections.
    x.counted_connection = true;
    if (x.who->connections.fetch_add(1, std::memory_order_relaxed) >=
        x.rt->settings->bounds.max_connections_per_session)
        return {errc::too_many_connections,
                "This session has too many requests in flight (limits.max_connections_per_session).",
                {},
                1};
    x.agent.set_session(x.who.get());
    return find_provider(x);
}

}  // namespace keyhole::proxy
