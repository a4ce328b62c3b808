#include "proxy/net/peer.hpp"

#include <array>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

namespace keyhole::proxy {
namespace {

bool credentials(int fd, ucred& peer) noexcept
{
    socklen_t length = sizeof peer;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && length == sizeof peer;
}

}  // namespace

bool peer_is_administrator(int fd) noexcept
{
    ucred peer{};
    return credentials(fd, peer) && (peer.uid == 0 || peer.uid == ::geteuid());
}

std::string peer_in_words(int fd)
{
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    auto* const bytes = reinterpret_cast<sockaddr*>(&address);
    if (::getpeername(fd, bytes, &length) != 0) return "unknown";
    if (address.ss_family == AF_UNIX) {
        ucred peer{};
        if (!credentials(fd, peer)) return "unknown";
        return "uid " + std::to_string(peer.uid) + ", pid " + std::to_string(peer.pid);
    }
    std::array<char, 64> host{};
    std::array<char, 8> port{};
    if (::getnameinfo(bytes, length, host.data(), host.size(), port.data(), port.size(),
                      NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return "unknown";
    const std::string name(host.data());
    return (address.ss_family == AF_INET6 ? "[" + name + "]" : name) + ":" + port.data();
}

}  // namespace keyhole::proxy
