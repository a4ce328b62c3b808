// KEY_STAYS_HOME begins here: locked, not dumpable, wiped, compared without telling where it differs.
#include "config/secret.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <type_traits>

namespace keyhole::config {
namespace {

static_assert(!std::is_copy_constructible_v<secret>);
static_assert(!std::is_convertible_v<secret, std::string_view>);

TEST(Secret, LiesInPagesThatAreLeftOutOfCoreDumps)
{
    const secret s("sk-CANARY");
    EXPECT_EQ(s.reveal(), "sk-CANARY");
    char address[32];
    std::snprintf(address, sizeof address, "%lx-", reinterpret_cast<unsigned long>(s.reveal().data()));
    std::ifstream maps("/proc/self/smaps");
    std::string line;
    bool here = false;
    bool not_dumped = false;
    while (std::getline(maps, line)) {
        if (line.find('-') != std::string::npos && line.find(" rw") != std::string::npos)
            here = line.starts_with(address);
        if (here && line.starts_with("VmFlags:")) not_dumped = line.find(" dd") != std::string::npos;
    }
    EXPECT_TRUE(not_dumped);
}

TEST(Secret, ComparesWholeValues)
{
    EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
    EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
    EXPECT_TRUE(equal_in_constant_time("", ""));
}

TEST(Secret, WipesWhatItIsToldTo)
{
    std::string text = "secret";
    wipe(text.data(), text.size());
    EXPECT_EQ(text, std::string(6, '\0'));
}

}  // namespace
}  // namespace keyhole::config
