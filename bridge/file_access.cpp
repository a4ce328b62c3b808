#include "bridge/file_access.hpp"

#include "bridge/system.hpp"

#include <cstdint>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace keyhole::sys {
namespace {

// The kernel's structure as of its sixth version; older headers lack the later fields, older kernels are
// given fewer.
struct ruleset {
    std::uint64_t files = 0;
    std::uint64_t network = 0;
    std::uint64_t scoped = 0;
};

struct handled {
    ruleset what;
    std::size_t size = 0;
};

// All rights that this version of the kernel knows: the n lowest bits.
handled everything(long version) noexcept
{
    constexpr std::uint64_t first = (1U << 13) - 1;
    constexpr std::uint64_t refer = 1U << 13;
    constexpr std::uint64_t truncate = 1U << 14;
    constexpr std::uint64_t device_control = 1U << 15;
    handled out;
    out.what.files = first | (version >= 2 ? refer : 0) | (version >= 3 ? truncate : 0) |
                     (version >= 5 ? device_control : 0);
    out.size = sizeof out.what.files;
    if (version >= 4) {
        out.what.network = 3;  // bind and connect of TCP
        out.size += sizeof out.what.network;
    }
    if (version >= 6) {
        out.what.scoped = 3;  // abstract unix sockets and signals, of others
        out.size += sizeof out.what.scoped;
    }
    return out;
}

}  // namespace

bool forbid_files() noexcept
{
    const long version =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0UL, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) return false;
    const handled all = everything(version);
    const unique_fd rules(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &all.what, all.size, 0U)));
    if (!rules) return false;
    // Where there is no netlink, the table of connections says whether an agent is still there.
    landlock_path_beneath_attr tables{};
    const unique_fd proc(::open("/proc", O_PATH | O_CLOEXEC));
    tables.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
    tables.parent_fd = proc.get();
    if (proc) ::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &tables, 0U);
    return ::syscall(SYS_landlock_restrict_self, rules.get(), 0U) == 0;
}

}  // namespace keyhole::sys
