#include "load.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <set>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace keyhole::bench {
namespace {

enum class kind : std::uint8_t { listener, agent, channel, tick };

struct socket_state {
    int fd = -1;
    kind is = kind::agent;
    bool first = true;
    int channel = -1;          ///< whom to tell when it ends
    std::uint32_t number = 0;  ///< under which name
    std::uint64_t owed = 0;    ///< bytes of a bulk answer
    std::size_t have = 0;
    std::array<char, message_size> message{};
};

int epoll = -1;
int ticker = -1;
std::set<socket_state*> streams;
std::vector<char> payload(256 * 1024, 'x');

void watch(int fd, kind is, int channel = -1, std::uint32_t number = 0)
{
    auto* s = new socket_state;
    s->fd = fd;
    s->is = is;
    s->channel = channel;
    s->number = number;
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.ptr = s;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0) fail("epoll_ctl");
}

void tell(int channel, char word, std::uint32_t number)
{
    std::array<char, 8> text{word};
    std::memcpy(text.data() + 4, &number, sizeof number);
    // A bridge never waits for us, so we may for it.
    while (::send(channel, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        pollfd room{.fd = channel, .events = POLLOUT, .revents = 0};
        ::poll(&room, 1, -1);
    }
}

void end(socket_state* s)
{
    // A descriptor that somebody else holds too stays in the epoll set unless it is taken out.
    ::epoll_ctl(epoll, EPOLL_CTL_DEL, s->fd, nullptr);
    if (s->channel >= 0) ::shutdown(s->fd, SHUT_WR);
    ::close(s->fd);
    streams.erase(s);
    if (s->channel >= 0) tell(s->channel, 'D', s->number);
    delete s;
}

/// False: the connection is over.
bool send_owed(socket_state* s)
{
    while (s->owed != 0) {
        const std::size_t size = s->owed < payload.size() ? s->owed : payload.size();
        const ssize_t n = ::send(s->fd, payload.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            epoll_event e{};
            e.events = EPOLLOUT;
            e.data.ptr = s;
            ::epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e);
            return true;
        }
        if (n < 0) return false;
        s->owed -= static_cast<std::uint64_t>(n);
    }
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.ptr = s;
    ::epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e);
    return true;
}

void begin_ticking()
{
    ticker = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    const itimerspec often{.it_interval = {.tv_sec = 0, .tv_nsec = 100'000'000},
                           .it_value = {.tv_sec = 0, .tv_nsec = 100'000'000}};
    ::timerfd_settime(ticker, 0, &often, nullptr);
    watch(ticker, kind::tick);
}

/// A stream whose reader is behind goes without this chunk; its reader counts what came.
void tick()
{
    std::uint64_t times = 0;
    if (::read(ticker, &times, sizeof times) != static_cast<ssize_t>(sizeof times)) return;
    for (const socket_state* s : streams)
        ::send(s->fd, s->message.data(), message_size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool answer(socket_state* s)
{
    if (s->message[0] == bulk) {
        std::memcpy(&s->owed, s->message.data() + 1, sizeof s->owed);
        return send_owed(s);
    }
    if (s->message[0] == stream) {
        streams.insert(s);
        if (ticker < 0) begin_ticking();
    }
    return ::send(s->fd, s->message.data(), message_size, MSG_NOSIGNAL | MSG_DONTWAIT) ==
           static_cast<ssize_t>(message_size);
}

/// The hello of a bridge that hands over (docs/decisions/0009-hand-off.md): 16 bytes that begin like no
/// message of ours.
bool became_channel(socket_state* s)
{
    constexpr std::size_t hello = 16;
    if (!s->first || s->have < hello || std::memcmp(s->message.data(), "\r\n\r\n\0\r\nQUIT\n\x22", 13) != 0)
        return false;
    s->is = kind::channel;
    tell(s->fd, 'K', 1'000'000);
    return true;
}

bool read_agent(socket_state* s)
{
    const ssize_t n = ::recv(s->fd, s->message.data() + s->have, message_size - s->have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n <= 0) return false;
    s->have += static_cast<std::size_t>(n);
    if (became_channel(s) || s->have < message_size) return true;
    s->first = false;
    s->have = 0;
    return answer(s);
}

bool read_channel(socket_state* s)
{
    for (;;) {
        std::array<char, 8> text{};
        iovec into{text.data(), text.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        msghdr m{};
        m.msg_iov = &into;
        m.msg_iovlen = 1;
        m.msg_control = control.data();
        m.msg_controllen = control.size();
        const ssize_t n = ::recvmsg(s->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EAGAIN) return true;
        if (n <= 0) return false;
        int fd = -1;
        if (const cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr) std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
        if (fd < 0) fail("a message without a descriptor");
        std::uint32_t number = 0;
        std::memcpy(&number, text.data() + 4, sizeof number);
        watch(fd, kind::agent, s->fd, number);
    }
}

void accept_all(int listener)
{
    for (;;) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, kind::agent);
    }
}

int listen_at(const sockaddr* at, socklen_t size)
{
    const int fd = ::socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || ::bind(fd, at, size) != 0 || ::listen(fd, 16384) != 0) fail("listen");
    return fd;
}

}  // namespace

void serve(const std::string& path, std::uint16_t port)
{
    epoll = ::epoll_create1(EPOLL_CLOEXEC);
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path, path.c_str(), path.size() + 1);
    watch(listen_at(reinterpret_cast<sockaddr*>(&local), sizeof local), kind::listener);
    sockaddr_in loopback{};
    loopback.sin_family = AF_INET;
    loopback.sin_port = htons(port);
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    watch(listen_at(reinterpret_cast<sockaddr*>(&loopback), sizeof loopback), kind::listener);
    std::puts("ready");
    std::fflush(stdout);
    std::array<epoll_event, 256> events{};
    for (;;) {
        const int n = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < n; ++i) {
            auto* s = static_cast<socket_state*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (s->is == kind::tick) {
                tick();
                continue;
            }
            if (s->is == kind::listener) {
                accept_all(s->fd);
                continue;
            }
            const bool goes_on = s->is == kind::channel ? read_channel(s)
                                 : s->owed != 0         ? send_owed(s)
                                                        : read_agent(s);
            if (!goes_on) end(s);
        }
    }
}

}  // namespace keyhole::bench
