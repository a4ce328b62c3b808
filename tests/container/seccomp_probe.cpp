// One line for each system call that deploy/seccomp.json keeps from a sandbox: NAME and what became of it.
// "reached" says that the kernel looked at it, whatever it then answered; otherwise the error, or the signal
// that ended the child which tried. Each is tried in a child of its own. A seccomp filter answers EPERM or
// ENOSYS before anything else; so the calls are made with capabilities and arguments for which the kernel
// itself has another answer.
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int family_alg = 38;
constexpr int family_vsock = 40;
constexpr int family_xdp = 44;
constexpr int family_bluetooth = 31;
constexpr int family_packet = 17;
constexpr long personality_no_randomize = 0x0040000;

long failed_with_errno(long result)
{
    return result < 0 ? errno : 0;
}

template <class... A>
long call(long number, A... arguments)
{
    return failed_with_errno(::syscall(number, arguments...));
}

long open_socket(int family, int type, int protocol)
{
    return call(SYS_socket, family, type, protocol);
}

long cloned_with(unsigned long flags)
{
    const long child = ::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (child == 0) ::_exit(0);
    return failed_with_errno(child);
}

#if defined(__x86_64__)
// socket(AF_VSOCK, SOCK_STREAM, 0) by the 32-bit way in, where one call stands for all socket calls.
long socketcall_32()
{
    void* low = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED) return -1;
    const std::array<unsigned, 3> arguments{family_vsock, SOCK_STREAM, 0};
    std::memcpy(low, arguments.data(), sizeof arguments);
    long result = 0;
    // NOLINTNEXTLINE(hicpp-no-assembler): there is no other way to make a 32-bit call
    asm volatile("int $0x80"
                 : "=a"(result)
                 : "a"(102L), "b"(1L), "c"(low)
                 : "memory", "r8", "r9", "r10", "r11");
    const int error = -static_cast<int>(result);
    return error > 0 ? error : 0;
}

// The same as one of the x32 ABI's calls, which the filter's architecture shares.
long socket_x32()
{
    return call(0x40000000L + SYS_socket, family_vsock, SOCK_STREAM, 0);
}
#endif

struct probe {
    const char* name;
    long (*run)();
};

const probe probes[] = {
    {"AF_VSOCK", [] { return open_socket(family_vsock, SOCK_STREAM, 0); }},
    {"AF_ALG", [] { return open_socket(family_alg, SOCK_SEQPACKET, 0); }},
    {"AF_PACKET", [] { return open_socket(family_packet, SOCK_RAW, 0); }},
    {"AF_XDP", [] { return open_socket(family_xdp, SOCK_RAW, 0); }},
    {"AF_BLUETOOTH", [] { return open_socket(family_bluetooth, SOCK_RAW, 0); }},
    {"raw IPv4", [] { return open_socket(AF_INET, SOCK_RAW, 1); }},
    {"raw IPv6", [] { return open_socket(AF_INET6, SOCK_RAW, 58); }},
    {"SCTP", [] { return open_socket(AF_INET, SOCK_STREAM, 132); }},
    {"MPTCP", [] { return open_socket(AF_INET, SOCK_STREAM, 262); }},
    {"netlink, uevents", [] { return open_socket(AF_NETLINK, SOCK_RAW, 15); }},
    {"netlink, generic", [] { return open_socket(AF_NETLINK, SOCK_RAW, 16); }},
    {"netlink, audit", [] { return open_socket(AF_NETLINK, SOCK_RAW, 9); }},
#if defined(__x86_64__)
    {"32-bit socketcall", socketcall_32},
    {"x32 socket", socket_x32},
#endif
    {"io_uring_setup", [] { return call(SYS_io_uring_setup, 1, nullptr); }},
    {"io_uring_enter", [] { return call(SYS_io_uring_enter, -1, 0, 0, 0, nullptr, 0); }},
    {"io_uring_register", [] { return call(SYS_io_uring_register, -1, 0, nullptr, 0); }},
    {"keyctl", [] { return call(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1); }},
    {"add_key", [] { return call(SYS_add_key, "user", "keyhole", "x", 1, KEY_SPEC_PROCESS_KEYRING); }},
    {"request_key", [] { return call(SYS_request_key, "user", "keyhole-absent", nullptr, 0); }},
    {"bpf", [] { return call(SYS_bpf, 5, nullptr, 0); }},
    {"userfaultfd", [] { return call(SYS_userfaultfd, 0); }},
    {"perf_event_open", [] { return call(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
    {"mount", [] { return call(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); }},
    {"umount", [] { return call(SYS_umount2, "/absent", 0); }},
    {"pivot_root", [] { return call(SYS_pivot_root, "/absent", "/absent"); }},
    {"fsopen", [] { return call(SYS_fsopen, "tmpfs", 0); }},
    {"open_tree", [] { return call(SYS_open_tree, AT_FDCWD, "/", 1); }},
    {"move_mount", [] { return call(SYS_move_mount, -1, "", -1, "", 0); }},
    {"mount_setattr", [] { return call(SYS_mount_setattr, -1, "", 0, nullptr, 0); }},
    {"unshare, user", [] { return call(SYS_unshare, CLONE_NEWUSER); }},
    {"unshare, network", [] { return call(SYS_unshare, CLONE_NEWNET); }},
    {"unshare, mounts", [] { return call(SYS_unshare, CLONE_NEWNS); }},
    {"unshare, time", [] { return call(SYS_unshare, 0x80); }},
    {"clone, user", [] { return cloned_with(CLONE_NEWUSER); }},
    {"clone, pid", [] { return cloned_with(CLONE_NEWPID); }},
    {"clone3", [] { return call(SYS_clone3, nullptr, 0); }},
    {"setns", [] { return call(SYS_setns, -1, 0); }},
    {"chroot", [] { return call(SYS_chroot, "/absent"); }},
    {"open_by_handle_at", [] { return call(SYS_open_by_handle_at, -1, nullptr, 0); }},
    {"pidfd_getfd", [] { return call(SYS_pidfd_getfd, -1, 0, 0); }},
    {"process_vm_writev", [] { return call(SYS_process_vm_writev, ::getpid(), nullptr, 0, nullptr, 0, 0); }},
    {"init_module", [] { return call(SYS_init_module, nullptr, 0, nullptr); }},
    {"finit_module", [] { return call(SYS_finit_module, -1, nullptr, 0); }},
    {"kexec_load", [] { return call(SYS_kexec_load, 0, 99, nullptr, 0); }},
    {"syslog", [] { return call(SYS_syslog, 10, nullptr, 0); }},
    {"acct", [] { return call(SYS_acct, "/absent"); }},
    {"swapon", [] { return call(SYS_swapon, "/absent", 0); }},
    {"quotactl", [] { return call(SYS_quotactl, 0, "/absent", 0, nullptr); }},
    {"fanotify_init", [] { return call(SYS_fanotify_init, ~0U, 0); }},
    {"personality, no randomisation", [] { return call(SYS_personality, personality_no_randomize); }},
};

void show(const probe& p)
{
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        const long error = p.run();
        ::_exit(error == EPERM ? 1 : error == ENOSYS ? 2 : 0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        std::printf("%s\tsignal %d\n", p.name, WTERMSIG(status));
    else
        std::printf("%s\t%s\n", p.name,
                    WEXITSTATUS(status) == 0   ? "reached"
                    : WEXITSTATUS(status) == 1 ? "EPERM"
                                               : "ENOSYS");
}

}  // namespace

int main()
{
    for (const probe& p : probes)
        show(p);
    return 0;
}
