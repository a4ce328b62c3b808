#include "sandbox-runtime/name.hpp"

#include "bridge/system.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

// A file of the container's own layer or of a tmpfs: never the host's.
bool is_ours(int fd) noexcept
{
    struct stat file{};
    struct stat root{};
    struct statfs system{};
    if (::fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || ::stat("/", &root) != 0 ||
        ::fstatfs(fd, &system) != 0)
        return false;
    return file.st_dev == root.st_dev || system.f_type == TMPFS_MAGIC;
}

// 0, or why it could not be done. An empty line only asks.
int add_to_passwd(const std::string& line, bool after_newline) noexcept
{
    const sys::unique_fd fd(::open("/etc/passwd", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return errno;
    if (!is_ours(fd.get())) return EXDEV;
    if (line.empty()) return 0;
    const std::string text = (after_newline ? "" : "\n") + line;
    return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : EIO;
}

// Where glibc's module for extra users looks; in our images a link to a place on a tmpfs.
constexpr const char* extra_users = "/var/lib/extrausers";

/// Empty: no link.
std::string target_of(const char* link)
{
    std::array<char, 256> target{};
    const ssize_t n = ::readlink(link, target.data(), target.size() - 1);
    return {target.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
}

// True once the file of extra users has the line. Only where the image says by a link that the place is ours:
// users of somebody else's are left alone. The directory is made here or was made by this user: in a /tmp
// that others share, nobody else's is written into and no link is followed.
bool add_to_extra_users(const std::string& line)
{
    struct stat info{};
    const std::string where = target_of(extra_users);
    if (where.empty()) return false;
    ::mkdir(where.c_str(), 0755);
    const sys::unique_fd directory(::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory || ::fstat(directory.get(), &info) != 0 || info.st_uid != ::geteuid() ||
        (info.st_mode & 022) != 0)
        return false;
    ::fchmod(directory.get(), 0755);                         // whatever the umask
    if (read_passwd(extra_users_file) == line) return true;  // from this container's last start
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const sys::unique_fd file(::openat(directory.get(), "passwd", flags, 0644));
    return file && ::fchmod(file.get(), 0644) == 0 &&
           ::write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

bool is_closed_directory(const std::string& path) noexcept
{
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() &&
           (info.st_mode & 022) == 0;
}

}  // namespace

void occupy_extra_users()
{
    const std::string where = target_of(extra_users);
    if (where.empty() || is_closed_directory(where)) return;
    // What an agent left there in the container's earlier life is put aside, never entered.
    const std::string aside = where + ".not-roots-" + std::to_string(sys::now_ms());
    const bool is_free = ::rename(where.c_str(), aside.c_str()) == 0 || errno == ENOENT;
    if (is_free && ::mkdir(where.c_str(), 0755) == 0 && ::chmod(where.c_str(), 0755) == 0) return;
    if (errno == EROFS || errno == ENOENT) return;  // nor can anybody else
    sys::say(
        {where, " cannot be made root's (", reason_of(errno),
         "): the agent may say there which users there are. Mount /tmp as a tmpfs of root's, and start with "
         "--security-opt no-new-privileges"});
}

std::string reason_of(int error)
{
    return error == EROFS ? "the file system is read-only" : std::strerror(error);
}

std::string passwd_line(const account& who)
{
    for (const std::string* part : {&who.name, &who.home, &who.shell})
        for (const char c : *part)
            if (c == ':' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return {};
    if (who.name.empty()) return {};
    return who.name + ":x:" + std::to_string(who.uid) + ":" + std::to_string(who.gid) + "::" + who.home +
           ":" + (who.shell.empty() ? "/bin/sh" : who.shell) + "\n";
}

void settle_name(settings& s, std::string_view passwd)
{
    if (find_by_uid(passwd, s.agent.uid)) return;
    const std::string id = std::to_string(s.agent.uid);
    if (s.agent.name.empty() || find_by_name(passwd, s.agent.name))
        s.agent.name = find_by_name(passwd, "agent") ? "agent-" + id : "agent";
    const std::string line = passwd_line(s.agent);
    if (line.empty()) return;
    const int error = add_to_passwd(s.adopt ? line : std::string(), passwd.empty() || passwd.back() == '\n');
    if (s.adopt && error == 0) return;
    if (add_to_extra_users(line)) return;
    const std::string why = error == 0       ? "KEYHOLE_ADOPT=1 gives it one"
                            : error == EXDEV ? "and it gets none: the file is mounted from elsewhere"
                                             : "and it gets none: " + reason_of(error);
    sys::say(
        {"uid ", id, " has no line in /etc/passwd (", why, "). USER is ", s.agent.name,
         ", which most programs take; for those that do not (ssh, whoami) mount a passwd file with the line ",
         std::string_view(line).substr(0, line.size() - 1)});
}

}  // namespace keyhole::runtime
