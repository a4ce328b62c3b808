// The bridge's last step of start-up leaves it what it needs and nothing else.
#include "bridge/confine.hpp"
#include "bridge/system.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // the sanitizer's own end of a process needs calls that the filter refuses
#else
constexpr bool sanitized = false;
#endif

// In a process of its own: a filter stays.
template <class Check>
int in_confinement(Check check)
{
    const pid_t child = ::fork();
    if (child == 0) {
        sys::forbid_new_privileges();
        if (!sys::allow_only_serving()) ::_exit(77);
        ::_exit(check() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(Confine, UnixSocketsAndFilesCanBeOpened)
{
    if (sanitized) GTEST_SKIP() << "not under a sanitizer";
    const int code =
        in_confinement([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && sys::now_ms() > 0; });
    if (code == 77) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_EQ(code, 0);
}

TEST(Confine, NoOtherSocketAndNoProgramCanBeStarted)
{
    if (sanitized) GTEST_SKIP() << "not under a sanitizer";
    const int code = in_confinement([] {
        for (const int family : {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK})
            if (::socket(family, SOCK_STREAM, 0) >= 0 || errno != EPERM) return false;
        char* none[] = {nullptr};
        if (::execve("/bin/true", none, none) == 0 || errno != EPERM) return false;
        if (::fork() >= 0 || errno != EPERM) return false;
        return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0 && errno == EPERM;
    });
    if (code == 77) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace keyhole
