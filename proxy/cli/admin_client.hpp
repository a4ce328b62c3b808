// One request to the admin socket. Errors are exceptions that say what to do.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace keyhole::proxy::cli {

class admin_client {
public:
    explicit admin_client(std::string socket) : socket_(std::move(socket)) {}

    /// The JSON answer of a 2xx; throws std::runtime_error with the server's own message otherwise.
    nlohmann::json get(const std::string& target) const { return call("GET", target, {}); }
    nlohmann::json post(const std::string& target, const nlohmann::json& body) const
    {
        return call("POST", target, body.dump());
    }
    nlohmann::json put(const std::string& target, const nlohmann::json& body) const
    {
        return call("PUT", target, body.dump());
    }
    nlohmann::json remove(const std::string& target) const { return call("DELETE", target, {}); }

private:
    nlohmann::json call(std::string_view method, const std::string& target, const std::string& body) const;
    std::string socket_;
};

/// Percent-encodes a query value or path segment.
std::string encode(std::string_view text);

}  // namespace keyhole::proxy::cli
