// Listening sockets on loopback. The init binds them and keeps them, so that the port stays taken while a
// bridge restarts.
#pragma once

#include "bridge/system.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace keyhole::bridge {

struct listen_address {
    std::string host;  ///< numeric IPv4 or IPv6
    std::uint16_t port = 0;
};

/// "127.0.0.1:8080", "[::1]:8080", "8080" (both loopbacks: nothing else is implied by a bare port).
bool parse_listen_address(std::string_view text, std::vector<listen_address>& out);
bool is_loopback(const listen_address& address) noexcept;

/// A non-blocking listening socket, or an empty one with errno set.
sys::unique_fd listen_on(const listen_address& address) noexcept;

/// 127.0.0.1 must succeed; ::1 is taken where this network namespace has it. On failure `error` says what to
/// do.
bool listen_on_loopback(std::uint16_t port, std::vector<sys::unique_fd>& out, std::string& error);

}  // namespace keyhole::bridge
