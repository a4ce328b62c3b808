// One administrator's (or scraper's) connection: HTTP/1.1 within strict limits of size and time, one request
// after the other. Thread rule: the control thread.
#pragma once

#include "proxy/control/admin.hpp"
#include "proxy/net/task.hpp"

#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <cstdint>
#include <memory>

namespace keyhole::proxy {

enum class control_door : std::uint8_t { admin_socket, admin_tcp, metrics };

/// What the connections share.
struct control_room {
    control_surface surface;
    config::secret_ptr token;      ///< of the TCP listener; null: admin over TCP is off
    asio::thread_pool readers{1};  ///< long reports: accepting agents never waits for one
    unsigned connections = 0;
    bool closed = false;  ///< nothing of the surface may be touched any more
};

/// Serves one connection to its end.
task<> serve_control(std::shared_ptr<control_room> room, agent_socket socket, control_door door);

}  // namespace keyhole::proxy
