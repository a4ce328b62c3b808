#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/doctor/mounts.hpp"

#include <climits>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

bool can(const std::string& path, int what) noexcept
{
    return ::access(path.c_str(), what) == 0;
}

std::vector<std::string> which_can(std::initializer_list<const char*> paths, int what)
{
    std::vector<std::string> found;
    for (const char* path : paths)
        if (can(path, what)) found.emplace_back(path);
    return found;
}

bool is_real_directory(const std::string& path) noexcept
{
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// What programs come from: whoever writes there decides what the next command does.
void look_at_system_files(report& r)
{
    std::vector<std::string> writable = which_can({"/",
                                                   "/bin",
                                                   "/boot",
                                                   "/etc",
                                                   "/etc/passwd",
                                                   "/etc/group",
                                                   "/etc/ld.so.preload",
                                                   "/etc/profile",
                                                   "/lib",
                                                   "/lib64",
                                                   "/opt",
                                                   "/root",
                                                   "/sbin",
                                                   "/usr",
                                                   "/usr/bin",
                                                   "/usr/lib",
                                                   "/usr/local",
                                                   "/usr/local/bin",
                                                   "/usr/local/lib",
                                                   "/usr/sbin",
                                                   "/var",
                                                   "/var/lib"},
                                                  W_OK);
    r.expect(writable.empty(), "system files", "cannot be written", "the agent can write " + join(writable),
             "start with --read-only, as a user who is not root, and mount nothing writable there");
    struct statvfs root{};
    const bool read_only = ::statvfs("/", &root) == 0 && (root.f_flag & ST_RDONLY) != 0;
    r.note("root file system",
           read_only ? "read-only" : "can be written where files allow it; --read-only closes it");
}

void look_at_kernel_files(report& r)
{
    const std::vector<std::string> writable =
        which_can({"/proc/sys", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
                   "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
                   "/sys/fs/cgroup", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent"},
                  W_OK);
    const std::vector<std::string> readable =
        which_can({"/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port"}, R_OK);
    r.expect(writable.empty() && readable.empty(), "kernel settings", "closed",
             "the agent can change or read " + join(writable.empty() ? readable : writable),
             "start without --privileged and as a user who is not root");
}

void look_at_devices(report& r)
{
    std::vector<std::string> open = which_can({"/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/vhost-net",
                                               "/dev/vhost-vsock", "/dev/vsock", "/dev/loop-control"},
                                              R_OK | W_OK);
    for (const std::string& name : names_in("/dev")) {
        struct stat info{};
        const std::string path = "/dev/" + name;
        if (::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode) && can(path, R_OK))
            open.push_back(path);
    }
    r.expect(open.empty(), "devices", "the usual ones", "the agent can open " + join(open),
             "start without --privileged and without --device");
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> list) noexcept
{
    return std::find(list.begin(), list.end(), text) != list.end();
}

bool ends_with_one_of(std::string_view text, std::initializer_list<std::string_view> list) noexcept
{
    return std::any_of(list.begin(), list.end(),
                       [text](std::string_view each) { return text.ends_with(each); });
}

// A directory of the host that holds more than a workspace.
bool is_hosts(const mount& m) noexcept
{
    if (m.where == "/" || m.where.starts_with("/proc") || m.where.starts_with("/sys") ||
        m.where.starts_with("/dev"))
        return m.type == "devtmpfs";
    if (is_one_of(m.type,
                  {"proc", "sysfs", "devtmpfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs"}))
        return true;
    if (is_one_of(m.type, {"tmpfs", "ramfs", "devpts", "mqueue", "overlay", "fuse.lxcfs"}) && m.root == "/")
        return false;
    return is_one_of(m.root, {"/", "/etc", "/root", "/home", "/var", "/var/lib", "/var/lib/docker",
                              "/var/run", "/run", "/usr", "/boot", "/opt", "/srv"}) ||
           ends_with_one_of(m.root, {"/.ssh", "/.aws", "/.azure", "/.gnupg", "/.kube", "/.docker",
                                     "/.config/gcloud", "/.netrc", "/.git-credentials"});
}

void look_at_mounts(report& r)
{
    std::vector<std::string> hosts;
    std::vector<std::string> writable;
    for (const mount& m : mounts()) {
        if (is_hosts(m)) hosts.push_back(m.where + " (" + m.type + " " + m.root + ")");
        if (m.where != "/" && !m.where.starts_with("/proc") && !m.where.starts_with("/dev") &&
            is_real_directory(m.where) && can(m.where, W_OK))
            writable.push_back(m.where);
    }
    r.expect(hosts.empty(), "host directories", "none but what a sandbox is given",
             "the host's own are mounted: " + join(hosts),
             "mount a workspace, not the host's system or home directories");
    r.note("writable mounts", join(writable));
}

// By its mode, or by whoever may change that.
bool is_changeable(const std::string& path) noexcept
{
    struct stat info{};
    struct statvfs system{};
    if (::stat(path.c_str(), &info) != 0) return false;
    const bool read_only = ::statvfs(path.c_str(), &system) == 0 && (system.f_flag & ST_RDONLY) != 0;
    return !read_only && (info.st_uid == ::geteuid() || can(path, W_OK));
}

void look_at_programs(report& r)
{
    char self[PATH_MAX];
    const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
    if (n <= 0) return;
    const std::string init(self, static_cast<std::size_t>(n));
    const std::string directory = init.substr(0, init.rfind('/') + 1);
    std::vector<std::string> readable;
    std::vector<std::string> changeable;
    if (is_changeable(directory)) changeable.push_back(directory);
    for (const std::string& path : {init, directory + "keyhole-bridge"}) {
        if (can(path, R_OK)) readable.push_back(path);
        if (is_changeable(path)) changeable.push_back(path);
    }
    r.expect(
        readable.empty() && changeable.empty(), "programs",
        "neither to be changed nor to be read, so their processes are closed from the first instruction on",
        changeable.empty() ? "the agent can read " + join(readable)
                           : "the agent can change or owns " + join(changeable),
        "in the image, let root own them and their directory, and chmod 0111 them; start with --read-only "
        "and --cap-drop ALL");
}

void look_at_secrets(report& r)
{
    std::vector<std::string> agents;
    for (const std::string& name : names_in("/run/secrets"))
        if (name != "session_token" && can("/run/secrets/" + name, R_OK)) agents.push_back(name);
    r.expect(!can("/run/secrets/session_token", R_OK), "session token's file", "closed",
             "the agent can read /run/secrets/session_token",
             "give it owner 0 and mode 0400, or use a socket of the session's own");
    if (!agents.empty()) r.note("secrets", "the agent's own, in /run/secrets: " + join(agents));
}

}  // namespace

void look_at_files(report& r, const place&)
{
    look_at_system_files(r);
    look_at_kernel_files(r);
    look_at_devices(r);
    look_at_mounts(r);
    look_at_programs(r);
    look_at_secrets(r);
}

}  // namespace keyhole::runtime::doctor
