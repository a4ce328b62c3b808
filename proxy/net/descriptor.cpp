#include "proxy/net/descriptor.hpp"

#include <cerrno>
#include <cstring>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

#ifndef TCP_ULP
constexpr int TCP_ULP = 31;
#endif

int option(int fd, int level, int name) noexcept
{
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

/// Closes all that came; the one descriptor if it was exactly one and nothing was cut off.
int take_descriptor(msghdr& from) noexcept
{
    int kept = -1;
    bool one_only = (from.msg_flags & MSG_CTRUNC) == 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&from); c != nullptr; c = CMSG_NXTHDR(&from, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, reinterpret_cast<const char*>(c) + at, sizeof fd);
            one_only = one_only && kept < 0;
            if (kept >= 0) ::close(kept);
            kept = fd;
        }
    }
    if (!one_only && kept >= 0) ::close(std::exchange(kept, -1));
    return kept;
}

}  // namespace

std::array<char, handoff_message::size> handoff_message::bytes() const noexcept
{
    std::array<char, size> out{};
    out[0] = static_cast<char>(word);
    for (unsigned i = 0; i < 4; ++i)
        out[4 + i] = static_cast<char>((number >> (8 * i)) & 0xffU);
    return out;
}

received_message receive_message(int channel) noexcept
{
    std::array<char, handoff_message::size> text{};
    iovec into{text.data(), text.size()};
    // Room for one descriptor exactly: the kernel closes further ones and says so.
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr m{};
    m.msg_iov = &into;
    m.msg_iovlen = 1;
    m.msg_control = control.data();
    m.msg_controllen = CMSG_LEN(sizeof(int));

    received_message out;
    const ssize_t n = ::recvmsg(channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        const bool later = errno == EAGAIN || errno == EINTR;
        out.is = later ? received_message::verdict::none_yet : received_message::verdict::closed;
        return out;
    }
    out.descriptor = take_descriptor(m);
    out.is = n == 0 ? received_message::verdict::closed : received_message::verdict::message;
    if (n == static_cast<ssize_t>(text.size()) && text[0] == static_cast<char>(handoff_word::take) &&
        text[1] == 0 && text[2] == 0 && text[3] == 0)
    {
        out.message.number = 0;
        for (unsigned i = 0; i < 4; ++i)
            out.message.number |= static_cast<std::uint32_t>(static_cast<unsigned char>(text[4 + i]))
                                  << (8 * i);
        return out;
    }
    // A bridge sends a message as one, so that it never arrives in pieces.
    if (n != 0) out.is = received_message::verdict::broken;
    if (out.descriptor >= 0) ::close(std::exchange(out.descriptor, -1));
    return out;
}

const char* why_unfit(int fd) noexcept
{
    const int family = option(fd, SOL_SOCKET, SO_DOMAIN);
    if (family < 0) return "not a socket";
    if (family != AF_INET && family != AF_INET6) return "not a socket of the internet families";
    if (option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM || option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP)
        return "not a TCP socket";
    if (option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 0) return "a listening socket";
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "not connected";
    // Another protocol on top (TLS in the kernel) brings locks of its own, on which a send waits whatever it
    // says.
    std::array<char, 16> upper{};
    size = upper.size();
    if (::getsockopt(fd, IPPROTO_TCP, TCP_ULP, upper.data(), &size) == 0 && size != 0 && upper[0] != 0)
        return "a socket with a protocol of its own above TCP";
    return nullptr;
}

std::uint64_t cookie_of(int fd) noexcept
{
    std::uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool peer_uid(int fd, std::uint32_t& uid) noexcept
{
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof peer) return false;
    uid = peer.uid;
    return true;
}

bool all_delivered(int fd) noexcept
{
    int bytes = 0;
    if (::ioctl(fd, SIOCOUTQ, &bytes) != 0 || bytes == 0) return true;
    // Reset by the other end, the kernel still counts what it will never deliver.
    tcp_info info{};
    socklen_t size = sizeof info;
    return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_CLOSE;
}

void close_shared(int fd) noexcept
{
    const linger none{0, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    ::close(fd);
}

void reset_shared(int fd) noexcept
{
    // A close() with SO_LINGER {1, 0} would reset only when the last holder closes.
    const sockaddr nowhere{AF_UNSPEC, {}};
    ::connect(fd, &nowhere, sizeof nowhere);
    close_shared(fd);
}

}  // namespace keyhole::proxy
