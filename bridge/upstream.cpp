#include "bridge/upstream.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace keyhole::bridge {
namespace {

bool connect_to(int fd, std::string_view path) noexcept
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    int result = 0;
    do {
        result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), size);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

std::string own_ids()
{
    return "uid " + std::to_string(::geteuid()) + ", gid " + std::to_string(::getegid());
}

}  // namespace

sys::unique_fd connect_upstream(const std::string& path) noexcept
{
    // A link could lead to any socket of whoever runs the bridge: the path is the socket, or nothing.
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode)) {
        errno = ELOOP;
        return {};
    }
    sys::unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return {};
    if (path.size() < sizeof(sockaddr_un::sun_path)) {
        if (!connect_to(fd.get(), path)) return {};
        return fd;
    }
    const sys::unique_fd target(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!target) return {};
    char through_proc[64];
    const int length = std::snprintf(through_proc, sizeof through_proc, "/proc/self/fd/%d", target.get());
    if (!connect_to(fd.get(), {through_proc, static_cast<std::size_t>(length)})) return {};
    return fd;
}

bool is_worth_waiting(int error) noexcept
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
    case EAGAIN:  // the proxy's accept queue is full
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
        return true;
    default:
        return false;
    }
}

const upstream_problem proxy_went_away{
    "proxy_went_away", "the proxy ended before it answered this request",
    "send it again: connections work as soon as the proxy listens again (keyhole serve)"};

std::string barrier::described() const
{
    char text[64];
    std::snprintf(text, sizeof text, " (owner %u:%u, mode %04o)", uid, gid, mode);
    return directory + text;
}

barrier find_barrier(const std::string& path)
{
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    {
        std::string directory = path.substr(0, slash);
        struct stat info{};
        struct stat below{};
        // What is in it cannot be looked at, it itself can.
        if (::stat(directory.c_str(), &info) != 0) break;
        if (::stat((directory + "/.").c_str(), &below) != 0 && errno == EACCES)
            return {std::move(directory), info.st_uid, info.st_gid, info.st_mode & 07777U};
    }
    return {};
}

upstream_problem explain_upstream(const std::string& path, int error)
{
    struct stat info{};
    const bool present = ::stat(path.c_str(), &info) == 0;
    if (error == EAGAIN)
        return {"proxy_overloaded", "the proxy at " + path + " does not accept connections fast enough",
                "wait a moment and try again; if it persists, look at the proxy's log"};
    if (error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS)
        return {"bridge_exhausted",
                std::string("the bridge cannot open another connection: ") + std::strerror(error),
                "close idle connections or raise the container's open-files and memory limits"};
    if (error == ELOOP)
        return {"proxy_socket_invalid", path + " is a symbolic link, which is not followed",
                "mount the directory that holds the proxy's socket itself, or name the socket with "
                "LLM_PROXY_SOCKET"};
    if (present && !S_ISSOCK(info.st_mode))
        return {"proxy_socket_invalid", path + " is not a socket",
                "mount the directory that holds the proxy's socket at /llm-sock, or set LLM_PROXY_SOCKET"};
    if (const barrier closed = error == EACCES ? find_barrier(path) : barrier{}; !closed.directory.empty())
        return {
            "proxy_socket_forbidden", "no permission to look into " + closed.described() + " as " + own_ids(),
            closed.opens_for_group()
                ? "start the container with --group-add " + std::to_string(closed.gid)
                : "let everybody search that directory (chmod o+x): it is mounted for this sandbox alone"};
    if (error == EACCES || error == EPERM) {
        char mode[80];
        std::snprintf(mode, sizeof mode, " (owner %u:%u, mode %04o)", info.st_uid, info.st_gid,
                      info.st_mode & 07777U);
        return {"proxy_socket_forbidden",
                "no permission to connect to " + path + (present ? mode : "") + " as " + own_ids(),
                "let the proxy create its socket with a mode that admits the bridge (for example 0666 in a "
                "private directory), or start the container with " +
                    (present && (info.st_mode & S_IWGRP) != 0 && info.st_gid != 0
                         ? "--group-add " + std::to_string(info.st_gid)
                         : std::string("a user or --group-add that it admits"))};
    }
    if (error == ECONNREFUSED)
        return {"proxy_not_listening", "nobody answers at " + path,
                "start the proxy again on the host (keyhole serve); connections work as soon as it listens"};
    if (error == ENOENT)
        return {"proxy_socket_absent", "there is no socket at " + path,
                "start the proxy and mount its socket directory at /llm-sock; a tmpfs mounted over it hides "
                "it (check the order of the "
                "mounts)"};
    return {"proxy_unreachable", "cannot connect to " + path + ": " + std::strerror(error),
            "start the proxy and mount its socket directory at /llm-sock"};
}

}  // namespace keyhole::bridge
