#include "bridge/system.hpp"
#include "sandbox-runtime/settings.hpp"
#include "tests/support/main_arguments.hpp"

#include <gtest/gtest.h>

namespace keyhole::runtime {
namespace {

struct parsed {
    settings_result result{};
    settings values;
    std::string error;
};

parsed read(std::vector<std::string> words, std::vector<std::string> environment = {})
{
    words.insert(words.begin(), "keyhole-init");
    test::main_arguments argv(std::move(words));
    test::main_arguments envp(std::move(environment));
    parsed p;
    p.result = read_settings(argv.count(), argv.values(), envp.values(), p.values, p.error);
    return p;
}

using words = std::vector<std::string>;

TEST(InitSettings, TakeTheCommandFromTheArgumentsAsTheyAre)
{
    EXPECT_EQ(read({"--", "claude", "-p", "two words", "--", "--help"}).values.command,
              (words{"claude", "-p", "two words", "--", "--help"}));
    EXPECT_EQ(read({"env", "--help"}).values.command, (words{"env", "--help"}));
    EXPECT_EQ(read({"--grace", "5", "ls"}).values.command, (words{"ls"}));
}

TEST(InitSettings, PreferTheCommandOfTheEnvironment)
{
    EXPECT_EQ(read({"--", "bash"}, {"AGENT_COMMAND=echo", "AGENT_ARGS=hello  from sandbox"}).values.command,
              (words{"echo", "hello", "from", "sandbox"}));
}

TEST(InitSettings, TakeAJsonArrayOfArgumentsExactly)
{
    EXPECT_EQ(read({}, {"AGENT_COMMAND=echo",
                        R"(AGENT_ARGS= ["two words", "", "a,b", "\u00e9\ud83d\ude00\n\"\\"] )"})
                  .values.command,
              (words{"echo", "two words", "", "a,b", "\xC3\xA9\xF0\x9F\x98\x80\n\"\\"}));
    EXPECT_EQ(read({}, {"AGENT_COMMAND=echo", "AGENT_ARGS=[]"}).values.command, (words{"echo"}));
    EXPECT_EQ(read({}, {"AGENT_COMMAND=echo", "AGENT_ARGS=a,b c"}).values.command,
              (words{"echo", "a,b", "c"}));
    for (const char* wrong :
         {"[", "[\"a\"", "[1]", "[\"a\" \"b\"]", "[\"a\"] x", "[\"\\x\"]", "[\"\\u0000\"]", "[\"\\ud800\"]",
          "[\"\\udc00\"]", "[\"\n\"]", "[\"a\",]", "[null]"})
    {
        const parsed p = read({}, {"AGENT_COMMAND=echo", std::string("AGENT_ARGS=") + wrong});
        EXPECT_EQ(p.result, settings_result::wrong) << wrong;
        EXPECT_NE(p.error.find("AGENT_ARGS"), std::string::npos) << p.error;
    }
}

TEST(InitSettings, RewriteSignalsAndForgiveOneExitCode)
{
    const parsed p = read({"--rewrite", "15:2", "--rewrite", "64:1", "--ok-exit", "143", "ls"});
    EXPECT_EQ(p.values.signals[15], 2);
    EXPECT_EQ(p.values.signals[64], 1);
    EXPECT_EQ(p.values.signals[2], 2);
    EXPECT_EQ(p.values.ok_exit, 143);
    for (const char* wrong : {"15", "0:2", "15:0", "65:2", "15:65", "15:", ":2", "TERM:INT", "15:2:3"})
        EXPECT_EQ(read({"--rewrite", wrong, "ls"}).result, settings_result::wrong) << wrong;
    EXPECT_EQ(read({"--ok-exit", "256", "ls"}).result, settings_result::wrong);
}

TEST(InitSettings, GiveNothingToAShellThatDidNotAskForOne)
{
    EXPECT_EQ(read({"--", "echo hello | wc"}).values.command, (words{"echo hello | wc"}));
    EXPECT_EQ(read({"/opt/my agent/run"}).values.command, (words{"/opt/my agent/run"}));
    EXPECT_EQ(read({}, {"AGENT_COMMAND=/opt/my agent/run"}).values.command, (words{"/opt/my agent/run"}));
}

TEST(InitSettings, HaveNothingOfTheirOwnBehindTwoHyphens)
{
    for (const char* word : {"doctor", "--check", "--help", "--version", "--"}) {
        const parsed p = read({"--", word, "--json"});
        EXPECT_EQ(p.values.doctor, look::none) << word;
        EXPECT_EQ(p.values.command, (words{word, "--json"}));
    }
}

TEST(InitSettings, RefuseArgumentsOfNoCommand)
{
    const parsed p = read({"bash"}, {"AGENT_ARGS=-c x"});
    EXPECT_EQ(p.result, settings_result::wrong);
    EXPECT_NE(p.error.find("AGENT_COMMAND"), std::string::npos) << p.error;
}

TEST(InitSettings, TakeSwitchesInEveryUsualWordAndNoOther)
{
    for (const char* on : {"1", "true", "on", "yes", "TRUE", "On"}) {
        EXPECT_TRUE(read({"ls"}, {std::string("KEYHOLE_ADOPT=") + on}).values.adopt) << on;
        EXPECT_TRUE(read({"ls"}, {std::string("KEYHOLE_SINGLE_UID=") + on}).values.single_uid) << on;
    }
    for (const char* off : {"0", "false", "off", "no", "Off"})
        EXPECT_FALSE(read({"ls"}, {std::string("KEYHOLE_SECCOMP=") + off}).values.filter) << off;
    EXPECT_EQ(read({"ls"}, {"KEYHOLE_HAND_OFF=off"}).values.hand_off, "no");
    EXPECT_EQ(read({"ls"}).values.hand_off, "");
    EXPECT_TRUE(read({"ls"}).values.bridge_restart);
    EXPECT_FALSE(read({"ls"}, {"KEYHOLE_BRIDGE_RESTART=no"}).values.bridge_restart);
    EXPECT_FALSE(read({"ls"}).values.new_session);
    EXPECT_TRUE(read({"ls"}, {"KEYHOLE_NEW_SESSION=1"}).values.new_session);
    for (const char* name : {"KEYHOLE_ADOPT", "KEYHOLE_SINGLE_UID", "KEYHOLE_SECCOMP", "KEYHOLE_HAND_OFF",
                             "KEYHOLE_BRIDGE_RESTART", "KEYHOLE_NEW_SESSION"})
        for (const char* wrong : {"maybe", "2", " 1", "y"}) {
            const parsed p = read({"ls"}, {std::string(name) + "=" + wrong});
            EXPECT_EQ(p.result, settings_result::wrong) << name << "=" << wrong;
            EXPECT_NE(p.error.find(name), std::string::npos) << p.error;
        }
}

TEST(InitSettings, NeedACommandUnlessTheyOnlyLookAround)
{
    EXPECT_EQ(read({}).result, settings_result::wrong);
    EXPECT_EQ(read({"--check"}).result, settings_result::run);
    EXPECT_EQ(read({"doctor"}).values.doctor, look::text);
    EXPECT_EQ(read({"doctor", "--json"}).values.doctor, look::json);
    EXPECT_EQ(read({"--subreaper", "doctor", "--json"}).values.doctor, look::json);
    EXPECT_EQ(read({"doctor", "who"}).result, settings_result::wrong);
    EXPECT_EQ(read({"--", "env", "doctor"}).values.doctor, look::none);
}

TEST(InitSettings, RefuseWrongValuesByName)
{
    for (const char* entry :
         {"LLM_PROXY_PORT=0", "LLM_PROXY_PORT=65536", "LLM_PROXY_PORT=80a", "KEYHOLE_GRACE=-1",
          "KEYHOLE_PROXY_WAIT=1.5", "KEYHOLE_CONNECT_WAIT=3601", "KEYHOLE_CONNECT_WAIT=soon",
          "KEYHOLE_MAX_CONNECTIONS=0", "KEYHOLE_MAX_CONNECTIONS=1000001"})
    {
        const parsed p = read({"ls"}, {entry});
        EXPECT_EQ(p.result, settings_result::wrong) << entry;
        EXPECT_NE(p.error.find(std::string(entry).substr(0, std::string(entry).find('='))), std::string::npos)
            << p.error;
    }
    EXPECT_EQ(read({"--nonsense", "ls"}).result, settings_result::wrong);
    EXPECT_EQ(read({"--grace"}).result, settings_result::wrong);
}

constexpr std::string_view passwd =
    "root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/bash\n"
    "other:x:1001:1002::/home/other:/bin/sh\nkeyhole-bridge:x:998:998::/:/bin/false\n";

struct account_case {
    const char* what;
    words environment;
    std::uint32_t own_uid;
    int code;
    std::uint32_t uid;
    std::uint32_t gid;
};

class Accounts : public testing::TestWithParam<account_case> {};

TEST_P(Accounts, AreWhoTheyShouldBe)
{
    const account_case& c = GetParam();
    const bool doctor = !c.environment.empty() && c.environment.front() == "DOCTOR";
    parsed p = read({doctor ? "doctor" : "ls"}, c.environment);
    std::string error;
    ASSERT_EQ(resolve_accounts(p.values, passwd, c.own_uid, c.own_uid, error), c.code) << error;
    if (c.code != 0) {
        EXPECT_FALSE(error.empty());
        return;
    }
    EXPECT_EQ(p.values.agent.uid, c.uid);
    EXPECT_EQ(p.values.agent.gid, c.gid);
    if (p.values.single_uid) return;
    EXPECT_NE(p.values.agent.uid, 0U);
    EXPECT_NE(p.values.agent.gid, 0U);
    EXPECT_NE(p.values.bridge.uid, p.values.agent.uid);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Accounts,
    testing::Values(
        account_case{"the usual", {}, 0, 0, 1000, 1000},
        account_case{"a name", {"AGENT_USER=other"}, 0, 0, 1001, 1002},
        account_case{"a number as name", {"AGENT_USER=1001"}, 0, 0, 1001, 1002},
        account_case{"ids without an entry", {"AGENT_UID=5000", "AGENT_GID=6000"}, 0, 0, 5000, 6000},
        account_case{"a uid alone", {"AGENT_UID=5000"}, 0, 0, 5000, 5000},
        account_case{"a gid alone", {"AGENT_GID=6000"}, 0, 0, 1000, 6000},
        account_case{"nobody by that name", {"AGENT_USER=nobody-here"}, 0, sys::exit_no_user, 0, 0},
        account_case{"root by name", {"AGENT_USER=root"}, 0, sys::exit_usage, 0, 0},
        account_case{"root by number", {"AGENT_UID=0"}, 0, sys::exit_usage, 0, 0},
        account_case{"root's group", {"AGENT_GID=0"}, 0, sys::exit_usage, 0, 0},
        account_case{"the bridge's uid", {"AGENT_UID=998"}, 0, sys::exit_usage, 0, 0},
        account_case{"minus one", {"AGENT_UID=-1"}, 0, sys::exit_usage, 0, 0},
        account_case{"setresuid's unchanged", {"AGENT_UID=4294967295"}, 0, sys::exit_usage, 0, 0},
        account_case{"an overflow to root", {"AGENT_UID=4294967296"}, 0, sys::exit_usage, 0, 0},
        account_case{"a trailing blank", {"AGENT_UID=1000 "}, 0, sys::exit_usage, 0, 0},
        account_case{"hexadecimal", {"AGENT_UID=0x3e8"}, 0, sys::exit_usage, 0, 0},
        account_case{"an exponent", {"AGENT_UID=1e3"}, 0, sys::exit_usage, 0, 0},
        account_case{"a line feed", {"AGENT_UID=1000\nroot"}, 0, sys::exit_usage, 0, 0},
        account_case{"not started as root", {}, 1000, 0, 1000, 1000},
        account_case{"another uid without root", {"AGENT_UID=1001"}, 1000, sys::exit_usage, 0, 0},
        account_case{"the same uid without root", {"AGENT_UID=1000"}, 1000, 0, 1000, 1000},
        account_case{"started as the bridge", {}, 998, sys::exit_usage, 0, 0},
        account_case{"the doctor started as the bridge", {"DOCTOR"}, 998, 0, 998, 998},
        account_case{"a name that fits", {"AGENT_USER=other"}, 1001, 0, 1001, 1001},
        account_case{"a number that fits", {"AGENT_USER=1234"}, 1234, 0, 1234, 1234},
        account_case{"a name that does not fit", {"AGENT_USER=other"}, 1000, sys::exit_no_user, 0, 0},
        account_case{"a name nobody has", {"AGENT_USER=bob"}, 1000, sys::exit_no_user, 0, 0},
        account_case{"root on purpose", {"KEYHOLE_SINGLE_UID=1"}, 0, 0, 0, 0}),
    [](const auto& each) {
        std::string name;
        for (const char c : std::string_view(each.param.what))
            if (c != ' ' && c != '\'') name += c;
        return name;
    });

}  // namespace
}  // namespace keyhole::runtime
