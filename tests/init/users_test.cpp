#include "sandbox-runtime/users.hpp"

#include <gtest/gtest.h>

namespace keyhole::runtime {
namespace {

TEST(ParseId, TakesDecimalNumbersThatAreIds)
{
    EXPECT_EQ(parse_id("0"), 0U);
    EXPECT_EQ(parse_id("1000"), 1000U);
    EXPECT_EQ(parse_id("4294967294"), 4294967294U);
}

TEST(ParseId, RefusesEverythingElse)
{
    for (const std::string& text :
         {std::string(), std::string("-1"), std::string("+1"), std::string(" 1"), std::string("1 "),
          std::string("1\n"), std::string("0x3e8"), std::string("1e3"), std::string("1000.0"),
          std::string("4294967295"), std::string("4294967296"), std::string("18446744073709551616"),
          std::string("agent"), std::string("1000:1000"), std::string("\0", 1), std::string("1\0", 2),
          std::string(5'000'000, '1')})
        EXPECT_FALSE(parse_id(text)) << text.substr(0, 40);
}

constexpr std::string_view passwd = "root:x:0:0:root:/root:/bin/bash\n"
                                    "# a comment\n"
                                    "agent:x:1000:1001:The Agent:/home/agent:/bin/sh\n"
                                    "broken:x:12\n"
                                    "overflow:x:4294967296:0::/:/bin/sh\n"
                                    "many:x:7:7::/:/bin/sh:surplus\n"
                                    "last:x:2000:2000::/tmp:";

TEST(Passwd, FindsByNameAndByUid)
{
    const auto agent = find_by_name(passwd, "agent");
    ASSERT_TRUE(agent);
    EXPECT_EQ(agent->uid, 1000U);
    EXPECT_EQ(agent->gid, 1001U);
    EXPECT_EQ(agent->home, "/home/agent");
    EXPECT_EQ(agent->shell, "/bin/sh");
    EXPECT_EQ(find_by_uid(passwd, 2000)->name, "last");
}

TEST(Passwd, SkipsLinesThatAreWrong)
{
    for (const std::string_view name : {"broken", "overflow", "many", "# a comment", "nobody", ""})
        EXPECT_FALSE(find_by_name(passwd, name)) << name;
    EXPECT_FALSE(find_by_name("", "root"));
    EXPECT_FALSE(find_by_name("\n\n:::::::\n", ""));
}

}  // namespace
}  // namespace keyhole::runtime
