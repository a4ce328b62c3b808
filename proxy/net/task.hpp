// The vocabulary of everything that waits: one executor type, one coroutine type, one completion token.
// Concrete types rather than any_io_executor, since these stand on the path of every byte. g++ 12.2 rule (GCC
// PR 98401, 107288): one co_await a statement, its operands named, its result named.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <sys/socket.h>
#include <utility>

namespace keyhole::proxy {

namespace asio = boost::asio;
using boost::system::error_code;

using executor = asio::io_context::executor_type;
template <class T = void>
using task = asio::awaitable<T, executor>;

/// `auto [ec, n] = co_await op(..., as_result);` Deferred: the coroutine waits for the operation itself,
/// where use_awaitable would make it a coroutine of its own, with a frame for as long as it takes.
inline constexpr auto as_result = asio::as_tuple(asio::deferred);

using clock = std::chrono::steady_clock;
using timer = asio::basic_waitable_timer<clock, asio::wait_traits<clock>, executor>;

/// An agent's connection: unix socket or TCP, the same type from here on. Every read and write says for
/// itself that it must not wait: O_NONBLOCK belongs to the open file, and one that was handed over is
/// somebody else's too.
class agent_socket : public asio::basic_stream_socket<asio::generic::stream_protocol, executor> {
public:
    using basic_stream_socket::basic_stream_socket;

    template <class Buffers, class Token>
    auto async_read_some(const Buffers& into, Token&& token)
    {
        return this->async_receive(into, MSG_DONTWAIT, std::forward<Token>(token));
    }
    template <class Buffers, class Token>
    auto async_write_some(const Buffers& from, Token&& token)
    {
        return this->async_send(from, MSG_DONTWAIT, std::forward<Token>(token));
    }
};
using tcp_socket = asio::basic_stream_socket<asio::ip::tcp, executor>;

inline clock::duration seconds_of(double s)
{
    return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(s));
}

}  // namespace keyhole::proxy
