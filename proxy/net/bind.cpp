#include "proxy/net/bind.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <grp.h>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr int backlog = 4096;  // the kernel lowers it to its own bound
constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 1;

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& remedy)
{
    throw std::runtime_error(where + ": " + what + " (" + remedy + ")");
}

std::string error_text(int code)
{
    return std::strerror(code);
}

/// Closes unless released.
class descriptor {
public:
    explicit descriptor(int fd) noexcept : fd_(fd) {}
    ~descriptor()
    {
        if (fd_ >= 0) ::close(fd_);
    }
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_;
};

sockaddr_un address_of(const std::string& path) noexcept
{
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    std::memcpy(out.sun_path, path.c_str(), path.size() + 1);
    return out;
}

std::string setting(const socket_rights& rights, std::string_view key)
{
    return std::string(rights.setting) + '.' + std::string(key);
}

/// Our own directory is 0700 from the start; one that exists keeps the mode its owner gave it.
void make_directory(const std::string& path, const socket_rights& rights)
{
    const std::filesystem::path directory = std::filesystem::path(path).parent_path();
    if (directory.empty()) return;
    std::error_code ec;
    if (directory.has_parent_path()) std::filesystem::create_directories(directory.parent_path(), ec);
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
        refuse(path, "cannot make its directory: " + error_text(errno),
               "make it for this user, or set " + setting(rights, "socket") + " to another place");
}

/// A file that is left from a process that is gone may be replaced; anything else may not.
void check_replaceable(const std::string& path, const socket_rights& rights)
{
    struct stat there{};
    if (::lstat(path.c_str(), &there) != 0) return;
    const std::string elsewhere = "set " + setting(rights, "socket") + " to another path";
    if (!S_ISSOCK(there.st_mode))
        refuse(path, S_ISDIR(there.st_mode) ? "is a directory" : "exists and is not a socket",
               "move it away, or " + elsewhere);
    const descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un at = address_of(path);
    // EAGAIN: somebody listens, and its backlog is full.
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 || errno == EAGAIN)
        refuse(path, "another process listens there", "stop it first, or " + elsewhere);
    if (errno != ECONNREFUSED && errno != ENOENT)
        refuse(path, "exists, and whether it is in use cannot be found out: " + error_text(errno),
               "remove it if no keyhole uses it");
}

void give_to_group(const std::string& made, const std::string& path, const socket_rights& rights)
{
    const ::group* entry = ::getgrnam(rights.group.c_str());
    const auto named = setting(rights, "socket_group");
    if (entry == nullptr)
        refuse(path, "the group \"" + rights.group + "\" does not exist", "create it, or set " + named);
    if (::chown(made.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0)
        refuse(path, "cannot give the socket to the group \"" + rights.group + "\": " + error_text(errno),
               "run as root or as a member of it, or set " + named);
}

}  // namespace

bound_socket bind_unix(const std::string& path, const socket_rights& rights)
{
    if (path.empty()) refuse(setting(rights, "socket"), "is empty", "set it to a path");
    if (path.size() > longest_path)
        refuse(path,
               "the path has " + std::to_string(path.size()) + " bytes, a unix socket's may have " +
                   std::to_string(longest_path),
               "set " + setting(rights, "socket") + " to a shorter one");
    if (rights.make_directory) make_directory(path, rights);
    check_replaceable(path, rights);

    descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0)
        refuse(path, "cannot make a socket: " + error_text(errno), "raise the limit of open files");
    // Linux gives the socket's mode to the file that bind() makes, so there is no moment at which it is
    // wider.
    ::fchmod(fd.get(), 0600);
    // Under another name first: nobody meets it before it listens, and a stale one is replaced in one step.
    std::string made = path.substr(0, path.rfind('/') + 1) + ".kh" + std::to_string(::getpid());
    if (made.size() > longest_path) made = path;
    ::unlink(made.c_str());
    const sockaddr_un at = address_of(made);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
        refuse(path, "cannot bind: " + error_text(errno),
               "its directory must exist and be writable by this user");
    const auto fail = [&](const char* what) {
        refuse(path, std::string(what) + ": " + error_text(errno), "check its directory and file system");
    };
    try {
        if (!rights.group.empty()) give_to_group(made, path, rights);
        if (::chmod(made.c_str(), rights.mode) != 0) fail("cannot set its mode");
        if (::listen(fd.get(), backlog) != 0) fail("cannot listen");
        if (made != path && ::rename(made.c_str(), path.c_str()) != 0) fail("cannot put it in place");
    } catch (...) {
        ::unlink(made.c_str());
        throw;
    }
    struct stat there{};
    if (::lstat(path.c_str(), &there) != 0) there.st_ino = 0;
    return {fd.release(), there.st_ino};
}

void remove_socket(const std::string& path, ino_t inode) noexcept
{
    struct stat there{};
    if (!path.empty() && ::lstat(path.c_str(), &there) == 0 && there.st_ino == inode) ::unlink(path.c_str());
}

int bind_tcp(const config::tcp_address& at)
{
    const std::string where = (at.host.find(':') == std::string::npos ? at.host : '[' + at.host + ']') + ':' +
                              std::to_string(at.port);
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
        refuse(where, "is not a numeric address", "write it like 127.0.0.1:9464 or [::1]:9464");
    descriptor fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0)
        refuse(where, "cannot make a socket: " + error_text(errno), "use an address of another family");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (storage.ss_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
        ::listen(fd.get(), backlog) != 0)
        refuse(where, "cannot listen: " + error_text(errno),
               "stop what listens there, or choose another port");
    return fd.release();
}

}  // namespace keyhole::proxy
