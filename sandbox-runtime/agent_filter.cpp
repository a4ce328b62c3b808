#include "sandbox-runtime/agent_filter.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
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

#if defined(__x86_64__)
constexpr std::uint32_t own_architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t own_architecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t own_architecture = 0;
#endif

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

// CLONE_NEWTIME shares its bit with the exit signal's byte in clone(): it is one of unshare()'s only.
constexpr std::uint32_t new_namespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

constexpr std::uint32_t errno_answer(int error)
{
    return SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(error) & SECCOMP_RET_DATA);
}

/// A BPF program under construction. A rule for one call answers it in every case, so the accumulator holds
/// the call's number wherever the next rule begins.
class filter {
public:
    void add(std::uint16_t code, std::uint32_t value, std::uint8_t yes = 0, std::uint8_t no = 0) noexcept
    {
        if (size_ < program_.size()) program_[size_] = {code, yes, no, value};
        ++size_;
    }
    void answer(std::uint32_t what) noexcept { add(BPF_RET | BPF_K, what); }
    void answer_if_equal(std::uint32_t value, std::uint32_t what) noexcept
    {
        add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
        answer(what);
    }
    void load(std::size_t offset) noexcept
    {
        add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
    }
    void load_number() noexcept { load(offsetof(seccomp_data, nr)); }
    /// The lower half: what the kernel looks at where the parameter is an int.
    void load_argument(std::size_t index) noexcept { load(offsetof(seccomp_data, args) + 8 * index); }
    /// What follows up to end() is for this system call only.
    std::size_t begin(long call) noexcept
    {
        add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call));
        return size_;
    }
    void end(std::size_t begun) noexcept
    {
        if (fits()) program_[begun - 1].jf = static_cast<std::uint8_t>(size_ - begun);
    }
    bool fits() const noexcept { return size_ <= program_.size(); }
    sock_fprog program() noexcept { return {static_cast<unsigned short>(size_), program_.data()}; }

private:
    std::array<sock_filter, 200> program_{};
    std::size_t size_ = 0;
};

void refuse_other_tables(filter& f) noexcept
{
    f.load(offsetof(seccomp_data, arch));
    f.add(BPF_JMP | BPF_JEQ | BPF_K, own_architecture, 1, 0);
    f.answer(errno_answer(ENOSYS));
    f.load_number();
#if defined(__x86_64__)
    constexpr std::uint32_t x32_bit = 0x40000000;
    f.add(BPF_JMP | BPF_JGE | BPF_K, x32_bit, 0, 1);
    f.answer(errno_answer(ENOSYS));
#endif
}

void refuse_namespaces(filter& f, long call, std::uint32_t flags) noexcept
{
    const std::size_t rule = f.begin(call);
    f.load_argument(0);
    f.add(BPF_JMP | BPF_JSET | BPF_K, flags, 0, 1);
    f.answer(errno_answer(EPERM));
    f.answer(SECCOMP_RET_ALLOW);
    f.end(rule);
}

void refuse_terminal_input(filter& f) noexcept
{
    const std::size_t rule = f.begin(SYS_ioctl);
    f.load_argument(1);
    f.answer_if_equal(TIOCSTI, errno_answer(EPERM));
    f.answer_if_equal(TIOCLINUX, errno_answer(EPERM));
    f.answer(SECCOMP_RET_ALLOW);
    f.end(rule);
}

void restrict_sockets(filter& f) noexcept
{
    constexpr std::uint32_t type_mask = 0xF;  // without SOCK_CLOEXEC and SOCK_NONBLOCK
    constexpr std::uint32_t route = 0;        // NETLINK_ROUTE: how getifaddrs() lists interfaces
    constexpr std::uint32_t tcp = 6;
    constexpr std::uint32_t udp = 17;
    constexpr std::uint32_t multipath_tcp = 262;  // Go listens with it where it may

    const std::size_t pairs = f.begin(SYS_socketpair);
    f.load_argument(0);
    f.answer_if_equal(AF_UNIX, SECCOMP_RET_ALLOW);
    f.answer(errno_answer(EAFNOSUPPORT));
    f.end(pairs);

    const std::size_t rule = f.begin(SYS_socket);
    f.load_argument(0);
    f.answer_if_equal(AF_UNIX, SECCOMP_RET_ALLOW);
    // Route netlink.
    f.add(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 4);
    f.load_argument(2);
    f.answer_if_equal(route, SECCOMP_RET_ALLOW);
    f.answer(errno_answer(EPROTONOSUPPORT));
    // Streams and datagrams of TCP and UDP, nothing raw.
    f.add(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0);
    f.answer(errno_answer(EAFNOSUPPORT));
    f.load_argument(1);
    f.add(BPF_ALU | BPF_AND | BPF_K, type_mask);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 2, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, SOCK_DGRAM, 1, 0);
    f.answer(errno_answer(EPERM));
    f.load_argument(2);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, tcp, 2, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, udp, 1, 0);
    f.add(BPF_JMP | BPF_JEQ | BPF_K, multipath_tcp, 0, 1);
    f.answer(SECCOMP_RET_ALLOW);
    f.answer(errno_answer(EPERM));
    f.end(rule);
}

}  // namespace

filter_result install_agent_filter() noexcept
{
    if constexpr (own_architecture == 0) return filter_result::unsupported;
    filter f;
    refuse_other_tables(f);
    restrict_sockets(f);
    refuse_terminal_input(f);
    refuse_namespaces(f, SYS_clone, new_namespaces);
    refuse_namespaces(f, SYS_unshare, new_namespaces | CLONE_NEWTIME);
    for (const long call : not_there)
        f.answer_if_equal(static_cast<std::uint32_t>(call), errno_answer(ENOSYS));
    for (const long call : not_allowed)
        f.answer_if_equal(static_cast<std::uint32_t>(call), errno_answer(EPERM));
    f.answer(SECCOMP_RET_ALLOW);
    if (!f.fits()) {
        errno = E2BIG;
        return filter_result::failed;
    }
    sock_fprog program = f.program();
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0) return filter_result::installed;
    return errno == EINVAL || errno == ENOSYS ? filter_result::unsupported : filter_result::failed;
}

}  // namespace keyhole::runtime
