#include "sandbox-runtime/privileges.hpp"

#include "bridge/system.hpp"

#include <algorithm>
#include <cerrno>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

struct capability_sets {
    __user_cap_data_struct half[2] = {};
};

bool get_capabilities(capability_sets& out) noexcept
{
    __user_cap_header_struct head{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    return ::syscall(SYS_capget, &head, out.half) == 0;
}

bool set_capabilities(const capability_sets& in) noexcept
{
    __user_cap_header_struct head{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    return ::syscall(SYS_capset, &head, in.half) == 0;
}

// While CAP_SETPCAP is there, if it is there: nothing executed later can find these again. EPERM under
// --cap-drop ALL, where there is nothing to drop; EINVAL past the kernel's last capability.
void empty_bounding_set() noexcept
{
    for (unsigned long capability = 0; capability < 64; ++capability)
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) break;
    ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0);
}

bool groups_are(const std::vector<std::uint32_t>& wanted) noexcept
{
    gid_t have[64];
    const int n = ::getgroups(64, have);
    if (n < 0 || static_cast<std::size_t>(n) != wanted.size()) return false;
    return std::all_of(have, have + n,
                       [&](gid_t g) { return std::find(wanted.begin(), wanted.end(), g) != wanted.end(); });
}

}  // namespace

const char* drop_to(const identity& who) noexcept
{
    empty_bounding_set();
    if (who.change) {
        // Groups first: without the user id there is no permission left for it.
        if (::setgroups(who.groups.size(), who.groups.data()) != 0) return "setgroups";
        if (::setresgid(who.gid, who.gid, who.gid) != 0) return "setresgid";
        if (::setresuid(who.uid, who.uid, who.uid) != 0) return "setresuid";
    }
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (!set_capabilities({})) return "capset";
    if (!sys::forbid_new_privileges()) return "no_new_privs";
    return nullptr;
}

const char* verify_dropped(const identity& who) noexcept
{
    errno = EPERM;
    uid_t uid[3];
    gid_t gid[3];
    if (::getresuid(&uid[0], &uid[1], &uid[2]) != 0 || ::getresgid(&gid[0], &gid[1], &gid[2]) != 0)
        return "reading the ids back";
    for (int i = 0; i < 3; ++i)
        if (uid[i] != who.uid || gid[i] != who.gid) return "the ids";
    if (who.change && !groups_are(who.groups)) return "the supplementary groups";
    if (who.uid != 0 && ::setresuid(0, 0, 0) == 0) return "giving up uid 0";
    if (who.uid != 0 && who.gid != 0 && ::setresgid(0, 0, 0) == 0) return "giving up gid 0";
    capability_sets left;
    if (!get_capabilities(left)) return "reading the capabilities back";
    for (const auto& half : left.half)
        if (half.effective != 0 || half.permitted != 0 || half.inheritable != 0) return "the capabilities";
    for (unsigned long capability = 0; capability < 64; ++capability)
        if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1)
            return "the ambient capabilities";
    if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return "no_new_privs";
    errno = 0;
    return nullptr;
}

void keep_only_supervising_capabilities() noexcept
{
    empty_bounding_set();
    capability_sets sets;
    if (!get_capabilities(sets)) return;
    constexpr std::uint32_t kept = (1U << CAP_KILL) | (1U << CAP_SETUID) | (1U << CAP_SETGID);
    sets.half[0].effective &= kept;
    sets.half[0].permitted &= kept;
    sets.half[0].inheritable = 0;
    sets.half[1] = {};
    set_capabilities(sets);
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    sys::forbid_new_privileges();
}

namespace {

bool has(unsigned capability) noexcept
{
    capability_sets sets;
    return get_capabilities(sets) && (sets.half[0].effective & (1U << capability)) != 0;
}

}  // namespace

std::string missing_to_change_user()
{
    std::string missing;
    if (!has(CAP_SETUID)) missing = "SETUID";
    if (!has(CAP_SETGID)) missing += missing.empty() ? "SETGID" : " SETGID";
    return missing;
}

bool has_kill_capability() noexcept
{
    return has(CAP_KILL);
}

}  // namespace keyhole::runtime
