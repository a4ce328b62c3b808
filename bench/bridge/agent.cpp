#include "load.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace keyhole::bench {
namespace {

using message = std::array<char, message_size>;

message make(char what, std::uint64_t bytes = 0)
{
    message m{what};
    std::memcpy(m.data() + 1, &bytes, sizeof bytes);
    return m;
}

}  // namespace

int connect_to(const target& at, bool later)
{
    const int type = SOCK_STREAM | SOCK_CLOEXEC | (later ? SOCK_NONBLOCK : 0);
    const int fd = ::socket(at.path.empty() ? AF_INET : AF_UNIX, type, 0);
    if (fd < 0) fail("socket");
    int result = 0;
    if (at.path.empty()) {
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(at.port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        result = ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
    } else {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::memcpy(to.sun_path, at.path.c_str(), at.path.size() + 1);
        result = ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
    }
    if (result != 0 && errno != EINPROGRESS) fail("connect");
    return fd;
}

namespace {

void send_whole(int fd, const message& m)
{
    if (::send(fd, m.data(), m.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(m.size())) fail("send");
}

void read_whole(int fd, message& m)
{
    if (::recv(fd, m.data(), m.size(), MSG_WAITALL) != static_cast<ssize_t>(m.size())) fail("recv");
}

struct one_agent {
    int fd = -1;
    bool sent = false;
    std::size_t got = 0;
    std::int64_t since = 0;
};

bool send_question(one_agent& a, const message& question)
{
    const ssize_t n = ::send(a.fd, question.data(), question.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) return false;
    if (n != static_cast<ssize_t>(question.size())) fail("send");
    return a.sent = true;
}

/// True: the answer is complete.
bool read_answer(one_agent& a)
{
    message m;
    const ssize_t n = ::recv(a.fd, m.data(), m.size() - a.got, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) fail("an answer broke off");
    a.got += static_cast<std::size_t>(n);
    if (a.got < message_size) return false;
    a.got = 0;
    a.sent = false;
    return true;
}

void watch(int epoll, one_agent& a, std::uint32_t events, int how)
{
    epoll_event e{};
    e.events = events;
    e.data.ptr = &a;
    if (::epoll_ctl(epoll, how, a.fd, &e) != 0) fail("epoll_ctl");
}

double percentile(std::vector<std::int64_t>& sorted, double p)
{
    return static_cast<double>(sorted[static_cast<std::size_t>(p * static_cast<double>(sorted.size() - 1))]) /
           1000.0;
}

void print(std::vector<std::int64_t>& each_ns, std::int64_t took_ns)
{
    std::sort(each_ns.begin(), each_ns.end());
    std::printf("{\"count\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
                each_ns.size(), static_cast<double>(took_ns) / 1e9, percentile(each_ns, 0.5),
                percentile(each_ns, 0.99), percentile(each_ns, 1));
}

/// `count` exchanges over `at_a_time` agents; each on a connection of its own if `fresh`.
void run(const target& at, int count, int at_a_time, bool fresh)
{
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    std::vector<one_agent> agents(static_cast<std::size_t>(at_a_time));
    std::vector<std::int64_t> took;
    took.reserve(static_cast<std::size_t>(count));
    const message question = make(echo);
    int begun = 0;
    const auto begin = [&](one_agent& a, bool first) {
        ++begun;
        a.since = now_ns();
        if (fresh || first) {
            a.fd = connect_to(at, true);
            watch(epoll, a, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
        } else if (!send_question(a, question))
            fail("send");
    };
    const std::int64_t start = now_ns();
    for (auto& a : agents)
        if (begun < count) begin(a, true);
    std::array<epoll_event, 256> events{};
    while (took.size() < static_cast<std::size_t>(count)) {
        const int n = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 60'000);
        if (n <= 0) fail("nothing happens for a minute");
        for (int i = 0; i < n; ++i) {
            auto& a = *static_cast<one_agent*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (!a.sent && send_question(a, question)) watch(epoll, a, EPOLLIN, EPOLL_CTL_MOD);
            if (!a.sent || !read_answer(a)) continue;
            took.push_back(now_ns() - a.since);
            if (fresh) ::close(a.fd);
            if (begun < count) begin(a, false);
        }
    }
    print(took, now_ns() - start);
}

}  // namespace

void open_and_close(const target& at, int count, int at_a_time)
{
    run(at, count, at_a_time, true);
}

void ask(const target& at, int count, int connections)
{
    run(at, count, connections, false);
}

void burst(const target& at, int count)
{
    run(at, count, count, true);
}

void ping(const target& at, int count)
{
    const int fd = connect_to(at);
    const message question = make(echo);
    message reply;
    std::vector<std::int64_t> took;
    const std::int64_t start = now_ns();
    for (int i = 0; i < count; ++i) {
        const std::int64_t since = now_ns();
        send_whole(fd, question);
        read_whole(fd, reply);
        took.push_back(now_ns() - since);
    }
    print(took, now_ns() - start);
}

void download(const target& at, std::uint64_t bytes)
{
    const int fd = connect_to(at);
    std::vector<char> into(256 * 1024);
    const std::int64_t start = now_ns();
    send_whole(fd, make(bulk, bytes));
    for (std::uint64_t left = bytes; left != 0;) {
        const ssize_t n = ::recv(fd, into.data(), into.size(), 0);
        if (n <= 0) fail("the download broke off");
        left -= static_cast<std::uint64_t>(n);
    }
    std::printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(bytes),
                static_cast<double>(now_ns() - start) / 1e9);
}

void hold(const target& at, int count)
{
    std::vector<int> held;
    const message question = make(echo);
    message reply;
    for (int i = 0; i < count; ++i) {
        held.push_back(connect_to(at));
        send_whole(held.back(), question);
        read_whole(held.back(), reply);
    }
    std::puts("held");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
}

}  // namespace keyhole::bench
