#include "bench/mock/transport.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cerrno>
#include <stdexcept>
#include <sys/socket.h>

namespace keyhole::bench {

void ssl_free::operator()(SSL* s) const noexcept
{
    ::SSL_free(s);
}

void ssl_free::operator()(SSL_CTX* c) const noexcept
{
    ::SSL_CTX_free(c);
}

std::unique_ptr<SSL_CTX, ssl_free> server_context(const std::string& certificate, const std::string& key)
{
    std::unique_ptr<SSL_CTX, ssl_free> context{::SSL_CTX_new(::TLS_server_method())};
    if (!context || ::SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1 ||
        ::SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
        throw std::runtime_error{"cannot use " + certificate + " with " + key};
    ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    ::SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                          SSL_MODE_RELEASE_BUFFERS);
    constexpr unsigned char name[] = "keyhole-bench";
    ::SSL_CTX_set_session_id_context(context.get(), name, sizeof name);
    return context;
}

transport::transport(unique_fd fd, SSL_CTX* context) : fd_{std::move(fd)}
{
    if (context == nullptr) return;
    ssl_.reset(::SSL_new(context));
    if (!ssl_) throw std::bad_alloc{};
    ::SSL_set_fd(ssl_.get(), fd_.get());
    ::SSL_set_accept_state(ssl_.get());
}

outcome transport::read(char* to, std::size_t room, std::size_t& n, bool& more) noexcept
{
    n = 0;
    more = false;
    if (ssl_) {
        ::ERR_clear_error();
        if (::SSL_read_ex(ssl_.get(), to, room, &n) == 1) {
            more = true;
            return outcome::moved;
        }
        const auto why = ::SSL_get_error(ssl_.get(), 0);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? outcome::would_block
                                                                         : outcome::ended;
    }
    const auto got = ::recv(fd_.get(), to, room, 0);
    if (got > 0) {
        n = static_cast<std::size_t>(got);
        more = n == room;  // a short read emptied the socket
        return outcome::moved;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? outcome::would_block : outcome::ended;
}

outcome transport::write(std::string_view bytes, std::size_t& n) noexcept
{
    n = 0;
    if (ssl_) {
        ::ERR_clear_error();
        if (::SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &n) == 1) return outcome::moved;
        const auto why = ::SSL_get_error(ssl_.get(), 0);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? outcome::would_block
                                                                         : outcome::ended;
    }
    const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
        n = static_cast<std::size_t>(sent);
        return outcome::moved;
    }
    return errno == EAGAIN || errno == EINTR ? outcome::would_block : outcome::ended;
}

void transport::end() noexcept
{
    ssl_.reset();
    fd_.reset();
}

}  // namespace keyhole::bench
