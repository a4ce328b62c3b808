#include "proxy/control/admin.hpp"

#include "proxy/control/http.hpp"
#include "proxy/net/bind.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <chrono>
#include <utility>
#include <vector>

namespace keyhole::proxy {
namespace {

/// Administrators are few; a flood of connections takes no more than this many descriptors from the agents.
constexpr unsigned most_connections = 256;
constexpr auto pause_after_failure = std::chrono::milliseconds(100);

struct doorway {
    asio::basic_socket_acceptor<asio::generic::stream_protocol, executor> acceptor;
    control_door door;
    std::string path;  ///< of a unix socket
    ino_t inode = 0;
};

task<> accept_all(std::shared_ptr<doorway> at, std::shared_ptr<control_room> room)
{
    timer pause(at->acceptor.get_executor());
    while (at->acceptor.is_open()) {
        agent_socket socket(at->acceptor.get_executor());
        auto [ec] = co_await at->acceptor.async_accept(socket, as_result);
        if (!at->acceptor.is_open()) break;
        if (ec) {  // out of descriptors, most likely: it passes
            pause.expires_after(pause_after_failure);
            auto [stopped] = co_await pause.async_wait(as_result);
            if (stopped) break;
            continue;
        }
        if (room->connections >= most_connections) continue;  // the socket's destructor hangs up
        auto connection = serve_control(room, std::move(socket), at->door);
        asio::co_spawn(at->acceptor.get_executor(), std::move(connection), asio::detached);
    }
}

}  // namespace

struct admin_server::impl {
    impl(asio::io_context& io, control_surface surface, config::secret_ptr token)
        : io_(io), room_(std::make_shared<control_room>(std::move(surface), std::move(token)))
    {
    }

    ~impl()
    {
        stop();
        // Connections that are still open find nothing to serve; a report that is being read is waited for.
        room_->closed = true;
        room_->readers.join();
    }

    impl(const impl&) = delete;
    impl& operator=(const impl&) = delete;

    void open(int descriptor, bool tcp, control_door door, std::string path, ino_t inode)
    {
        auto at = std::make_shared<doorway>(
            doorway{decltype(doorway::acceptor)(io_.get_executor()), door, std::move(path), inode});
        at->acceptor.assign(asio::generic::stream_protocol(tcp ? AF_INET : AF_UNIX, 0), descriptor);
        doorways_.push_back(at);
        asio::co_spawn(io_.get_executor(), accept_all(at, room_), asio::detached);
    }

    void stop() noexcept
    {
        for (const auto& at : doorways_) {
            error_code ignored;
            at->acceptor.close(ignored);
            remove_socket(at->path, at->inode);
        }
        doorways_.clear();
    }

    asio::io_context& io_;
    std::shared_ptr<control_room> room_;
    std::vector<std::shared_ptr<doorway>> doorways_;
};

admin_server::admin_server(asio::io_context& io, control_surface surface, const config::settings& at_start)
    : impl_(std::make_shared<impl>(io, std::move(surface), at_start.admin.token))
{
    const bound_socket socket =
        bind_unix(at_start.admin.socket, {.mode = 0600, .make_directory = true, .setting = "admin"});
    impl_->open(socket.descriptor, false, control_door::admin_socket, at_start.admin.socket, socket.inode);
    if (at_start.admin.tcp) impl_->open(bind_tcp(*at_start.admin.tcp), true, control_door::admin_tcp, {}, 0);
    if (at_start.metrics.tcp)
        impl_->open(bind_tcp(*at_start.metrics.tcp), true, control_door::metrics, {}, 0);
}

admin_server::~admin_server() = default;

void admin_server::stop()
{
    impl_->stop();
}

}  // namespace keyhole::proxy
