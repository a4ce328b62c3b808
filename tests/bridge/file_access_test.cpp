// What the bridge can still open once it serves. The oracle is the same child before.
#include "bridge/file_access.hpp"
#include "bridge/system.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::sys {
namespace {

bool can_open(const char* path, int flags)
{
    return unique_fd(::open(path, flags | O_CLOEXEC, 0600)).get() >= 0;
}

bool can_connect(const sockaddr_un& where)
{
    const unique_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return ::connect(s.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0;
}

bool can_bind_tcp()
{
    const unique_fd s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ::bind(s.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0;
}

// Bits of what is wrong; 128: this kernel has none.
int child(const std::string& file, const sockaddr_un& where)
{
    forbid_new_privileges();
    if (!can_open(file.c_str(), O_RDONLY) || !can_open("/etc/passwd", O_RDONLY) || !can_bind_tcp()) return 64;
    if (!forbid_files()) return 128;
    int wrong = 0;
    if (can_open(file.c_str(), O_RDONLY) || can_open("/etc/passwd", O_RDONLY)) wrong |= 1;
    if (can_open(file.c_str(), O_WRONLY) || can_open((file + ".new").c_str(), O_WRONLY | O_CREAT)) wrong |= 2;
    if (!can_open("/proc/net/tcp", O_RDONLY)) wrong |= 4;
    if (!can_connect(where)) wrong |= 8;
    if (::unlink(file.c_str()) == 0) wrong |= 16;
    return wrong;
}

TEST(FileAccess, ABridgeThatServesOpensNoFileAndStillReachesTheProxysSocket)
{
    char folder[] = "/tmp/kh-files-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    const std::string file = std::string(folder) + "/file";
    unique_fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    const std::string path = std::string(folder) + "/llm.sock";
    path.copy(where.sun_path, sizeof where.sun_path - 1);
    const unique_fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
    ASSERT_EQ(::listen(listener.get(), 4), 0);
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(child(file, where));
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ::unlink(file.c_str());
    ::unlink(path.c_str());
    ::rmdir(folder);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 128) GTEST_SKIP() << "this kernel has no Landlock";
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace keyhole::sys
