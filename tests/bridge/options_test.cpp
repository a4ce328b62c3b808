#include "bridge/options.hpp"
#include "tests/support/main_arguments.hpp"

#include <gtest/gtest.h>

#include <initializer_list>

namespace keyhole::bridge {
namespace {

struct parsed {
    parse_result result{};
    options values;
    std::string error;
};

parsed parse(std::vector<std::string> words, std::vector<std::string> environment = {})
{
    words.insert(words.begin(), "keyhole-bridge");
    test::main_arguments argv(std::move(words));
    test::main_arguments envp(std::move(environment));
    parsed p;
    p.result = parse_options(argv.count(), argv.values(), envp.values(), p.values, p.error);
    return p;
}

TEST(BridgeOptions, ServeBothLoopbacksByDefault)
{
    const parsed p = parse({});
    ASSERT_EQ(p.result, parse_result::run);
    EXPECT_EQ(p.values.socket, "/llm-sock/llm.sock");
    ASSERT_EQ(p.values.listen.size(), 2U);
    EXPECT_EQ(p.values.listen[0].host, "127.0.0.1");
    EXPECT_EQ(p.values.listen[1].host, "::1");
    EXPECT_EQ(p.values.listen[1].port, 8080);
}

TEST(BridgeOptions, TakeSocketAndPortFromTheEnvironmentAndPreferFlags)
{
    const std::vector<std::string> environment = {"LLM_PROXY_SOCKET=/a.sock", "LLM_PROXY_PORT=9000"};
    const parsed from_environment = parse({}, environment);
    EXPECT_EQ(from_environment.values.socket, "/a.sock");
    EXPECT_EQ(from_environment.values.listen[0].port, 9000);
    const parsed from_flags = parse({"--socket=/b.sock", "--listen", "127.0.0.1:1"}, environment);
    EXPECT_EQ(from_flags.values.socket, "/b.sock");
    ASSERT_EQ(from_flags.values.listen.size(), 1U);
    EXPECT_EQ(from_flags.values.listen[0].port, 1);
}

TEST(BridgeOptions, RefuseWhatIsNotMeant)
{
    for (const auto& words : std::initializer_list<std::vector<std::string>>{{"--listen", "0.0.0.0:8080"},
                                                                             {"--listen", "[::]:8080"},
                                                                             {"--listen", "127.0.0.1"},
                                                                             {"--listen", "127.0.0.1:0"},
                                                                             {"--listen", "127.0.0.1:65536"},
                                                                             {"--listen", "127.0.0.1:80x"},
                                                                             {"--listen", "::1:8080"},
                                                                             {"--listen", ":8080"},
                                                                             {"--listen", "example.com:80"},
                                                                             {"--token-fd", "-1"},
                                                                             {"--token-fd", "x"},
                                                                             {"--socket", ""},
                                                                             {"--max-connections", "0"},
                                                                             {"--connect-wait", "1e3"},
                                                                             {"--nonsense", "1"},
                                                                             {"--socket"},
                                                                             {"surplus"}})
    {
        const parsed p = parse(words);
        EXPECT_EQ(p.result, parse_result::wrong) << testing::PrintToString(words);
        EXPECT_FALSE(p.error.empty());
    }
    for (const char* port : {"0", "-1", "65536", "8080 ", "0x1f90", "127.0.0.1:8080"})
        EXPECT_EQ(parse({}, {std::string("LLM_PROXY_PORT=") + port}).result, parse_result::wrong) << port;
}

TEST(BridgeOptions, LeaveLoopbackOnlyWhenAskedTo)
{
    EXPECT_EQ(parse({"--listen", "0.0.0.0:8080", "--any-address"}).result, parse_result::run);
}

TEST(BridgeOptions, TakeInheritedSocketsInsteadOfBinding)
{
    const parsed p = parse({"--listen-fd", "3", "--listen-fd=4"});
    EXPECT_EQ(p.values.listen_fds, (std::vector<int>{3, 4}));
    EXPECT_TRUE(p.values.listen.empty());
}

}  // namespace
}  // namespace keyhole::bridge
