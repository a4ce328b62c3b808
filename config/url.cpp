#include "config/url.hpp"

#include <charconv>

namespace keyhole::config {
namespace {

bool is_loopback(std::string_view host)
{
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool is_host(std::string_view host)
{
    if (host.empty() || host.size() > 253) return false;
    for (const char c : host) {
        const bool plain =
            (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == ':';
        if (!plain) return false;
    }
    return true;
}

bool is_path(std::string_view path)
{
    for (const char c : path) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && std::string_view("/-._~:@").find(c) == std::string_view::npos) return false;
    }
    return path.find("/../") == std::string_view::npos && path.find("//") == std::string_view::npos &&
           !path.ends_with("/..");
}

}  // namespace

std::string set_base_url(provider& p, std::string_view url, bool allow_plain_http)
{
    const std::string form = "write it as https://host[:port][/path]";
    bool tls = false;
    std::string_view rest;
    if (url.starts_with("https://")) {
        tls = true;
        rest = url.substr(8);
    } else if (url.starts_with("http://"))
        rest = url.substr(7);
    else
        return "is not an http:// or https:// URL; " + form;
    if (url.find_first_of("?#") != std::string_view::npos) return "has a query or a fragment; " + form;

    const auto slash = rest.find('/');
    auto authority = rest.substr(0, slash);
    auto path = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash);
    while (path.ends_with('/'))
        path.remove_suffix(1);
    if (authority.find('@') != std::string_view::npos)
        return "has a user name or password in it; the key belongs into `key`, by reference (env:NAME or "
               "file:/path)";

    std::string_view port_text;
    std::string host;
    if (authority.starts_with('[')) {
        const auto close = authority.find(']');
        if (close == std::string_view::npos) return "has an unclosed [; " + form;
        host = authority.substr(1, close - 1);
        authority.remove_prefix(close + 1);
        if (authority.starts_with(':'))
            port_text = authority.substr(1);
        else if (!authority.empty())
            return "has bytes after ]; " + form;
    } else {
        const auto colon = authority.find(':');
        host = authority.substr(0, colon);
        if (colon != std::string_view::npos) port_text = authority.substr(colon + 1);
        if (host.find(':') != std::string::npos) return "has an IPv6 address without brackets; " + form;
    }
    for (auto& c : host)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    if (!is_host(host)) return "has no usable host name; " + form;
    unsigned port = tls ? 443 : 80;
    if (authority.find(':') != std::string_view::npos) {
        const auto [end, ec] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
        if (ec != std::errc{} || end != port_text.data() + port_text.size() || port == 0 || port > 65535)
            return "has no usable port; " + form;
    }
    if (!is_path(path)) return "has a path with characters or segments that a base URL can't have; " + form;
    if (!tls && !allow_plain_http && !is_loopback(host))
        return "is not encrypted, and the key would be readable on the way; use https://, or set "
               "allow_plain_http = true for it";
    p.tls = tls;
    p.host = std::move(host);
    p.port = static_cast<std::uint16_t>(port);
    p.base_path = path;
    return {};
}

provider provider_of(const provider_preset& preset)
{
    provider p;
    p.name = preset.name;
    p.api = preset.api;
    p.credential = preset.credential;
    if (!preset.base_url.empty()) set_base_url(p, preset.base_url, false);
    return p;
}

}  // namespace keyhole::config
