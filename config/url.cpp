#include "config/url.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <optional>

namespace keyhole::config {
namespace {

constexpr std::size_t max_host = 253;  // RFC 1035

bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lower(std::string_view text)
{
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
    return out;
}

std::optional<std::uint16_t> parse_port(std::string_view text)
{
    std::uint16_t port = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return port;
}

/// The address in its shortest spelling, or nullopt.
std::optional<std::string> canonical_ip(int family, std::string_view text)
{
    unsigned char address[sizeof(in6_addr)];
    char out[INET6_ADDRSTRLEN];
    const std::string copy(text);
    if (copy.size() != text.size() || copy.find('\0') != std::string::npos) return std::nullopt;
    if (::inet_pton(family, copy.c_str(), address) != 1) return std::nullopt;
    if (::inet_ntop(family, address, out, sizeof out) == nullptr) return std::nullopt;
    return out;
}

bool is_host_name(std::string_view host)
{
    if (host.empty() || host.size() > max_host) return false;
    while (!host.empty()) {
        const std::string_view label = host.substr(0, host.find('.'));
        const auto allowed = [](char c) { return is_alnum(c) || c == '-' || c == '_'; };
        if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
        if (!std::all_of(label.begin(), label.end(), allowed)) return false;
        if (label.size() == host.size()) return true;
        host.remove_prefix(label.size() + 1);
    }
    return false;  // a dot at the end
}

/// Segments of RFC 3986 that mean themselves: a dot segment or an empty one would be read differently by some
/// servers.
bool is_plain_path(std::string_view path)
{
    while (!path.empty()) {
        if (path.front() != '/') return false;
        path.remove_prefix(1);
        const std::string_view segment = path.substr(0, path.find('/'));
        if (segment.empty() || segment == "." || segment == "..") return false;
        for (std::size_t i = 0; i < segment.size(); ++i) {
            const char c = segment[i];
            if (!is_alnum(c) && std::string_view("-._~!$&'()*+,;=:@").find(c) == std::string_view::npos)
                return false;
        }
        path.remove_prefix(segment.size());
    }
    return true;
}

}  // namespace

std::variant<base_url, bad_text> parse_base_url(std::string_view text)
{
    const std::string remedy = "write it like https://api.example.com/v1";
    base_url url;
    const std::string head = lower(text.substr(0, 8));
    if (head.starts_with("https://")) {
        text.remove_prefix(8);
    } else if (head.starts_with("http://")) {
        url.tls = false;
        url.port = 80;
        text.remove_prefix(7);
    } else {
        return bad_text{"is not an http or https URL", remedy};
    }
    if (text.find_first_of("?#") != std::string_view::npos) {
        return bad_text{"has a query or a fragment", "leave out everything from ? or # on"};
    }

    std::string_view authority = text.substr(0, text.find('/'));
    std::string_view path = text.substr(authority.size());
    if (authority.find('@') != std::string_view::npos) {
        return bad_text{"has a user or a password in it",
                        "leave it out; the key is set by key = \"env:NAME\""};
    }
    std::string_view port;
    if (authority.starts_with('[')) {
        const std::size_t close = authority.find(']');
        if (close == std::string_view::npos)
            return bad_text{"has a [ without a ]", "write it like http://[::1]:8000/v1"};
        const auto ip = canonical_ip(AF_INET6, authority.substr(1, close - 1));
        if (!ip) return bad_text{"has no IPv6 address between [ and ]", "write it like http://[::1]:8000/v1"};
        url.host = *ip;
        port = authority.substr(close + 1);
    } else {
        const std::string_view host = authority.substr(0, authority.find(':'));
        port = authority.substr(host.size());
        if (!is_host_name(host))
            return bad_text{"has no valid host name", remedy + "; a non-ASCII name in its xn-- form"};
        url.host = lower(host);
        // 1.2.3 or 0x7f.1 would reach whatever the resolver makes of them.
        const std::string_view last = std::string_view(url.host).substr(url.host.rfind('.') + 1);
        if (is_digit(last.front()) && !canonical_ip(AF_INET, url.host)) {
            return bad_text{"has neither a host name nor an IPv4 address of four numbers", remedy};
        }
    }
    if (!port.empty()) {
        const auto number = port.front() == ':' ? parse_port(port.substr(1)) : std::nullopt;
        if (!number || *number == 0) return bad_text{"has no valid port", "a port is 1 to 65535"};
        url.port = *number;
    }
    while (path.ends_with('/')) {
        path.remove_suffix(1);
    }
    if (!is_plain_path(path))
        return bad_text{"has a path with empty, . or .. segments or special characters", remedy};
    url.path = path;
    return url;
}

std::optional<bad_text> take_base_url(provider& p, std::string_view url, bool allow_plain_http)
{
    auto parsed = parse_base_url(url);
    if (auto* bad = std::get_if<bad_text>(&parsed)) return std::move(*bad);
    auto& parts = std::get<base_url>(parsed);
    if (!parts.tls && !allow_plain_http && !is_loopback(parts.host)) {
        return bad_text{"plain http to another machine: prompts and the key would cross the network in clear",
                        "use https, or allow_plain_http = true where that network is trusted"};
    }
    p.tls = parts.tls;
    p.host = std::move(parts.host);
    p.port = parts.port;
    p.base_path = std::move(parts.path);
    return std::nullopt;
}

std::string set_base_url(provider& p, std::string_view url, bool allow_plain_http)
{
    const auto bad = take_base_url(p, url, allow_plain_http);
    return bad ? bad->what + "; " + bad->remedy : std::string();
}

provider provider_of(const provider_preset& preset)
{
    provider p;
    p.name = preset.name;
    p.api = preset.api;
    p.credential = preset.credential;
    if (!preset.base_url.empty()) take_base_url(p, preset.base_url, false);
    return p;
}

std::variant<tcp_address, bad_text> parse_tcp_address(std::string_view text)
{
    const bad_text bad{"is not a numeric address with a port", "write it like 127.0.0.1:9464 or [::1]:9464"};
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return bad;
    const auto port = parse_port(text.substr(colon + 1));
    std::string_view host = text.substr(0, colon);
    const bool v6 = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
    if (v6) host = host.substr(1, host.size() - 2);
    const auto ip = canonical_ip(v6 ? AF_INET6 : AF_INET, host);
    if (!ip || !port) return bad;
    return tcp_address{*ip, *port};
}

bool is_loopback(std::string_view host) noexcept
{
    if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
    return host.starts_with("127.") && std::count(host.begin(), host.end(), '.') == 3 &&
           std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; });
}

std::string to_string(const tcp_address& a)
{
    const bool v6 = a.host.find(':') != std::string::npos;
    return (v6 ? "[" + a.host + "]" : a.host) + ":" + std::to_string(a.port);
}

}  // namespace keyhole::config
