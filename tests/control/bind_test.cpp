#include "control_fixture.hpp"
#include "proxy/net/bind.hpp"

#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>

namespace keyhole::proxy::test {
namespace {

const socket_rights as_admin{.mode = 0600, .make_directory = true, .setting = "admin"};

std::string refusal_of(const std::string& path)
{
    try {
        ::close(bind_unix(path, as_admin).descriptor);
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return {};
}

unsigned mode_of(const std::string& path)
{
    struct stat s{};
    return ::lstat(path.c_str(), &s) == 0 ? s.st_mode & 0777 : 0;
}

TEST(AdminSocket, IsTheOwnersAloneInADirectoryOfTheOwners)
{
    const temp_dir dir;
    const mode_t before = ::umask(0);
    const bound_socket s = bind_unix(dir / "sub/admin.sock", as_admin);
    ::umask(before);
    EXPECT_EQ(mode_of(dir / "sub"), 0700U);
    EXPECT_EQ(mode_of(dir / "sub/admin.sock"), 0600U);
    ::close(s.descriptor);
}

TEST(AdminSocket, ADirectoryThatExistsKeepsItsMode)
{
    const temp_dir dir;
    ASSERT_EQ(::mkdir((dir / "sub").c_str(), 0750), 0);
    ::close(bind_unix(dir / "sub/admin.sock", as_admin).descriptor);
    EXPECT_EQ(mode_of(dir / "sub"), 0750U);
}

TEST(AdminSocket, AStaleFileIsReplaced)
{
    const temp_dir dir;
    const bound_socket first = bind_unix(dir / "admin.sock", as_admin);
    ::close(first.descriptor);  // the process died: the file stays
    const bound_socket second = bind_unix(dir / "admin.sock", as_admin);
    EXPECT_NE(first.inode, second.inode);
    EXPECT_TRUE(raw_client(dir / "admin.sock").connected());
    ::close(second.descriptor);
}

TEST(AdminSocket, ALivingOneIsLeftAlone)
{
    const temp_dir dir;
    const bound_socket first = bind_unix(dir / "admin.sock", as_admin);
    const std::string said = refusal_of(dir / "admin.sock");
    EXPECT_NE(said.find("another process listens there"), std::string::npos) << said;
    EXPECT_NE(said.find(dir / "admin.sock"), std::string::npos) << said;
    EXPECT_TRUE(raw_client(dir / "admin.sock").connected());
    ::close(first.descriptor);
}

TEST(AdminSocket, WhatIsNoSocketIsLeftAlone)
{
    const temp_dir dir;
    std::ofstream(dir / "admin.sock") << "precious";
    EXPECT_NE(refusal_of(dir / "admin.sock").find("is not a socket"), std::string::npos);
    EXPECT_TRUE(std::filesystem::is_regular_file(dir / "admin.sock"));
    ::mkdir((dir / "d").c_str(), 0700);
    EXPECT_NE(refusal_of(dir / "d").find("is a directory"), std::string::npos);
}

TEST(AdminSocket, APathThatIsTooLongIsNamedWithItsLengthAndTheBound)
{
    const temp_dir dir;
    const std::string path = dir / std::string(108 - dir.path().size(), 'x');
    const std::string said = refusal_of(path);
    EXPECT_NE(said.find("109 bytes"), std::string::npos) << said;
    EXPECT_NE(said.find("107"), std::string::npos) << said;
    EXPECT_EQ(refusal_of(dir / std::string(106 - dir.path().size(), 'x')),
              "");  // 107 bytes: the longest there is
}

TEST(AdminSocket, ADirectoryThatCannotBeMadeIsAnErrorWithARemedy)
{
    const temp_dir dir;
    std::ofstream(dir / "file") << "";
    EXPECT_NE(refusal_of(dir / "file/sub/admin.sock").find("directory"), std::string::npos);
}

TEST(AdminTcp, APortThatIsTakenIsAnErrorWithItsAddress)
{
    const std::uint16_t port = free_port();
    const int first = bind_tcp({"127.0.0.1", port});
    try {
        bind_tcp({"127.0.0.1", port});
        FAIL();
    } catch (const std::runtime_error& e) {
        EXPECT_NE(std::string(e.what()).find("127.0.0.1:" + std::to_string(port)), std::string::npos)
            << e.what();
    }
    ::close(first);
    EXPECT_THROW(bind_tcp({"localhost", 0}), std::runtime_error);
}

TEST(AdminPeer, TheKernelSaysWhoConnected)
{
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to connect as somebody else";
    control_plane plane;
    // Even where a careless operator opened the doors.
    ::chmod(plane.dir.path().c_str(), 0755);
    ::chmod((plane.dir / "admin").c_str(), 0755);
    ::chmod(plane.socket().c_str(), 0666);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(65533) != 0 || ::setuid(65533) != 0) ::_exit(1);
        raw_client client(plane.socket());
        client.send("GET /admin/v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n");
        const http_answer refused = client.answer();
        client.send("GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
        const bool right =
            refused.status == 403 && refused.read().contains("error") && client.answer().status == 403;
        ::_exit(right ? 0 : 2);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").status, 200);
}

}  // namespace
}  // namespace keyhole::proxy::test
