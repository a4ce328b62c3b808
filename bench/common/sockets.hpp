// Sockets for load generator and mock: "tcp:127.0.0.1:8080" or "unix:/path". Non-blocking, TCP_NODELAY.
// Errors: std::system_error with the address in its text. Thread rule: any thread.
#pragma once

#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>

namespace keyhole::bench {

/// Closes what it holds.
class unique_fd {
public:
    unique_fd() noexcept = default;
    explicit unique_fd(int fd) noexcept : fd_{fd} {}
    unique_fd(unique_fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    unique_fd& operator=(unique_fd&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    unique_fd(const unique_fd&) = delete;
    unique_fd& operator=(const unique_fd&) = delete;
    ~unique_fd() { reset(); }
    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    void reset() noexcept;

private:
    int fd_ = -1;
};

struct address {
    sockaddr_storage bytes{};
    socklen_t size = 0;
    std::string text;
    bool is_tcp() const noexcept { return bytes.ss_family == AF_INET; }
};

address parse_address(std::string_view text);
unique_fd listen_on(const address& where);
/// Connects at once (both kinds are local); throws where nobody listens.
unique_fd connect_to(const address& where);
/// TCP_NODELAY where the socket is TCP.
void send_at_once(int fd) noexcept;
/// As many descriptors as the system allows.
void raise_descriptor_limit() noexcept;

}  // namespace keyhole::bench
