// Unix sockets are a way out that no network namespace closes: whatever is mounted from outside is searched
// for them.
#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/doctor/mounts.hpp"
#include "sandbox-runtime/doctor/walk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

constexpr std::size_t most_sockets = 64;

bool is_kernels(const mount& m) noexcept
{
    static constexpr std::string_view types[] = {"proc",   "sysfs",   "cgroup",  "cgroup2",    "devpts",
                                                 "mqueue", "debugfs", "tracefs", "securityfs", "bpf"};
    return std::find(std::begin(types), std::end(types), m.type) != std::end(types);
}

// Bound by somebody in this network namespace: no way out of it.
bool is_bound_in_here(const std::vector<std::string>& bound, const std::string& path)
{
    const std::string name = path.substr(path.rfind('/') + 1);
    return std::any_of(bound.begin(), bound.end(), [&](const std::string& line) {
        return line.ends_with(" " + name) || line.ends_with("/" + name);
    });
}

// Somebody listens there who lets this process in.
bool is_answered(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return ::access(path.c_str(), W_OK) == 0;
    std::memcpy(address.sun_path, path.data(), path.size());
    const sys::unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return false;
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
    return errno == EAGAIN || errno == EPROTOTYPE;  // busy, or of datagrams
}

class search {
public:
    explicit search(const place& here) : bound_(split(read_file("/proc/net/unix"), '\n'))
    {
        struct stat info{};
        if (::stat(here.socket.c_str(), &info) == 0) own_ = {info.st_dev, info.st_ino};
        std::vector<std::string> tops;
        std::vector<std::string> borders;
        for (const mount& m : mounts()) {
            borders.push_back(m.where);
            if (m.where == "/" || is_kernels(m)) continue;
            tops.push_back(m.where);
            look(m.where);
        }
        searched_ = walk(tops, borders, [this](const met& each) {
            if (each.type == DT_SOCK) look(each.path());
        });
    }

    const std::vector<std::string>& found() const noexcept { return found_; }
    const walk_result& searched() const noexcept { return searched_; }

private:
    void look(const std::string& path)
    {
        struct stat info{};
        if (::lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return;
        const bool own = info.st_dev == own_.device && info.st_ino == own_.number;
        if (!own && found_.size() < most_sockets && !is_bound_in_here(bound_, path) && is_answered(path))
            found_.push_back(path);
    }

    struct {
        dev_t device = 0;
        ino_t number = 0;
    } own_;
    std::vector<std::string> bound_;
    std::vector<std::string> found_;
    walk_result searched_;
};

std::vector<std::string> known_ones()
{
    std::vector<std::string> open;
    for (const char* name : {"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
                             "/run/podman/podman.sock", "/run/crio/crio.sock", "/var/run/cri-dockerd.sock",
                             "/run/buildkit/buildkitd.sock", "/run/dbus/system_bus_socket",
                             "/run/systemd/private", "/run/keyhole-admin/admin.sock"})
        if (::access(name, W_OK) == 0 &&
            std::find(open.begin(), open.end(), std::string("/var") + name) == open.end())
            open.emplace_back(name);
    return open;
}

}  // namespace

void look_at_sockets(report& r, const place& here)
{
    std::vector<std::string> open = known_ones();
    const search everywhere(here);
    for (const std::string& path : everywhere.found())
        if (std::find(open.begin(), open.end(), path) == open.end()) open.push_back(path);
    r.expect(
        open.empty(), "engine and host sockets", "none in reach",
        "the agent may talk to " + join(open) + ", whose owner is outside",
        "mount no engine's, bus's, admin or other session's socket into a sandbox, alone or in a directory");
    const walk_result& searched = everywhere.searched();
    r.expect(searched.unfinished.empty(), "search for sockets",
             "to the end (" + std::to_string(searched.names) + " names in what is mounted)",
             "not seen to the end: " + join(searched.unfinished) + " (" + searched.why +
                 "), so a socket of the host may be there",
             "mount less: the directories that the agent works on, not whole trees");

    const std::vector<mount> all = mounts();
    const bool as_file =
        std::any_of(all.begin(), all.end(), [&](const mount& m) { return m.where == here.socket; });
    if (::access(here.socket.c_str(), F_OK) == 0)
        r.expect(!as_file, "socket's mount", "its directory, so a proxy that starts again is found again",
                 here.socket +
                     " is mounted as a file: the socket that the proxy makes when it starts again never "
                     "arrives here",
                 "mount its directory at /llm-sock");
}

}  // namespace keyhole::runtime::doctor
