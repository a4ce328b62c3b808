#include "proxy/net/at_once.hpp"

#include <boost/asio/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/socket.h>
#include <sys/uio.h>

namespace keyhole::proxy {
namespace {

constexpr std::size_t most_pieces = 4;

}  // namespace

std::size_t read_at_once(int socket, char* into, std::size_t size, error_code& ec) noexcept
{
    ec = {};
    ssize_t n = 0;
    do {
        n = ::recv(socket, into, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0)
        ec = asio::error::eof;
    else if (errno != EAGAIN)
        ec.assign(errno, boost::system::system_category());
    return 0;
}

std::size_t write_at_once(int socket, std::span<const asio::const_buffer> pieces) noexcept
{
    std::array<::iovec, most_pieces> parts{};
    const std::size_t count = std::min(pieces.size(), parts.size());
    std::size_t used = 0;
    std::size_t room = bytes_at_once;
    for (const auto& piece : pieces.first(count)) {
        const auto n = std::min(piece.size(), room);
        if (n != 0) parts[used++] = {const_cast<void*>(piece.data()), n};
        room -= n;
    }
    if (used == 0) return 0;
    ::msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = used;
    ssize_t n = 0;
    do {
        n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void drop_front(std::span<asio::const_buffer> pieces, std::size_t n) noexcept
{
    for (auto& piece : pieces) {
        const auto here = std::min(n, piece.size());
        piece += here;
        n -= here;
    }
}

}  // namespace keyhole::proxy
