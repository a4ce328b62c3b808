#include "proxy/listener.hpp"

#include "proxy/worker.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <utility>

namespace keyhole::proxy {
struct listener::state {
    acceptor_type acceptor;
    timer pause;
    pick_worker pick;
    session_ptr bound;
    bool tcp = false;
};

listener::listener(asio::io_context& control, bound_socket bound_at, bool tcp, std::string path,
                   session_ptr bound)
    : state_(std::make_shared<state>(
          state{acceptor_type(control.get_executor()), timer(control.get_executor()), {}, bound, tcp}))
    , path_(std::move(path))
    , bound_(std::move(bound))
    , inode_(bound_at.inode)
{
    const asio::generic::stream_protocol protocol(tcp ? AF_INET : AF_UNIX, 0);
    state_->acceptor.assign(protocol, bound_at.descriptor);
}

listener::~listener()
{
    close();
}

void listener::close() noexcept
{
    error_code ignored;
    if (!state_->acceptor.is_open()) return;
    state_->acceptor.close(ignored);
    state_->pause.cancel();
    remove_socket(path_, inode_);
}

void listener::start(pick_worker pick)
{
    state_->pick = std::move(pick);
    asio::co_spawn(state_->acceptor.get_executor(), accept_loop(state_), asio::detached);
}

task<> listener::accept_loop(std::shared_ptr<state> s)
{
    while (s->acceptor.is_open()) {
        worker* to = s->pick();
        agent_socket socket(to->io().get_executor());
        auto [ec] = co_await s->acceptor.async_accept(socket, as_result);
        if (!s->acceptor.is_open()) break;
        if (ec) {
            // Out of descriptors or memory: waiting helps, spinning does not. Anything else concerned that
            // one connection.
            const bool exhausted = ec == boost::system::errc::too_many_files_open ||
                                   ec == boost::system::errc::too_many_files_open_in_system ||
                                   ec == boost::system::errc::no_buffer_space ||
                                   ec == boost::system::errc::not_enough_memory;
            if (exhausted) {
                s->pause.expires_after(std::chrono::milliseconds(100));
                auto [waited] = co_await s->pause.async_wait(as_result);
                if (waited) break;
            }
            continue;
        }
        if (s->tcp) {
            const int on = 1;
            ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        }
        to->adopt({std::move(socket), s->bound, s->tcp});
    }
}

}  // namespace keyhole::proxy
