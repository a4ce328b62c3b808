// The control plane: sessions and usage over HTTP on the admin socket (and, with a token, TCP), metrics and
// health on loopback. None of this is reachable from an agent listener. Runs on its own thread with its own
// io_context; Beast, since nothing here is hot.
#pragma once

#include "config/config.hpp"
#include "metering/ledger.hpp"
#include "metering/metrics.hpp"
#include "metering/prices.hpp"
#include "proxy/session.hpp"
#include "proxy/session_store.hpp"

#include <boost/asio/io_context.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace keyhole::proxy {

/// What the control plane acts on. All referenced objects outlive it.
struct control_surface {
    session_registry& registry;
    session_store& store;
    metering::ledger& books;
    metering::metrics& meters;
    /// The configuration in force (replaced on SIGHUP).
    std::function<std::shared_ptr<const config::settings>()> settings;
    /// A session was revoked: cut its running streams (if it wants that) and close its own socket. Any
    /// thread.
    std::function<void(const session_ptr&)> revoked;
    /// A session with a socket of its own was created: bind it; returns its path. Throws std::runtime_error
    /// with cause and remedy.
    std::function<std::string(const session_ptr&)> bind_own_socket;
    /// /readyz: empty when ready, else the reason ("draining", "ledger: database is locked").
    std::function<std::string()> not_ready;
    /// Facts for `keyhole top` and /admin/v1/status: connections, streams in flight.
    std::function<std::uint64_t()> agent_connections;
    /// The prices in force. Any thread.
    std::function<metering::price_table_ptr()> prices = {};
    /// Somebody without the right was refused (the peer's address, or what its kernel says of it). The
    /// control thread.
    std::function<void(std::string_view peer)> stranger = {};
};

class admin_server {
public:
    /// Binds all control listeners. Throws std::runtime_error with the address, the cause and the remedy.
    admin_server(boost::asio::io_context& io, control_surface surface, const config::settings& at_start);
    ~admin_server();
    /// Stops accepting; open requests finish.
    void stop();

private:
    struct impl;
    std::shared_ptr<impl> impl_;
};

}  // namespace keyhole::proxy
