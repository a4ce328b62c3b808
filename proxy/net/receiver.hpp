// Receives on a socket through the loop, at a system call a receive: no buffer is held while nothing is there
// (it is asked for when there is something), nothing is armed again, and where the kernel says that all has
// been read (TCP_INQ), nothing is asked in vain. Asio's own wait is an epoll_ctl each time, its receive an
// empty recv. Stands on details of the Boost that is built against (1.81, pinned by Debian 12); receiver_test
// holds what it relies on. Thread rule: the socket's worker.
#pragma once

#include "proxy/net/task.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/detail/reactor.hpp>
#include <boost/asio/detail/reactor_op.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace keyhole::proxy {

class receiver {
public:
    /// Where bytes go, of `owner`: asked for when there may be some, and told when there were none after all.
    struct room {
        asio::mutable_buffer (*borrow)(void* owner);
        void (*give_back)(void* owner) noexcept;
    };

    explicit receiver(asio::io_context& loop);
    ~receiver();
    receiver(const receiver&) = delete;
    receiver& operator=(const receiver&) = delete;

    /// After connecting: asks the kernel to say what is left, where it can.
    static void prepare(int connected_tcp) noexcept;

    /// Waits until bytes are there and received, or for an error, or the end; then error() and bytes() say
    /// what came. What ends the socket's other waits (cancel, close) ends this one. One at a time.
    template <class Protocol>
    auto receive(asio::basic_stream_socket<Protocol, executor>& socket, room where, void* owner)
    {
        return asio::async_initiate<const token&, void()>(
            [this, &socket, where, owner](auto waiting) {
                waiting_.emplace(std::move(waiting));
                start(socket.native_handle(), reactor_data(socket), where, owner);
            },
            as_plain);
    }
    const error_code& error() const noexcept { return error_; }
    std::size_t bytes() const noexcept { return bytes_; }

private:
    using reactor = asio::detail::reactor;
    using token = asio::use_awaitable_t<executor>;
    static constexpr token as_plain{};
    using handler = asio::async_result<token, void()>::handler_type;
    struct operation;

    /// The reactor's record of a socket, which its class keeps for those that inherit from it.
    template <class Protocol>
    static reactor::per_descriptor_data& reactor_data(asio::basic_stream_socket<Protocol, executor>& socket)
    {
        struct open : asio::basic_stream_socket<Protocol, executor> {
            static auto member() { return &open::impl_; }
        };
        return (socket.*open::member()).get_implementation().reactor_data_;
    }

    void start(int socket, reactor::per_descriptor_data& data, room where, void* owner);
    void finish(const error_code& ec, std::size_t bytes);

    reactor& reactor_;
    operation* op_;  ///< the loop's while it waits
    std::optional<handler> waiting_;
    error_code error_;
    std::size_t bytes_ = 0;
};

}  // namespace keyhole::proxy
