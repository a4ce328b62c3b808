// One request to the proxy's admin socket. Failures are exceptions that say what to do about them.
// Thread rule: blocks the caller, for at most a minute.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace keyhole::proxy::cli {

inline constexpr const char* default_admin_socket = "/run/keyhole-admin/admin.sock";

class admin_client {
public:
    explicit admin_client(std::string socket) : socket_(std::move(socket)) {}

    /// The JSON answer of a 2xx; throws std::runtime_error with the server's own words otherwise.
    nlohmann::json get(const std::string& target) const { return call("GET", target, {}); }
    nlohmann::json remove(const std::string& target) const { return call("DELETE", target, {}); }
    nlohmann::json post(const std::string& target, const nlohmann::json& body) const;
    /// The body as it is.
    nlohmann::json post_text(const std::string& target, std::string body) const
    {
        return call("POST", target, std::move(body));
    }
    nlohmann::json put(const std::string& target, const nlohmann::json& body) const;

private:
    nlohmann::json call(std::string_view method, const std::string& target, std::string body) const;
    std::string socket_;
};

/// Percent-encodes a query value or a path's segment.
std::string encode(std::string_view text);

}  // namespace keyhole::proxy::cli
