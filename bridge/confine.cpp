#include "bridge/confine.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace keyhole::sys {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t architecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t architecture = 0;
#endif

constexpr std::uint32_t allowed[] = {
    SYS_epoll_pwait,   SYS_epoll_ctl,
    SYS_accept4,       SYS_recvfrom,
    SYS_sendto,        SYS_sendmsg,
    SYS_connect,       SYS_shutdown,
    SYS_close,         SYS_ioctl,
    SYS_setsockopt,    SYS_getsockopt,
    SYS_getsockname,   SYS_getpeername,  // connections
    SYS_openat,        SYS_newfstatat,
    SYS_fstat,         SYS_read,
    SYS_write,  // the socket's path, /proc/net/tcp, stderr, signals
    SYS_mmap,          SYS_munmap,
    SYS_brk,           SYS_ppoll,
    SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_rt_sigreturn,  SYS_restart_syscall,
    SYS_exit_group,
#if defined(__x86_64__)
    SYS_epoll_wait,    SYS_poll,
    SYS_nanosleep,     SYS_stat,  // the older forms that the C library may use
#endif
};

constexpr sock_filter load(std::size_t offset) noexcept
{
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

constexpr sock_filter answer(std::uint32_t what) noexcept
{
    return BPF_STMT(BPF_RET | BPF_K, what);
}

}  // namespace

bool allow_only_serving() noexcept
{
    if (architecture == 0) return false;
    constexpr std::uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
    sock_filter program[9 + 2 * std::size(allowed) + 1];
    std::size_t n = 0;
    const auto add = [&](sock_filter s) { program[n++] = s; };
    const auto unless_equal_skip_one = [&](std::uint32_t value) {
        add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    };
    add(load(offsetof(seccomp_data, arch)));
    add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0));
    add(answer(SECCOMP_RET_KILL_PROCESS));  // the 32-bit door: its numbers mean other calls
    add(load(offsetof(seccomp_data, nr)));
    for (const std::uint32_t number : allowed) {
        unless_equal_skip_one(number);
        add(answer(SECCOMP_RET_ALLOW));
    }
    add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0));
    add(answer(refuse));
    add(load(offsetof(seccomp_data, args[0])));
    unless_equal_skip_one(AF_UNIX);
    add(answer(SECCOMP_RET_ALLOW));
    add(answer(refuse));
    const sock_fprog filter{.len = static_cast<unsigned short>(n), .filter = program};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

}  // namespace keyhole::sys
