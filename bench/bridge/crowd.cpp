// Loads that are large in number: streams that go on for seconds, and processes that nobody waits for.
#include "load.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace keyhole::bench {

void listen_to(const target& at, int streams, int seconds)
{
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    std::vector<std::int64_t> last(static_cast<std::size_t>(streams));
    std::array<char, message_size> question{stream};
    for (int i = 0; i < streams; ++i) {
        const int fd = connect_to(at);
        if (::send(fd, question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(message_size))
            fail("send");
        epoll_event e{};
        e.events = EPOLLIN;
        e.data.u64 = (static_cast<std::uint64_t>(i) << 32) | static_cast<std::uint32_t>(fd);
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    }
    const std::int64_t begin = now_ns();
    const std::int64_t end = begin + std::int64_t{seconds} * 1'000'000'000;
    std::ranges::fill(last, begin);
    std::int64_t longest = 0;
    std::uint64_t bytes = 0;
    std::array<epoll_event, 1024> events{};
    std::array<char, 65536> into{};
    for (std::int64_t now = begin; now < end; now = now_ns()) {
        const int n = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 100);
        for (int i = 0; i < n; ++i) {
            const std::uint64_t about = events[static_cast<std::size_t>(i)].data.u64;
            const ssize_t got =
                ::recv(static_cast<int>(about & 0xffffffff), into.data(), into.size(), MSG_DONTWAIT);
            if (got <= 0) fail("a stream broke off");
            bytes += static_cast<std::uint64_t>(got);
            std::int64_t& since = last[about >> 32];
            longest = std::max(longest, now - since);
            since = now;
        }
    }
    constexpr std::int64_t stalled = 1'000'000'000;
    const auto stalls = std::ranges::count_if(last, [&](std::int64_t t) { return end - t > stalled; });
    std::printf("{\"streams\": %d, \"chunks_s\": %.0f, \"longest_gap_ms\": %.1f, \"stalled\": %lld}\n",
                streams, static_cast<double>(bytes) / message_size / seconds,
                static_cast<double>(longest) / 1e6, static_cast<long long>(stalls));
}

void leave_orphans(int count)
{
    const std::int64_t begin = now_ns();
    for (int i = 0; i < count; ++i) {
        const pid_t child = ::fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            // Its own child is whose it becomes when this one ends.
            if (::fork() == 0) ::_exit(0);
            ::_exit(0);
        }
        while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    std::printf("{\"orphans\": %d, \"seconds\": %.6f}\n", count, static_cast<double>(now_ns() - begin) / 1e9);
}

}  // namespace keyhole::bench
