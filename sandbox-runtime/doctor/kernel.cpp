#include "sandbox-runtime/doctor/looks.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Newer than the oldest headers this is built with; the number is the same everywhere.
#ifndef SYS_clone3
#define SYS_clone3 435
#endif

namespace keyhole::runtime::doctor {
namespace {

/// What a system call said: 0, or its errno; -1 when the process was killed for asking.
using probe = int (*)();

constexpr int killed = -1;

// A child asks, because a profile may kill for it, and because a success must not stick to us.
int ask(probe what)
{
    const pid_t child = ::fork();
    if (child == 0) ::_exit(what());
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return EAGAIN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : killed;
}

int errno_of(long result) noexcept
{
    return result >= 0 ? 0 : errno;
}

bool is_refusal(int answer) noexcept
{
    return answer == killed || answer == EPERM || answer == ENOSYS || answer == EACCES;
}

bool is_refused_socket(int answer) noexcept
{
    return is_refusal(answer) || answer == EAFNOSUPPORT || answer == EPROTONOSUPPORT ||
           answer == ESOCKTNOSUPPORT;
}

int open_socket(int family, int type, int protocol) noexcept
{
    return errno_of(::socket(family, type | SOCK_CLOEXEC, protocol));
}

struct socket_kind {
    const char* name;
    probe what;
};

// Ways out of a network namespace, or large parts of the kernel that no agent needs.
constexpr socket_kind sockets[] = {
    {"vsock", [] { return open_socket(AF_VSOCK, SOCK_STREAM, 0); }},
    {"kernel crypto (AF_ALG)", [] { return open_socket(AF_ALG, SOCK_SEQPACKET, 0); }},
    {"packet", [] { return open_socket(AF_PACKET, SOCK_RAW, 0); }},
    {"raw", [] { return open_socket(AF_INET, SOCK_RAW, 1); }},
    {"ping", [] { return open_socket(AF_INET, SOCK_DGRAM, 1); }},
    {"generic netlink", [] { return open_socket(AF_NETLINK, SOCK_RAW, 16); }},
    {"uevent netlink", [] { return open_socket(AF_NETLINK, SOCK_RAW, 15); }},
    {"bluetooth", [] { return open_socket(AF_BLUETOOTH, SOCK_RAW, 1); }},
    {"XDP", [] { return open_socket(44, SOCK_RAW, 0); }},
    {"RDS", [] { return open_socket(21, SOCK_SEQPACKET, 0); }},
    {"TIPC", [] { return open_socket(30, SOCK_STREAM, 0); }},
    {"IUCV, CAN and others", [] { return open_socket(29, SOCK_RAW, 1); }},
};

void look_at_sockets(report& r)
{
    std::vector<std::string> open;
    for (const socket_kind& each : sockets)
        if (!is_refused_socket(ask(each.what))) open.emplace_back(each.name);
    r.expect(open.empty(), "sockets", "unix, TCP, UDP and route netlink only",
             "the kernel makes sockets of the kind " + join(open),
             "start the agent through keyhole-init without KEYHOLE_SECCOMP=off, or with a seccomp profile "
             "that refuses them");
}

int use_io_uring()
{
    return errno_of(::syscall(SYS_io_uring_setup, 1, nullptr));
}
int use_keyring()
{
    return errno_of(::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
}
int make_user_namespace()
{
    return errno_of(::unshare(CLONE_NEWUSER));
}
int clone_user_namespace()
{
    const long pid = ::syscall(SYS_clone, static_cast<unsigned long>(CLONE_NEWUSER) | 17UL, nullptr, nullptr,
                               nullptr, nullptr);
    if (pid == 0) ::_exit(0);
    return errno_of(pid);
}
int clone3_user_namespace()
{
    // The first version of its argument: eight numbers, the flags first, the signal at its end fifth.
    std::uint64_t how[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0};
    const long pid = ::syscall(SYS_clone3, how, sizeof how);
    if (pid == 0) ::_exit(0);
    return errno_of(pid);
}
int use_bpf()
{
    return errno_of(::syscall(SYS_bpf, 0, nullptr, 0));
}
int use_perf()
{
    return errno_of(::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
}
int use_userfaultfd()
{
    return errno_of(::syscall(SYS_userfaultfd, 0));
}
int move_into_namespace()
{
    return errno_of(::syscall(SYS_setns, -1, 0));
}
int use_mount()
{
    return errno_of(::syscall(SYS_mount, nullptr, nullptr, nullptr, 0UL, nullptr));
}
int use_32_bit_calls()
{
#if defined(__x86_64__)
    long answer = 20;  // getpid there
    asm volatile("int $0x80" : "+a"(answer) : : "memory", "cc", "r8", "r9", "r10", "r11");
    return answer > 0 ? 0 : static_cast<int>(-answer);
#else
    return ENOSYS;
#endif
}
int use_x32_calls()
{
#if defined(__x86_64__)
    return errno_of(::syscall(0x40000000L | SYS_getpid));
#else
    return ENOSYS;
#endif
}

struct facility {
    const char* guarantee;
    probe what;
    const char* why;
};

constexpr facility facilities[] = {
    {"io_uring", use_io_uring, "it makes sockets and opens files past every seccomp filter"},
    {"kernel keyrings", use_keyring, "keys of other containers of the same uid may be in reach"},
    {"user namespaces (unshare)", make_user_namespace,
     "root in a namespace of one's own reaches kernel code that is root's"},
    {"user namespaces (clone)", clone_user_namespace,
     "root in a namespace of one's own reaches kernel code that is root's"},
    {"user namespaces (clone3)", clone3_user_namespace,
     "root in a namespace of one's own reaches kernel code that is root's"},
    {"other namespaces", move_into_namespace, "setns() is the way into other containers"},
    {"mounting", use_mount, "mounts hide or replace files"},
    {"bpf", use_bpf, "programs in the kernel"},
    {"perf events", use_perf, "it observes other processes"},
    {"userfaultfd", use_userfaultfd, "it makes races in the kernel easy to win"},
    {"32-bit system calls", use_32_bit_calls, "filters for 64-bit calls do not see them"},
    {"x32 system calls", use_x32_calls, "filters for 64-bit calls may not see them"},
};

void look_at_facilities(report& r)
{
    for (const facility& each : facilities) {
        const int answer = ask(each.what);
        r.expect(is_refusal(answer), each.guarantee,
                 answer == killed ? "refused (killed)"
                                  : std::string("refused (") + std::strerror(answer) + ")",
                 std::string("the kernel answers: ") + each.why,
                 "start the agent through keyhole-init without KEYHOLE_SECCOMP=off, or with a seccomp "
                 "profile that refuses it");
    }
}

int push_terminal_input()
{
    // Nothing is pushed: the descriptor is none, and only a filter says EPERM.
    return errno_of(::ioctl(-1, TIOCSTI, ""));
}

void look_at_terminal(report& r)
{
    const bool refused = is_refusal(ask(push_terminal_input));
    const bool off = read_file("/proc/sys/dev/tty/legacy_tiocsti") == "0\n";
    const bool terminal =
        ::isatty(STDIN_FILENO) == 1 || ::isatty(STDOUT_FILENO) == 1 || ::isatty(STDERR_FILENO) == 1;
    r.expect(refused || off || !terminal, "terminal input",
             refused ? "cannot be forged (refused)" : "cannot be forged here",
             "the agent can type into its terminal (TIOCSTI), where somebody else may read on after it",
             "start the agent through keyhole-init without KEYHOLE_SECCOMP=off, or set the host's "
             "dev.tty.legacy_tiocsti to 0");
}

}  // namespace

void look_at_kernel(report& r)
{
    const std::string status = read_file("/proc/self/status");
    const std::string mode = field_of(status, "Seccomp");
    const std::string filters = field_of(status, "Seccomp_filters");
    r.expect(
        mode == "2", "seccomp", "on" + (filters.empty() ? std::string() : ", " + filters + " filters"),
        "no system call filter holds for the agent",
        "start the agent through keyhole-init without KEYHOLE_SECCOMP=off, or without seccomp=unconfined");
    look_at_sockets(r);
    look_at_facilities(r);
    look_at_terminal(r);
}

}  // namespace keyhole::runtime::doctor
