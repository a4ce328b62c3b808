#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/doctor/mounts.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> list) noexcept
{
    return std::find(list.begin(), list.end(), text) != list.end();
}

bool ends_with_one_of(std::string_view text, std::initializer_list<std::string_view> list) noexcept
{
    return std::any_of(list.begin(), list.end(),
                       [text](std::string_view each) { return text.ends_with(each); });
}

std::string_view first_name_of(std::string_view path) noexcept
{
    path.remove_prefix(std::min<std::size_t>(path.size(), 1));
    return path.substr(0, path.find('/'));
}

// A volume of the engine's, made for containers.
bool is_volume(std::string_view root) noexcept
{
    return root.ends_with("/_data") && root.find("/volumes/") != std::string_view::npos;
}

// /home/NAME, /Users/NAME or /root itself, or what programs keep there for that person: /root/.config/gh.
// Caches, and where rootless engines keep what they mount, say nothing.
bool is_home(std::string_view root) noexcept
{
    std::string_view rest;
    if (root == "/root" || root.starts_with("/root/"))
        rest = root.substr(5);
    else if (const std::string_view top = first_name_of(root); top == "home" || top == "Users") {
        rest = root.substr(top.size() + 1);
        const std::size_t end = rest.find('/', 1);
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end);
    } else
        return false;
    const std::string_view name = first_name_of(rest);
    return name.empty() || (name.front() == '.' && name != ".local" && name != ".cache");
}

// Where engines and services of the host keep what they run on.
bool is_runtimes(const mount& m) noexcept
{
    std::string_view root = m.root;
    bool is_run = m.type == "tmpfs" && root != "/";
    for (const std::string_view prefix : {std::string_view("/var/run/"), std::string_view("/run/")})
        if (root.starts_with(prefix)) {
            root.remove_prefix(prefix.size() - 1);
            is_run = true;
        }
    return is_run && is_one_of(first_name_of(root),
                               {"docker", "containerd", "podman", "crio", "libpod", "buildkit", "systemd",
                                "dbus", "udev", "user", "libvirt", "netns", "credentials"});
}

// What somebody's home has, whatever it is called.
std::string home_sign_in(const mount& m)
{
    for (const char* sign : {"/.ssh", "/.gnupg", "/.aws/credentials", "/.kube/config", "/.docker/config.json",
                             "/.netrc", "/.git-credentials", "/.config/gcloud", "/.bash_history"})
        if (::access((m.where + sign).c_str(), F_OK) == 0) return sign + 1;
    return {};
}

bool is_kernels(const mount& m) noexcept
{
    return is_one_of(m.type,
                     {"proc", "sysfs", "devtmpfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs"});
}

// A file system of the container's own.
bool is_own(const mount& m) noexcept
{
    return m.root == "/" &&
           is_one_of(m.type, {"tmpfs", "ramfs", "devpts", "mqueue", "overlay", "fuse.lxcfs"});
}

// A directory of the host that holds more than a workspace.
bool is_hosts(const mount& m) noexcept
{
    if (m.where == "/" || m.where.starts_with("/proc") || m.where.starts_with("/sys") ||
        m.where.starts_with("/dev"))
        return m.type == "devtmpfs";
    if (is_kernels(m)) return true;
    if (is_own(m) || is_volume(m.root)) return false;
    return is_one_of(m.root, {"/",
                              "/etc",
                              "/home",
                              "/Users",
                              "/var",
                              "/var/lib",
                              "/var/log",
                              "/var/backups",
                              "/var/mail",
                              "/var/spool",
                              "/var/run",
                              "/run",
                              "/usr",
                              "/boot",
                              "/opt",
                              "/srv",
                              "/etc/shadow",
                              "/etc/ssh",
                              "/etc/docker",
                              "/etc/kubernetes",
                              "/etc/keyhole",
                              "/volumes"}) ||
           ends_with_one_of(m.root, {"/.ssh", "/.aws", "/.azure", "/.gnupg", "/.kube", "/.docker",
                                     "/.config/gcloud", "/.netrc", "/.git-credentials", "/lib/docker",
                                     "/docker/volumes", "/docker/containers", "/docker/overlay2",
                                     "/lib/containerd", "/lib/containers", "/containers/storage",
                                     "/storage/volumes", "/lib/kubelet", "/lib/kubelet/pods"}) ||
           is_home(m.root) || is_runtimes(m);
}

bool is_real_directory(const std::string& path) noexcept
{
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

void look_at_mounts(report& r)
{
    std::vector<std::string> hosts;
    std::vector<std::string> writable;
    for (const mount& m : mounts()) {
        if (is_hosts(m))
            hosts.push_back(m.where + " (" + m.type + " " + m.root + ")");
        else if (m.where != "/" && !is_own(m) && !is_volume(m.root))
            if (const std::string sign = home_sign_in(m); !sign.empty())
                hosts.push_back(m.where + " (somebody's home: it has " + sign + ")");
        if (m.where != "/" && !m.where.starts_with("/proc") && !m.where.starts_with("/dev") &&
            is_real_directory(m.where) && ::access(m.where.c_str(), W_OK) == 0)
            writable.push_back(m.where);
    }
    r.expect(hosts.empty(), "host directories", "none but what a sandbox is given",
             "the host's own are mounted: " + join(hosts),
             "mount a workspace, not the host's system or home directories");
    r.note("writable mounts", join(writable));
}

}  // namespace keyhole::runtime::doctor
