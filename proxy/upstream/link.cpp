#include "proxy/upstream/link.hpp"

#include "proxy/net/at_once.hpp"

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
    tls_ = std::make_unique<asio::ssl::stream<tcp_socket&>>(socket_, *to_->tls);
    return *tls_;
}

std::size_t link::read_at_once(char* into, std::size_t size, error_code& ec) noexcept
{
    ec = {};
    return tls_ || !socket_.is_open() ? 0 : proxy::read_at_once(socket_.native_handle(), into, size, ec);
}

std::size_t link::write_at_once(std::span<const asio::const_buffer> pieces) noexcept
{
    return tls_ || !socket_.is_open() ? 0 : proxy::write_at_once(socket_.native_handle(), pieces);
}

std::size_t link::read_decrypted(char* into, std::size_t size) noexcept
{
    if (!tls_ || SSL_pending(tls_->native_handle()) == 0) return 0;
    std::size_t n = 0;
    return SSL_read_ex(tls_->native_handle(), into, size, &n) == 1 ? n : 0;
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
