// One accepted connection's bytes, plain or through TLS. Non-blocking. Thread rule: one owner.
#pragma once

#include "bench/common/sockets.hpp"

#include <openssl/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace keyhole::bench {

struct ssl_free {
    void operator()(SSL* s) const noexcept;
    void operator()(SSL_CTX* c) const noexcept;
};

/// TLS 1.2 and 1.3 with session resumption. Errors: std::runtime_error where certificate or key cannot be
/// read.
std::unique_ptr<SSL_CTX, ssl_free> server_context(const std::string& certificate, const std::string& key);

enum class outcome : unsigned char { moved, would_block, ended };

class transport {
public:
    /// `context`: nullptr for a plain connection.
    transport(unique_fd fd, SSL_CTX* context);

    int fd() const noexcept { return fd_.get(); }
    /// `n`: bytes read; `more`: the socket may hold more.
    outcome read(char* to, std::size_t room, std::size_t& n, bool& more) noexcept;
    outcome write(std::string_view bytes, std::size_t& n) noexcept;
    void end() noexcept;

private:
    unique_fd fd_;
    std::unique_ptr<SSL, ssl_free> ssl_;
};

}  // namespace keyhole::bench
