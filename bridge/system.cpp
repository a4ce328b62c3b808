#include "bridge/system.hpp"

#include <climits>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

namespace keyhole::sys {
namespace {

std::string_view program_name = "keyhole";

struct line {
    char text[1024];
    std::size_t length = 0;

    void add(std::string_view part) noexcept
    {
        const std::size_t room = sizeof text - 1 - length;
        const std::size_t n = part.size() < room ? part.size() : room;
        std::memcpy(text + length, part.data(), n);
        length += n;
    }
};

line make_line(std::initializer_list<std::string_view> parts) noexcept
{
    line l;
    l.add(program_name);
    l.add(": ");
    for (const std::string_view part : parts)
        l.add(part);
    l.text[l.length++] = '\n';
    return l;
}

}  // namespace

unique_fd& unique_fd::operator=(unique_fd&& other) noexcept
{
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void unique_fd::reset() noexcept
{
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

std::int64_t now_ms() noexcept
{
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
}

std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t max) noexcept
{
    if (text.empty() || text.size() > 20) return std::nullopt;
    for (const char c : text)
        if (c < '0' || c > '9') return std::nullopt;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
    return value;
}

decimal::decimal(std::int64_t value) noexcept
    : length_(static_cast<std::size_t>(std::to_chars(text_, text_ + sizeof text_, value).ptr - text_))
{
}

void set_program_name(std::string_view name) noexcept
{
    program_name = name;
    ::prctl(PR_SET_NAME, std::string(name).c_str(), 0, 0, 0);
}

void say(std::initializer_list<std::string_view> parts) noexcept
{
    pollfd room{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    if (::poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) return;
    const line l = make_line(parts);
    [[maybe_unused]] const auto n = ::write(STDERR_FILENO, l.text, l.length);
}

void complain(std::initializer_list<std::string_view> parts) noexcept
{
    const line l = make_line(parts);
    write_all(STDERR_FILENO, {l.text, l.length});
}

void write_all(int fd, std::string_view text) noexcept
{
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

void become_unreadable() noexcept
{
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

bool forbid_new_privileges() noexcept
{
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

void wipe(void* data, std::size_t size) noexcept
{
    ::explicit_bzero(data, size);
}

void wipe_environment(char** envp) noexcept
{
    for (char** entry = envp; *entry != nullptr; ++entry)
        wipe(*entry, std::strlen(*entry));
    envp[0] = nullptr;
}

void close_between(int first, int last) noexcept
{
    if (first > last) return;
    if (::syscall(SYS_close_range, static_cast<unsigned>(first), static_cast<unsigned>(last), 0U) == 0)
        return;
    // Kernels before 5.9, and seccomp profiles that answer ENOSYS.
    if (DIR* open_ones = ::opendir("/proc/self/fd"); open_ones != nullptr) {
        const int own = ::dirfd(open_ones);
        while (const dirent* entry = ::readdir(open_ones)) {
            const auto number = parse_number(entry->d_name, INT_MAX);
            const int fd = number ? static_cast<int>(*number) : -1;
            if (fd >= first && fd <= last && fd != own) ::close(fd);
        }
        ::closedir(open_ones);
        return;
    }
    constexpr int usual_limit = 65'536;
    for (int fd = first; fd <= last && fd < usual_limit; ++fd)
        ::close(fd);
}

void close_from(int first) noexcept
{
    close_between(first, INT_MAX);
}

void ensure_standard_descriptors() noexcept
{
    for (;;) {
        const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0) return;
        if (fd > STDERR_FILENO) {
            ::close(fd);
            return;
        }
        ::fcntl(fd, F_SETFD, 0);
    }
}

bool write_byte(int fd, char byte) noexcept
{
    ssize_t n = 0;
    do {
        n = ::write(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

}  // namespace keyhole::sys
