#include "proxy/listener.hpp"

#include "proxy/worker.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr int backlog = 4096;
constexpr std::size_t longest_path = 107;  // sun_path holds 108 bytes with its end

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& remedy)
{
    throw std::runtime_error(where + ": " + what + " (" + remedy + ")");
}

std::string error_text()
{
    return std::strerror(errno);
}

sockaddr_un address_of(const std::string& path)
{
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    std::memcpy(out.sun_path, path.c_str(), path.size() + 1);
    return out;
}

bool somebody_answers(const std::string& path)
{
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return false;
    const auto at = address_of(path);
    const bool connected = ::connect(probe, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0;
    ::close(probe);
    return connected;
}

void give_to_group(const std::string& path, const std::string& group)
{
    const ::group* entry = ::getgrnam(group.c_str());
    if (entry == nullptr)
        refuse(path, "the group \"" + group + "\" does not exist", "create it, or set agents.socket_group");
    if (::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0)
        refuse(path, "cannot give the socket to the group \"" + group + "\": " + error_text(),
               "run as root or as a member of it");
}

}  // namespace

int listen_unix(const std::string& path, const socket_rights& rights)
{
    if (path.size() > longest_path)
        refuse(path,
               "the path has " + std::to_string(path.size()) + " bytes, a unix socket's may have " +
                   std::to_string(longest_path),
               "choose a shorter directory");
    struct stat there{};
    if (::lstat(path.c_str(), &there) == 0) {
        if (!S_ISSOCK(there.st_mode))
            refuse(path, S_ISDIR(there.st_mode) ? "is a directory" : "exists and is not a socket",
                   "remove it, or choose another path");
        if (somebody_answers(path))
            refuse(path, "another process listens there", "stop it first, or choose another path");
    }
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) refuse(path, "cannot make a socket: " + error_text(), "raise the limit of open files");
    // Made under another name with its final rights, then renamed: nobody meets it half done, and a stale one
    // is replaced in one step.
    std::string made = path.substr(0, path.rfind('/') + 1) + ".kh" + std::to_string(::getpid());
    if (made.size() > longest_path) made = path;
    ::unlink(made.c_str());
    const auto at = address_of(made);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) {
        const auto why = error_text();
        ::close(fd);
        refuse(path, "cannot bind: " + why, "the directory must exist and be writable by this user");
    }
    try {
        if (!rights.group.empty()) give_to_group(made, rights.group);
        if (::chmod(made.c_str(), rights.mode) != 0)
            refuse(path, "cannot set its mode: " + error_text(), "check the file system");
        if (::listen(fd, backlog) != 0)
            refuse(path, "cannot listen: " + error_text(), "check the system's limits");
        if (made != path && ::rename(made.c_str(), path.c_str()) != 0)
            refuse(path, "cannot put it in place: " + error_text(), "check the directory");
    } catch (...) {
        ::unlink(made.c_str());
        ::close(fd);
        throw;
    }
    return fd;
}

int listen_tcp(const config::tcp_address& at)
{
    const std::string where = at.host + ':' + std::to_string(at.port);
    sockaddr_storage storage{};
    socklen_t length = 0;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (::inet_pton(AF_INET, at.host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(at.port);
        length = sizeof(sockaddr_in);
    } else if (::inet_pton(AF_INET6, at.host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(at.port);
        length = sizeof(sockaddr_in6);
    } else
        refuse(where, "is not a numeric address", "write e.g. 127.0.0.1:8080");
    const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) refuse(where, "cannot make a socket: " + error_text(), "check the system's limits");
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (storage.ss_family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) != 0 || ::listen(fd, backlog) != 0) {
        const auto why = error_text();
        ::close(fd);
        refuse(where, "cannot listen: " + why, "another process may use the port; choose another");
    }
    return fd;
}

struct listener::state {
    acceptor_type acceptor;
    timer pause;
    pick_worker pick;
    session_ptr bound;
    bool tcp = false;
};

listener::listener(asio::io_context& control, int descriptor, bool tcp, std::string path, session_ptr bound)
    : state_(std::make_shared<state>(
          state{acceptor_type(control.get_executor()), timer(control.get_executor()), {}, bound, tcp}))
    , path_(std::move(path))
    , bound_(std::move(bound))
{
    const asio::generic::stream_protocol protocol(tcp ? AF_INET : AF_UNIX, 0);
    state_->acceptor.assign(protocol, descriptor);
    struct stat at{};
    if (!path_.empty() && ::stat(path_.c_str(), &at) == 0) inode_ = at.st_ino;
}

listener::~listener()
{
    close();
}

void listener::close() noexcept
{
    error_code ignored;
    if (!state_->acceptor.is_open()) return;
    state_->acceptor.close(ignored);
    state_->pause.cancel();
    struct stat at{};
    if (!path_.empty() && ::stat(path_.c_str(), &at) == 0 && at.st_ino == inode_) ::unlink(path_.c_str());
}

void listener::start(pick_worker pick)
{
    state_->pick = std::move(pick);
    asio::co_spawn(state_->acceptor.get_executor(), accept_loop(state_), asio::detached);
}

task<> listener::accept_loop(std::shared_ptr<state> s)
{
    while (s->acceptor.is_open()) {
        worker* to = s->pick();
        agent_socket socket(to->io().get_executor());
        auto [ec] = co_await s->acceptor.async_accept(socket, as_result);
        if (!s->acceptor.is_open()) break;
        if (ec) {
            // Out of descriptors or memory: waiting helps, spinning does not. Anything else concerned that
            // one connection.
            const bool exhausted = ec == boost::system::errc::too_many_files_open ||
                                   ec == boost::system::errc::too_many_files_open_in_system ||
                                   ec == boost::system::errc::no_buffer_space ||
                                   ec == boost::system::errc::not_enough_memory;
            if (exhausted) {
                s->pause.expires_after(std::chrono::milliseconds(100));
                auto [waited] = co_await s->pause.async_wait(as_result);
                if (waited) break;
            }
            continue;
        }
        auto& shared = to->shared();
        if (shared.agent_connections.load(std::memory_order_relaxed) >= to->connection_limit())
            continue;  // closes it
        if (s->tcp) {
            const int on = 1;
            ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        }
        to->adopt(std::move(socket), s->bound, s->tcp);
    }
}

}  // namespace keyhole::proxy
