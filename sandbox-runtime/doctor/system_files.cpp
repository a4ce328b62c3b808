// What programs come from, and what programs gain: every file of the system's directories that the agent may
// write, and every program of the image that gives its caller another's rights.
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/doctor/mounts.hpp"
#include "sandbox-runtime/doctor/walk.hpp"

#include <climits>

#include <algorithm>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

constexpr std::string_view system_places[] = {"/bin",    "/boot", "/etc",  "/lib",  "/lib32", "/lib64",
                                              "/libx32", "/opt",  "/root", "/sbin", "/usr"};
constexpr std::size_t most_findings = 1000;

bool is_below(std::string_view path, std::string_view place) noexcept
{
    return path.starts_with(place) && (path.size() == place.size() || path[place.size()] == '/');
}

bool is_systems(std::string_view path) noexcept
{
    return std::any_of(std::begin(system_places), std::end(system_places),
                       [path](std::string_view place) { return is_below(path, place); });
}

// Many images have their workspace there.
bool may_hold_a_workspace(std::string_view path) noexcept
{
    return path.starts_with("/opt/") || path.starts_with("/usr/src/") || path.starts_with("/root/");
}

std::string own_directory()
{
    char here[PATH_MAX];
    return ::getcwd(here, sizeof here) != nullptr && may_hold_a_workspace(here) ? here : std::string();
}

bool is_read_only(const std::string& path) noexcept
{
    struct statvfs system{};
    return ::statvfs(path.c_str(), &system) == 0 && (system.f_flag & ST_RDONLY) != 0;
}

// By its mode, or by whoever may change that.
bool is_writable(int directory, const char* name, const struct stat& info) noexcept
{
    return ::faccessat(directory, name, W_OK, 0) == 0 || (::geteuid() != 0 && info.st_uid == ::geteuid());
}

// What a link of the system's leads to may lie where the agent writes. Directories for everybody (/tmp) are
// no part of the system whoever links to them.
bool leads_to_writable(int directory, const char* name) noexcept
{
    struct stat info{};
    if (::fstatat(directory, name, &info, 0) != 0) return false;
    const bool is_file = S_ISREG(info.st_mode);
    const bool is_directory = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) == 0;
    return (is_file || is_directory) && ::faccessat(directory, name, W_OK, 0) == 0;
}

// The kernel looks at its caller's rights no more: set-user-id, set-group-id, capabilities of a file.
bool gives_rights(const met& each, const struct stat& info)
{
    if (!S_ISREG(info.st_mode) || (info.st_mode & 0111) == 0) return false;
    const bool user = (info.st_mode & S_ISUID) != 0 && info.st_uid != ::geteuid();
    const bool group = (info.st_mode & S_ISGID) != 0 && (info.st_mode & S_IXGRP) != 0;
    return user || group || ::lgetxattr(each.path().c_str(), "security.capability", nullptr, 0) > 0;
}

struct findings {
    std::vector<std::string> writable;
    std::vector<std::string> raising;  ///< programs that give rights
    walk_result searched;

    void add(std::vector<std::string>& list, std::string path) const
    {
        if (list.size() < most_findings && std::find(list.begin(), list.end(), path) == list.end())
            list.push_back(std::move(path));
    }
};

class search {
public:
    search() : own_(own_directory())
    {
        std::vector<std::string> tops;
        std::vector<std::string> borders;
        // A link (/bin) leads to another of them, or is looked at as one.
        for (const std::string_view each : system_places) {
            const std::string path(each);
            struct stat info{};
            if (::lstat(path.c_str(), &info) != 0) continue;
            if (S_ISDIR(info.st_mode))
                tops.push_back(path);
            else if (leads_to_writable(AT_FDCWD, path.c_str()))
                found_.add(found_.writable, path);
            look_at_place(path);
        }
        for (const mount& m : mounts()) {
            borders.push_back(m.where);
            if (!is_systems(m.where) || is_agents(m.where)) continue;
            if (std::find(tops.begin(), tops.end(), m.where) == tops.end()) tops.push_back(m.where);
            look_at_place(m.where);
        }
        for (const char* place : {"/", "/var", "/var/lib"})
            look_at_place(place);
        found_.searched = walk(tops, borders, [this](const met& each) { look(each); });
    }
    const findings& found() const noexcept { return found_; }

private:
    bool is_agents(std::string_view path) const noexcept { return !own_.empty() && is_below(path, own_); }

    void look_at_place(const std::string& path)
    {
        struct stat info{};
        if (::lstat(path.c_str(), &info) == 0 && !is_read_only(path) &&
            is_writable(AT_FDCWD, path.c_str(), info))
            found_.add(found_.writable, path);
    }

    // Directories come one after another; what holds for one is asked once.
    void enter(const met& each)
    {
        if (each.directory == directory_) return;
        directory_ = each.directory;
        is_agents_ = is_agents(directory_);
        can_change_ = !is_agents_ && !is_read_only(directory_);
    }

    void look(const met& each)
    {
        enter(each);
        if (each.type == DT_LNK) {
            if (!is_agents_ && leads_to_writable(each.fd, each.name))
                found_.add(found_.writable, each.path());
            return;
        }
        if (each.type != DT_REG && each.type != DT_DIR) return;
        struct stat info{};
        if ((!can_change_ && each.type == DT_DIR) ||
            ::fstatat(each.fd, each.name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            return;
        if (can_change_ && is_writable(each.fd, each.name, info) && !is_agents(each.path()))
            found_.add(found_.writable, each.path());
        if (gives_rights(each, info)) found_.add(found_.raising, each.path());
    }

    std::string own_;
    findings found_;
    std::string directory_;
    bool is_agents_ = false;
    bool can_change_ = true;
};

std::string unseen(const walk_result& searched)
{
    return "not seen to the end: " + join(searched.unfinished) + " (" + searched.why + ")";
}

void look_at_raising_programs(report& r, const place& here, const findings& found)
{
    constexpr const char* guarantee = "set-user-id programs";
    constexpr const char* remedy =
        "start with --security-opt no-new-privileges, and in the image: find / -xdev -perm /6000 -type f "
        "-exec chmod a-s {} +";
    if (here.exec_gains_nothing == certainty::yes)
        r.ok(guarantee, "without effect, for docker exec, too: the container has no-new-privileges");
    else if (!found.raising.empty() && here.exec_gains_nothing == certainty::no)
        r.broken(guarantee,
                 "they give whoever enters with docker exec another's rights: " + join(found.raising),
                 remedy);
    else if (!found.raising.empty())
        r.note(guarantee,
               join(found.raising) +
                   "; without effect for the agent. Whether docker exec gets new privileges is seen "
                   "by a doctor that is the container's command");
    else
        r.expect(found.searched.unfinished.empty(), guarantee, "none", unseen(found.searched), remedy);
}

}  // namespace

void look_at_system_files(report& r, const place& here)
{
    const search everywhere;
    const findings& found = everywhere.found();
    const walk_result& searched = found.searched;
    r.expect(found.writable.empty() && searched.unfinished.empty(), "system files",
             "cannot be written (" + std::to_string(searched.names) + " names looked at)",
             found.writable.empty() ? unseen(searched) : "the agent can write " + join(found.writable),
             "start with --read-only, as a user who is not root, and mount nothing writable there");
    look_at_raising_programs(r, here, found);
    r.note("root file system",
           is_read_only("/") ? "read-only" : "can be written where files allow it; --read-only closes it");
}

}  // namespace keyhole::runtime::doctor
