#include "bridge/confine.hpp"

#include "bridge/call_filter.hpp"

#include <cerrno>
#include <cstddef>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace keyhole::sys {
namespace {

constexpr long allowed[] = {
    SYS_epoll_pwait,   SYS_epoll_ctl,
    SYS_accept4,       SYS_recvfrom,
    SYS_sendto,        SYS_sendmsg,
    SYS_recvmsg,       SYS_connect,
    SYS_shutdown,      SYS_close,
    SYS_ioctl,         SYS_setsockopt,
    SYS_getsockopt,    SYS_getsockname,
    SYS_getpeername,  // connections
    SYS_openat,        SYS_newfstatat,
    SYS_fstat,         SYS_read,
    SYS_write,  // the socket's path, /proc/net/tcp, stderr, signals
    SYS_mmap,          SYS_munmap,
    SYS_brk,           SYS_ppoll,
    SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_rt_sigreturn,  SYS_restart_syscall,
    SYS_exit_group,    SYS_geteuid,
    SYS_getegid,  // for messages
#if defined(__x86_64__)
    SYS_epoll_wait,    SYS_poll,
    SYS_nanosleep,     SYS_stat,
    SYS_lstat,  // the older forms that the C library may use
#endif
};

}  // namespace

bool allow_only_serving() noexcept
{
    if constexpr (own_architecture == 0) return false;
    call_filter f;
    f.answer_other_tables(SECCOMP_RET_KILL_PROCESS);
    for (const long call : allowed)
        f.answer_if_equal(static_cast<std::uint32_t>(call), SECCOMP_RET_ALLOW);
    const std::size_t rule = f.begin(SYS_socket);
    f.load_argument(0);
    f.answer_if_equal(AF_UNIX, SECCOMP_RET_ALLOW);
    f.answer(fails_with(EPERM));
    f.end(rule);
    f.answer(fails_with(EPERM));
    return f.fits() && f.install();
}

}  // namespace keyhole::sys
