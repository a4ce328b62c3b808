#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/doctor/mounts.hpp"
#include "sandbox-runtime/doctor/walk.hpp"
#include "sandbox-runtime/provider_keys.hpp"
#include "sandbox-runtime/secrets.hpp"

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

// A token's file by its name, or because it holds what one looks like.
bool holds_token(const std::string& path)
{
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && can(path, R_OK) &&
           (variable_of(path.substr(path.rfind('/') + 1)) == "SESSION_TOKEN" ||
            holds_session_token(read_file(path)));
}

// Where secrets are mounted: the usual places, the one that was named, and whatever is mounted as a file.
std::vector<std::string> places_of_secrets(const place& here)
{
    std::vector<std::string> places{"/run/secrets", "/var/run/secrets", here.secrets_directory};
    for (const mount& m : mounts())
        if (!m.where.starts_with("/proc/")) places.push_back(m.where);
    return places;
}

void look_at_secrets(report& r, const place& here)
{
    std::vector<std::string> tokens;
    const auto look = [&tokens](const std::string& path) {
        if (holds_token(path) && std::find(tokens.begin(), tokens.end(), path) == tokens.end())
            tokens.push_back(path);
    };
    if (can(here.token_file, R_OK)) tokens.push_back(here.token_file);
    for (const std::string& path : places_of_secrets(here))
        look(path);
    const walk_result searched =
        walk({"/run/secrets", here.secrets_directory}, {}, [&look](const met& each) { look(each.path()); });

    std::vector<std::string> agents;
    for (const std::string& name : names_in(here.secrets_directory)) {
        const std::string path = here.secrets_directory + "/" + name;
        if (can(path, R_OK) && std::find(tokens.begin(), tokens.end(), path) == tokens.end())
            agents.push_back(name);
    }
    r.expect(tokens.empty() && searched.unfinished.empty(), "session token's file", "closed",
             tokens.empty() ? "not seen to the end: " + join(searched.unfinished) + " (" + searched.why + ")"
                            : "the agent can read " + join(tokens),
             "give it owner 0 and mode 0400, or use a socket of the session's own");
    if (!agents.empty())
        r.note("secrets", "the agent's own, in " + here.secrets_directory + ": " + join(agents));
}

}  // namespace

void look_at_files(report& r, const place& here)
{
    look_at_kernel_files(r);
    look_at_programs(r);
    look_at_secrets(r, here);
}

}  // namespace keyhole::runtime::doctor
