#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/doctor/walk.hpp"

#include <algorithm>
#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

struct device {
    std::string_view path;
    unsigned major;
    unsigned minor;
};

// What every engine puts into a container. A name alone says nothing: --device gives any device any name.
constexpr device usual[] = {{"/dev/null", 1, 3},    {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                            {"/dev/random", 1, 8},  {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
                            {"/dev/console", 5, 1}, {"/dev/ptmx", 5, 2},    {"/dev/pts/ptmx", 5, 2}};

bool is_pseudo_terminal(unsigned major) noexcept
{
    return major >= 136 && major <= 143;
}

bool is_usual(const std::string& path, const struct stat& info) noexcept
{
    if (!S_ISCHR(info.st_mode)) return false;
    const unsigned major = gnu_dev_major(info.st_rdev);
    const unsigned minor = gnu_dev_minor(info.st_rdev);
    if (is_pseudo_terminal(major)) return path.starts_with("/dev/pts/") || path == "/dev/console";
    return std::any_of(std::begin(usual), std::end(usual), [&](const device& each) {
        return each.path == path && each.major == major && each.minor == minor;
    });
}

}  // namespace

void look_at_devices(report& r)
{
    std::vector<std::string> open;
    const auto look = [&open](const met& each) {
        if (each.type != DT_CHR && each.type != DT_BLK) return;
        struct stat info{};
        const std::string path = each.path();
        if (::lstat(path.c_str(), &info) != 0 || is_usual(path, info)) return;
        if (::access(path.c_str(), R_OK) == 0 || ::access(path.c_str(), W_OK) == 0)
            open.push_back(path + " (" + (S_ISBLK(info.st_mode) ? "block " : "") +
                           std::to_string(gnu_dev_major(info.st_rdev)) + ":" +
                           std::to_string(gnu_dev_minor(info.st_rdev)) + ")");
    };
    const walk_result searched = walk({"/dev"}, {}, look);
    r.expect(open.empty() && searched.unfinished.empty(), "devices", "the usual ones",
             open.empty() ? "/dev was not seen to the end: " + searched.why
                          : "the agent can open " + join(open),
             "start without --privileged and without --device");
}

}  // namespace keyhole::runtime::doctor
