#include "bridge/listen.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace keyhole::bridge {
namespace {

// A burst of 1,000 connects with the usual backlog of 5 or 128 costs minutes of SYN retries.
constexpr int backlog = 4096;

union any_address {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
};

socklen_t to_socket_address(const listen_address& from, any_address& to) noexcept
{
    std::memset(&to, 0, sizeof to);
    if (::inet_pton(AF_INET, from.host.c_str(), &to.v4.sin_addr) == 1) {
        to.v4.sin_family = AF_INET;
        to.v4.sin_port = htons(from.port);
        return sizeof to.v4;
    }
    if (::inet_pton(AF_INET6, from.host.c_str(), &to.v6.sin6_addr) == 1) {
        to.v6.sin6_family = AF_INET6;
        to.v6.sin6_port = htons(from.port);
        return sizeof to.v6;
    }
    return 0;
}

void set(int fd, int level, int option, int value) noexcept
{
    ::setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

bool parse_listen_address(std::string_view text, std::vector<listen_address>& out)
{
    std::string_view host;
    std::string_view port = text;
    if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
        if (host.size() > 2 && host.front() == '[' && host.back() == ']')
            host = host.substr(1, host.size() - 2);
        else if (host.find(':') != std::string_view::npos)
            return false;
    }
    const auto number = sys::parse_number(port, 65'535);
    if (!number || *number == 0) return false;
    const auto port_number = static_cast<std::uint16_t>(*number);
    if (host.empty()) {
        if (port != text) return false;
        out.push_back({"127.0.0.1", port_number});
        out.push_back({"::1", port_number});
        return true;
    }
    listen_address address{host == "localhost" ? "127.0.0.1" : std::string(host), port_number};
    any_address checked;
    if (to_socket_address(address, checked) == 0) return false;
    out.push_back(std::move(address));
    return true;
}

bool is_loopback(const listen_address& address) noexcept
{
    any_address a;
    if (to_socket_address(address, a) == 0) return false;
    if (a.any.sa_family == AF_INET) return (ntohl(a.v4.sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr) != 0;
}

sys::unique_fd listen_on(const listen_address& address) noexcept
{
    any_address where;
    const socklen_t size = to_socket_address(address, where);
    if (size == 0) {
        errno = EINVAL;
        return {};
    }
    sys::unique_fd fd(::socket(where.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return {};
    set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (where.any.sa_family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (::bind(fd.get(), &where.any, size) != 0 || ::listen(fd.get(), backlog) != 0) return {};
    return fd;
}

bool listen_on_loopback(std::uint16_t port, std::vector<sys::unique_fd>& out, std::string& error)
{
    sys::unique_fd v4 = listen_on({"127.0.0.1", port});
    if (!v4) {
        error =
            "cannot listen on 127.0.0.1:" + std::to_string(port) + ": " + std::strerror(errno) +
            (errno == EADDRINUSE ? "; something else has the port: set LLM_PROXY_PORT to another one" : "");
        return false;
    }
    out.push_back(std::move(v4));
    // Without a network, IPv6 is often off while /etc/hosts still maps localhost to ::1.
    if (sys::unique_fd v6 = listen_on({"::1", port}); v6) out.push_back(std::move(v6));
    return true;
}

}  // namespace keyhole::bridge
