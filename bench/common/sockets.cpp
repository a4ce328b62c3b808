#include "bench/common/sockets.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace keyhole::bench {
namespace {

constexpr int backlog = 4096;

[[noreturn]] void fail(const char* what, const address& where)
{
    throw std::system_error{errno, std::generic_category(), std::string{what} + " " + where.text};
}

unique_fd make(const address& where, int flags)
{
    unique_fd fd{::socket(where.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)};
    if (!fd) fail("socket for", where);
    return fd;
}

const sockaddr* raw(const address& where) noexcept
{
    return reinterpret_cast<const sockaddr*>(&where.bytes);
}

}  // namespace

void unique_fd::reset() noexcept
{
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

address parse_address(std::string_view text)
{
    address out;
    out.text = text;
    if (text.starts_with("unix:")) {
        const auto path = text.substr(5);
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        if (path.empty() || path.size() >= sizeof name.sun_path)
            throw std::invalid_argument{"bad path in " + out.text};
        std::memcpy(name.sun_path, path.data(), path.size());
        std::memcpy(&out.bytes, &name, sizeof name);
        out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
        return out;
    }
    const auto colon = text.rfind(':');
    if (!text.starts_with("tcp:") || colon < 4)
        throw std::invalid_argument{"not tcp:HOST:PORT or unix:PATH: " + out.text};
    sockaddr_in name{};
    name.sin_family = AF_INET;
    const std::string host{text.substr(4, colon - 4)};
    std::uint16_t port = 0;
    const auto [end, ec] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
    if (ec != std::errc{} || end != text.data() + text.size() ||
        ::inet_pton(AF_INET, host.c_str(), &name.sin_addr) != 1)
        throw std::invalid_argument{"not an IPv4 address with a port: " + out.text};
    name.sin_port = htons(port);
    std::memcpy(&out.bytes, &name, sizeof name);
    out.size = sizeof name;
    return out;
}

unique_fd listen_on(const address& where)
{
    auto fd = make(where, SOCK_NONBLOCK);
    const int one = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!where.is_tcp()) ::unlink(reinterpret_cast<const sockaddr_un*>(&where.bytes)->sun_path);
    if (::bind(fd.get(), raw(where), where.size) != 0 || ::listen(fd.get(), backlog) != 0)
        fail("cannot listen on", where);
    return fd;
}

unique_fd connect_to(const address& where)
{
    auto fd = make(where, 0);
    int result = 0;
    do
        result = ::connect(fd.get(), raw(where), where.size);
    while (result != 0 && errno == EINTR);
    if (result != 0) fail("cannot connect to", where);
    if (where.is_tcp()) send_at_once(fd.get());
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    return fd;
}

void send_at_once(int fd) noexcept
{
    const int one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void raise_descriptor_limit() noexcept
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace keyhole::bench
