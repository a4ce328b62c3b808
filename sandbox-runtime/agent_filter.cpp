#include "sandbox-runtime/agent_filter.hpp"

#include "bridge/call_filter.hpp"

#include <cerrno>
#include <cstdint>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

// Newer than the oldest headers this is built with; the numbers are the same everywhere.
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace keyhole::runtime {
namespace {

using sys::call_filter;
using sys::fails_with;
using sys::own_architecture;

// Programs ask for these and go on without them when they are "not implemented"; "not permitted" would end
// some (libuv and tokio with io_uring, glibc with clone3).
constexpr long not_there[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_clone3};

constexpr long not_allowed[] = {
    SYS_add_key,       SYS_keyctl,          SYS_request_key,
    SYS_bpf,           SYS_perf_event_open, SYS_userfaultfd,
    SYS_mount,         SYS_umount2,         SYS_pivot_root,
    SYS_fsopen,        SYS_fsconfig,        SYS_fsmount,
    SYS_fspick,        SYS_open_tree,       SYS_move_mount,
    SYS_mount_setattr, SYS_setns,           SYS_open_by_handle_at,
    SYS_init_module,   SYS_finit_module,    SYS_delete_module,
    SYS_kexec_load,    SYS_kexec_file_load, SYS_acct,
    SYS_quotactl,      SYS_swapon,          SYS_swapoff,
    SYS_reboot,        SYS_syslog,          SYS_settimeofday,
    SYS_clock_settime, SYS_clock_adjtime,
#if defined(__x86_64__)
    SYS_iopl,          SYS_ioperm,          SYS_modify_ldt,
#endif
};

// linux/ioprio.h, which some compilers cannot read.
constexpr std::uint32_t ioprio_who_user = 3;

// Whose first argument is a process: 0 is the caller, anybody else may be PID 1 or the bridge under the same
// uid.
constexpr long for_oneself[] = {SYS_sched_setaffinity, SYS_sched_setscheduler, SYS_sched_setparam,
                                SYS_sched_setattr,     SYS_migrate_pages,      SYS_move_pages};

// CLONE_NEWTIME shares its bit with the exit signal's byte in clone(): it is one of unshare()'s only.
constexpr std::uint32_t new_namespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

void refuse_other_tables(call_filter& f) noexcept
{
    f.answer_other_tables(fails_with(ENOSYS));
#if defined(__x86_64__)
    constexpr std::uint32_t x32_bit = 0x40000000;
    f.add(BPF_JMP | BPF_JGE | BPF_K, x32_bit, 0, 1);
    f.answer(fails_with(ENOSYS));
#endif
}

void refuse_namespaces(call_filter& f, long call, std::uint32_t flags) noexcept
{
    const std::size_t rule = f.begin(call);
    f.load_argument(0);
    f.add(BPF_JMP | BPF_JSET | BPF_K, flags, 0, 1);
    f.answer(fails_with(EPERM));
    f.answer(SECCOMP_RET_ALLOW);
    f.end(rule);
}

void refuse_terminal_input(call_filter& f) noexcept
{
    const std::size_t rule = f.begin(SYS_ioctl);
    f.load_argument(1);
    f.answer_if_equal(TIOCSTI, fails_with(EPERM));
    f.answer_if_equal(TIOCLINUX, fails_with(EPERM));
    f.answer(SECCOMP_RET_ALLOW);
    f.end(rule);
}

void refuse_others(call_filter& f, long call) noexcept
{
    const std::size_t rule = f.begin(call);
    f.load_argument(0);
    f.answer_if_equal(0, SECCOMP_RET_ALLOW);
    f.answer(fails_with(EPERM));
    f.end(rule);
}

// Limits of others may be read. Set, they take descriptors and processor time from PID 1 and the bridge.
void refuse_limits_of_others(call_filter& f) noexcept
{
    constexpr std::size_t new_limit = 2;
    const std::size_t rule = f.begin(SYS_prlimit64);
    f.load_argument(0);
    f.answer_if_equal(0, SECCOMP_RET_ALLOW);
    f.load_argument(new_limit);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    f.load_upper_half(new_limit);
    f.answer_if_equal(0, SECCOMP_RET_ALLOW);
    f.answer(fails_with(EPERM));
    f.end(rule);
}

// setpriority() and ioprio_set(): what kind of whom, and whom. All of a user is PID 1 and the bridge, too.
void refuse_priority_of_others(call_filter& f, long call, std::uint32_t all_of_a_user) noexcept
{
    const std::size_t rule = f.begin(call);
    f.load_argument(0);
    f.answer_if_equal(all_of_a_user, fails_with(EPERM));
    f.load_argument(1);
    f.answer_if_equal(0, SECCOMP_RET_ALLOW);
    f.answer(fails_with(EPERM));
    f.end(rule);
}

void restrict_sockets(call_filter& f) noexcept
{
    constexpr std::uint32_t type_mask = 0xF;  // without SOCK_CLOEXEC and SOCK_NONBLOCK
    constexpr std::uint32_t route = 0;        // NETLINK_ROUTE: how getifaddrs() lists interfaces
    constexpr std::uint32_t tcp = 6;
    constexpr std::uint32_t udp = 17;
    constexpr std::uint32_t multipath_tcp = 262;  // Go listens with it where it may

    const std::size_t pairs = f.begin(SYS_socketpair);
    f.load_argument(0);
    f.answer_if_equal(AF_UNIX, SECCOMP_RET_ALLOW);
    f.answer(fails_with(EAFNOSUPPORT));
    f.end(pairs);

    const std::size_t rule = f.begin(SYS_socket);
    f.load_argument(0);
    f.answer_if_equal(AF_UNIX, SECCOMP_RET_ALLOW);
    // Route netlink.
    f.add(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 4);
    f.load_argument(2);
    f.answer_if_equal(route, SECCOMP_RET_ALLOW);
    f.answer(fails_with(EPROTONOSUPPORT));
    // Streams and datagrams of TCP and UDP, nothing raw.
    f.add(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0);
    f.answer(fails_with(EAFNOSUPPORT));
    f.load_argument(1);
    f.add(BPF_ALU | BPF_AND | BPF_K, type_mask);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 2, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, SOCK_DGRAM, 1, 0);
    f.answer(fails_with(EPERM));
    f.load_argument(2);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, tcp, 2, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, udp, 1, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, multipath_tcp, 0, 1);
    f.answer(SECCOMP_RET_ALLOW);
    f.answer(fails_with(EPERM));
    f.end(rule);
}

}  // namespace

filter_result install_agent_filter() noexcept
{
    if constexpr (own_architecture == 0) return filter_result::unsupported;
    call_filter f;
    refuse_other_tables(f);
    restrict_sockets(f);
    refuse_terminal_input(f);
    refuse_namespaces(f, SYS_clone, new_namespaces);
    refuse_namespaces(f, SYS_unshare, new_namespaces | CLONE_NEWTIME);
    refuse_limits_of_others(f);
    refuse_priority_of_others(f, SYS_setpriority, PRIO_USER);
    refuse_priority_of_others(f, SYS_ioprio_set, ioprio_who_user);
    for (const long call : for_oneself)
        refuse_others(f, call);
    for (const long call : not_there)
        f.answer_if_equal(static_cast<std::uint32_t>(call), fails_with(ENOSYS));
    for (const long call : not_allowed)
        f.answer_if_equal(static_cast<std::uint32_t>(call), fails_with(EPERM));
    f.answer(SECCOMP_RET_ALLOW);
    if (!f.fits()) {
        errno = E2BIG;
        return filter_result::failed;
    }
    if (f.install()) return filter_result::installed;
    return errno == EINVAL || errno == ENOSYS ? filter_result::unsupported : filter_result::failed;
}

}  // namespace keyhole::runtime
