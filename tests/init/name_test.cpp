#include "sandbox-runtime/name.hpp"

#include <gtest/gtest.h>

namespace keyhole::runtime {
namespace {

TEST(PasswdLine, SaysWhoTheAgentIs)
{
    EXPECT_EQ(passwd_line({"agent", 1234, 1235, "/home/agent", "/bin/bash"}),
              "agent:x:1234:1235::/home/agent:/bin/bash\n");
    EXPECT_EQ(passwd_line({"agent", 1234, 1235, "/tmp/home-1234", ""}),
              "agent:x:1234:1235::/tmp/home-1234:/bin/sh\n");
}

TEST(PasswdLine, IsReadAsWhatWasWritten)
{
    const account who{"agent-7", 7, 8, "/h", "/s"};
    const auto read = find_by_uid(passwd_line(who), 7);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->name, who.name);
    EXPECT_EQ(read->gid, who.gid);
    EXPECT_EQ(read->home, who.home);
}

TEST(PasswdLine, IsNoneWhereAPartWouldBeALineOfItsOwn)
{
    EXPECT_EQ(passwd_line({"agent", 7, 7, "/h\nroot2:x:0:0::/:/bin/sh", ""}), "");
    EXPECT_EQ(passwd_line({"agent", 7, 7, "/h:x", ""}), "");
    EXPECT_EQ(passwd_line({"a:b", 7, 7, "/h", ""}), "");
    EXPECT_EQ(passwd_line({"", 7, 7, "/h", ""}), "");
}

}  // namespace
}  // namespace keyhole::runtime
