// Where agents connect: accepts on the control thread and hands each connection to its worker.
// Thread rule: the control thread.
#pragma once

#include "proxy/net/bind.hpp"
#include "proxy/net/task.hpp"
#include "proxy/session.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>

#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>

namespace keyhole::proxy {

class listener {
public:
    using acceptor_type = asio::basic_socket_acceptor<asio::generic::stream_protocol, executor>;
    /// Called on the control thread for each connection, to pick the worker it will belong to.
    using pick_worker = std::function<class worker*()>;

    /// Takes the descriptor over. `bound`: the session whose own socket this is; null for shared listeners.
    listener(asio::io_context& control, bound_socket at, bool tcp, std::string path, session_ptr bound);
    ~listener();  ///< closes; a unix socket's file goes with it if it is still this one
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

    void start(pick_worker pick);
    void close() noexcept;
    const std::string& path() const noexcept { return path_; }
    const session_ptr& bound() const noexcept { return bound_; }

private:
    struct state;
    static task<> accept_loop(std::shared_ptr<state> s);
    std::shared_ptr<state> state_;
    std::string path_;
    session_ptr bound_;
    ino_t inode_ = 0;
};

}  // namespace keyhole::proxy
