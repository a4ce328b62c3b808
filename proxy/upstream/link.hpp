// One connection to a provider: TCP, with TLS on top where the endpoint says so. Models Asio's
// AsyncReadStream and AsyncWriteStream, so that one relay serves both. Thread rule: its worker only.
#pragma once

#include "proxy/net/task.hpp"
#include "proxy/upstream/endpoint.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace keyhole::proxy::upstream {

class link {
public:
    using executor_type = executor;

    link(executor ex, endpoint_ptr to);
    ~link();
    link(const link&) = delete;
    link& operator=(const link&) = delete;

    executor_type get_executor() noexcept { return socket_.get_executor(); }
    tcp_socket& socket() noexcept { return socket_; }
    const endpoint& to() const noexcept { return *to_; }

    /// What is different about each provider connection: filled by connect().
    asio::ssl::stream<tcp_socket&>* tls() noexcept { return tls_.get(); }
    /// Puts a TLS stream on the connected socket.
    asio::ssl::stream<tcp_socket&>& start_tls();

    template <class Buffers, class Token>
    auto async_read_some(const Buffers& buffers, Token&& token)
    {
        return asio::async_initiate<Token, void(error_code, std::size_t)>(
            [this](auto handler, const Buffers& into) {
                if (tls_)
                    tls_->async_read_some(into, std::move(handler));
                else
                    socket_.async_read_some(into, std::move(handler));
            },
            token, buffers);
    }

    template <class Buffers, class Token>
    auto async_write_some(const Buffers& buffers, Token&& token)
    {
        return asio::async_initiate<Token, void(error_code, std::size_t)>(
            [this](auto handler, const Buffers& from) {
                if (tls_)
                    tls_->async_write_some(from, std::move(handler));
                else
                    socket_.async_write_some(from, std::move(handler));
            },
            token, buffers);
    }

    /// What can be read or written without waiting; nothing where TLS stands between (net/at_once.hpp).
    std::size_t read_at_once(char* into, std::size_t size, error_code& ec) noexcept;
    std::size_t write_at_once(std::span<const asio::const_buffer> pieces) noexcept;
    /// What TLS has decrypted and nobody has read yet.
    std::size_t read_decrypted(char* into, std::size_t size) noexcept;

    /// Nothing to read and the peer still there: fit for another request.
    bool quiet() noexcept;
    /// Ends every wait on it; it can't be used any more.
    void close() noexcept;

    clock::time_point opened = clock::now();
    clock::time_point idle_since{};
    std::uint64_t served = 0;  ///< requests so far

private:
    endpoint_ptr to_;
    tcp_socket socket_;
    std::unique_ptr<asio::ssl::stream<tcp_socket&>> tls_;
};

using link_ptr = std::unique_ptr<link>;

}  // namespace keyhole::proxy::upstream
