// Socket calls that do what can be done now and never wait. Most reads and writes of a relay need no waiting,
// and a wait through the loop costs more than the call itself; so it is tried first, and awaited only where
// the kernel says "not yet". Thread rule: the socket's worker.
#pragma once

#include "proxy/net/task.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <cstddef>
#include <span>

namespace keyhole::proxy {

/// How many reads in a row may be done so before the loop gets its turn: one busy stream must not keep the
/// others of its worker waiting.
inline constexpr unsigned most_at_once = 16;

/// And how many bytes: so much is received or sent in less than a tenth of a millisecond.
inline constexpr std::size_t bytes_at_once = 64 * 1024;

/// Bytes read. 0: would wait (no error), the end (asio::error::eof), or an error.
std::size_t read_at_once(int socket, char* into, std::size_t size, error_code& ec) noexcept;

/// Bytes the kernel took, at most bytes_at_once; 0 also on an error, which the next, waiting write will meet.
std::size_t write_at_once(int socket, std::span<const asio::const_buffer> pieces) noexcept;

/// The loop's other work comes first.
inline task<> let_others(executor loop)
{
    co_await asio::post(loop, asio::use_awaitable_t<executor>{});
}

/// Takes the first `n` bytes off the front of `pieces`.
void drop_front(std::span<asio::const_buffer> pieces, std::size_t n) noexcept;

}  // namespace keyhole::proxy
