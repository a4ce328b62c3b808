#include "proxy/upstream/link.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace keyhole::proxy::upstream {

link::link(executor ex, endpoint_ptr to) : to_(std::move(to)), socket_(ex) {}

link::~link()
{
    close();
}

asio::ssl::stream<tcp_socket&>& link::start_tls()
{
    return tls_.emplace(socket_, *to_->tls);
}

bool link::quiet() noexcept
{
    if (!socket_.is_open()) return false;
    if (tls_ && SSL_pending(tls_->native_handle()) != 0) return false;
    char byte = 0;
    const auto n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && errno == EAGAIN;
}

void link::close() noexcept
{
    error_code ignored;
    socket_.close(ignored);
}

}  // namespace keyhole::proxy::upstream
