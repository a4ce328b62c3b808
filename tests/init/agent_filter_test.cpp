#include "sandbox-runtime/agent_filter.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

// In a child under the filter: the errno of what `call` did, 0 for success, 255 where there are no filters.
int under_filter(const std::function<long()>& call)
{
    const pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (install_agent_filter() != filter_result::installed) ::_exit(255);
        errno = 0;
        ::_exit(call() >= 0 ? 0 : errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct filter_case {
    const char* what;
    std::function<long()> call;
    int answer;
};

class AgentFilter : public testing::TestWithParam<filter_case> {};

TEST_P(AgentFilter, Answers)
{
    EXPECT_EQ(under_filter(GetParam().call), GetParam().answer);
}

long open_socket(int family, int type, int protocol)
{
    return ::socket(family, type, protocol);
}

long set_limit(pid_t whose)
{
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    return ::syscall(SYS_prlimit64, whose, RLIMIT_NOFILE, &limit, nullptr);
}

long set_processors(pid_t whose)
{
    cpu_set_t all;
    ::sched_getaffinity(0, sizeof all, &all);
    return ::syscall(SYS_sched_setaffinity, whose, sizeof all, &all);
}

INSTANTIATE_TEST_SUITE_P(
    Table, AgentFilter,
    testing::Values(
        filter_case{"tcp", [] { return open_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); },
                    0},
        filter_case{"udp", [] { return open_socket(AF_INET, SOCK_DGRAM, 17); }, 0},
        filter_case{"unix", [] { return open_socket(AF_UNIX, SOCK_STREAM, 0); }, 0},
        filter_case{"unixpairs",
                    [] {
                        int two[2];
                        return static_cast<long>(::socketpair(AF_UNIX, SOCK_STREAM, 0, two));
                    },
                    0},
        filter_case{"listinginterfaces", [] { return open_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0); },
                    0},
        filter_case{"genericnetlink", [] { return open_socket(AF_NETLINK, SOCK_RAW, 16); }, EPROTONOSUPPORT},
        filter_case{"vsock", [] { return open_socket(AF_VSOCK, SOCK_STREAM, 0); }, EAFNOSUPPORT},
        filter_case{"kernelcrypto", [] { return open_socket(AF_ALG, SOCK_SEQPACKET, 0); }, EAFNOSUPPORT},
        filter_case{"packets", [] { return open_socket(AF_PACKET, SOCK_RAW, 0); }, EAFNOSUPPORT},
        filter_case{"raw", [] { return open_socket(AF_INET, SOCK_RAW, 6); }, EPERM},
        filter_case{"raw6", [] { return open_socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, 58); }, EPERM},
        filter_case{"sctp", [] { return open_socket(AF_INET, SOCK_STREAM, 132); }, EPERM},
        filter_case{"ping", [] { return open_socket(AF_INET, SOCK_DGRAM, 1); }, EPERM},
        // The kernel looks at the lower half of an int only; so does the filter.
        filter_case{"vsockbehindahighhalf",
                    [] { return ::syscall(SYS_socket, 0x100000000L | AF_VSOCK, SOCK_STREAM, 0); },
                    EAFNOSUPPORT},
        filter_case{"iouring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }, ENOSYS},
        filter_case{"keyrings", [] { return ::syscall(SYS_keyctl, 0, -3, 0); }, EPERM},
        filter_case{"usernamespaces", [] { return static_cast<long>(::unshare(CLONE_NEWUSER)); }, EPERM},
        filter_case{"timenamespaces", [] { return static_cast<long>(::unshare(0x80)); }, EPERM},
        filter_case{"unsharingfiles", [] { return static_cast<long>(::unshare(CLONE_FILES | CLONE_FS)); }, 0},
        filter_case{
            "namespacesbyclone",
            [] { return ::syscall(SYS_clone, CLONE_NEWUSER | 17, nullptr, nullptr, nullptr, nullptr); },
            EPERM},
        filter_case{"clone3", [] { return ::syscall(SYS_clone3, nullptr, 0); }, ENOSYS},
        filter_case{"mount", [] { return ::syscall(SYS_mount, "none", "/", "tmpfs", 0, nullptr); }, EPERM},
        filter_case{"typingintoaterminal", [] { return static_cast<long>(::ioctl(-1, TIOCSTI, "x")); },
                    EPERM},
        filter_case{"typingbehindahighhalf",
                    [] { return ::syscall(SYS_ioctl, -1, 0x100000000L | TIOCSTI, "x"); }, EPERM},
        filter_case{"othercontrols", [] { return static_cast<long>(::ioctl(-1, TCGETS, nullptr)); }, EBADF},
        filter_case{"forks",
                    [] {
                        const pid_t p = ::fork();
                        if (p == 0) ::_exit(0);
                        return static_cast<long>(p);
                    },
                    0},
        filter_case{"ownlimits", [] { return set_limit(0); }, 0},
        // Libraries and shells say 0; which number is one's own the filter cannot know.
        filter_case{"limitsofothers", [] { return set_limit(::getppid()); }, EPERM},
        filter_case{"limitsbehindahighhalf",
                    [] {
                        rlimit limit{};
                        return ::syscall(SYS_prlimit64, 0x100000000L | ::getppid(), RLIMIT_NOFILE, &limit,
                                         nullptr);
                    },
                    EPERM},
        filter_case{
            "limitsatahighaddress",
            [] { return ::syscall(SYS_prlimit64, ::getppid(), RLIMIT_NOFILE, 0x7F0000000000L, nullptr); },
            EPERM},
        filter_case{"readinglimitsofothers",
                    [] {
                        rlimit limit{};
                        return ::syscall(SYS_prlimit64, ::getppid(), RLIMIT_NOFILE, nullptr, &limit);
                    },
                    0},
        filter_case{"ownpriority", [] { return ::syscall(SYS_setpriority, PRIO_PROCESS, 0, 1); }, 0},
        filter_case{"priorityofothers",
                    [] { return ::syscall(SYS_setpriority, PRIO_PROCESS, ::getppid(), 0); }, EPERM},
        filter_case{"priorityofauser", [] { return ::syscall(SYS_setpriority, PRIO_USER, 0, 0); }, EPERM},
        filter_case{"diskpriorityofothers", [] { return ::syscall(SYS_ioprio_set, 1, ::getppid(), 0x4004); },
                    EPERM},
        filter_case{"ownprocessors", [] { return set_processors(0); }, 0},
        filter_case{"processorsofothers", [] { return set_processors(::getppid()); }, EPERM},
        filter_case{"schedulerofothers",
                    [] {
                        const sched_param none{};
                        return ::syscall(SYS_sched_setscheduler, ::getppid(), SCHED_OTHER, &none);
                    },
                    EPERM},
        filter_case{"threads",
                    [] {
                        std::thread([] {}).join();
                        return 0L;
                    },
                    0}),
    [](const auto& each) { return std::string(each.param.what); });

#if defined(__x86_64__)
TEST(AgentFilter, RefusesTheOtherCallTables)
{
    EXPECT_EQ(under_filter([] { return ::syscall(0x40000000L | SYS_getpid); }), ENOSYS);
    const int answer = under_filter([] {
        long result = 20;
        asm volatile("int $0x80" : "+a"(result) : : "memory", "cc", "r8", "r9", "r10", "r11");
        errno = static_cast<int>(-result);
        return result < 0 ? -1L : 0L;
    });
    EXPECT_TRUE(answer == ENOSYS || answer == -SIGSEGV) << answer;
}
#endif

}  // namespace
}  // namespace keyhole::runtime
