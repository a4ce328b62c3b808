// Addresses as an operator writes them. Plain functions of text; any thread.
#pragma once

#include "config/config.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace keyhole::config {

struct base_url {
    bool tls = true;
    std::string host;  ///< lower case; IPv6 without brackets
    std::uint16_t port = 443;
    std::string path;  ///< no trailing slash: "/v1" or ""
};

/// Why a text is refused: what is wrong, and what to write instead.
struct bad_text {
    std::string what;
    std::string remedy;
};

/// http or https, no user info, query or fragment. The text itself is never repeated in an error: a key may
/// stand in it.
std::variant<base_url, bad_text> parse_base_url(std::string_view text);

/// Fills tls, host, port and base_path. http:// is refused for anything but loopback unless
/// `allow_plain_http`: the real key would travel in clear. Returns why the URL is refused.
std::optional<bad_text> take_base_url(provider& p, std::string_view url, bool allow_plain_http);

/// The same, with the reason and the remedy in one sentence ("is not an http or https URL; write …"), empty:
/// taken.
std::string set_base_url(provider& p, std::string_view url, bool allow_plain_http);

/// A provider with the preset's name, API, address and credential style, without keys.
provider provider_of(const provider_preset& preset);

/// "127.0.0.1:9464", "[::1]:0". Numeric: what is listened on must not depend on a resolver.
std::variant<tcp_address, bad_text> parse_tcp_address(std::string_view text);

/// Stays on this machine: 127.0.0.0/8, ::1, localhost and what ends in .localhost.
bool is_loopback(std::string_view host) noexcept;

/// "127.0.0.1:9464", "[::1]:9464".
std::string to_string(const tcp_address& a);

}  // namespace keyhole::config
