#include "sandbox-runtime/environment.hpp"

#include <gtest/gtest.h>

namespace keyhole::runtime {
namespace {

environment from(std::vector<std::string> entries, const std::vector<std::string>& keep = {},
                 const std::vector<std::string>& drop = {})
{
    std::vector<char*> pointers;
    for (std::string& entry : entries)
        pointers.push_back(entry.data());
    pointers.push_back(nullptr);
    return environment(pointers.data(), keep, drop);
}

TEST(AgentEnvironment, TOKEN_STAYS_HOME_LeavesOutWhatBelongsToTheOrchestrator)
{
    const environment env =
        from({"SESSION_TOKEN=t", "SESSION_ID=i", "SESSION_TOKEN_FILE=f", "CONTROL_PLANE_URL=u", "CONTROL_X=y",
              "KEYHOLE_ALLOW_SECRETS=z", "PATH=/bin", "SESSION_NAME=mine"},
             {"SESSION_TOKEN", "CONTROL_X"});
    EXPECT_EQ(env.entries(), (std::vector<std::string>{"PATH=/bin", "SESSION_NAME=mine"}));
}

TEST(AgentEnvironment, TOKEN_STAYS_HOME_LeavesOutWhateverElseTheOrchestratorNames)
{
    const environment env = from({"RUN_TOKEN=t", "FLEET_URL=u", "FLEET=v", "FLEETING=w", "PATH=/bin"},
                                 {"RUN_TOKEN"}, {"RUN_TOKEN", "FLEET_*", "FLEET"});
    EXPECT_EQ(env.entries(), (std::vector<std::string>{"FLEETING=w", "PATH=/bin"}));
    EXPECT_TRUE(env.is_dropped("FLEET_X"));
    EXPECT_FALSE(env.is_dropped("PATH"));
}

TEST(AgentEnvironment, LeavesOutInheritedDescriptorsAnnouncements)
{
    EXPECT_TRUE(
        from({"LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=x", "NOTIFY_SOCKET=@x"}).entries().empty());
}

TEST(AgentEnvironment, LeavesOutLoadersUnlessTheyAreWanted)
{
    const std::vector<std::string> entries = {
        "LD_PRELOAD=/x.so", "LD_LIBRARY_PATH=/x",       "BASH_ENV=/x",       "ENV=/x", "NODE_OPTIONS=--x",
        "PYTHONSTARTUP=/x", "BASH_FUNC_ls%%=() { :; }", "GIT_SSH_COMMAND=x", "LANG=C"};
    EXPECT_EQ(from(entries).entries(), (std::vector<std::string>{"LANG=C"}));
    EXPECT_EQ(from(entries).left_out().size(), entries.size() - 1);
    EXPECT_EQ(from(entries, {"NODE_OPTIONS"}).get("NODE_OPTIONS"), "--x");
}

TEST(AgentEnvironment, SurvivesEntriesThatAreNone)
{
    EXPECT_TRUE(from({"", "=x", "NOEQUALS"}).entries().empty());
    EXPECT_EQ(from({"A=", "B=x=y"}).get("B"), "x=y");
    EXPECT_FALSE(from({"A="}).has("A"));
}

TEST(ClientDefaults, PointEverySdkAtTheBridge)
{
    environment env;
    add_client_defaults(env, 8181);
    EXPECT_EQ(env.get("OPENAI_API_BASE"), "http://127.0.0.1:8181/v1");
    for (const char* name : {"OPENAI_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL"})
        EXPECT_EQ(env.get(name), "http://127.0.0.1:8181/v1") << name;
    for (const char* name : {"ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL",
                             "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"})
        EXPECT_EQ(env.get(name), "http://127.0.0.1:8181") << name;
    for (const char* name :
         {"OPENAI_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GEMINI_API_KEY", "NO_PROXY", "no_proxy"})
        EXPECT_TRUE(env.has(name)) << name;
    EXPECT_FALSE(env.has("ANTHROPIC_API_KEY"));
}

TEST(Environment, LosesEveryVariableThatHoldsASecret)
{
    environment env = from({"A=kh_secret_1", "B=Bearer kh_secret_1", "C=other", "kh_secret_1=name"});
    EXPECT_EQ(env.remove_all_with("kh_secret_1"), (std::vector<std::string>{"A", "B"}));
    EXPECT_FALSE(env.has("A"));
    EXPECT_EQ(env.get("C"), "other");
    EXPECT_EQ(env.entries().size(), 2U);
}

TEST(ClientDefaults, KeepWhatIsSet)
{
    environment env = from({"OPENAI_API_BASE=http://localhost:8080", "OPENAI_API_KEY=kh_mine",
                            "ANTHROPIC_API_KEY=kh_mine", "GOOGLE_API_KEY=kh_mine"});
    add_client_defaults(env, 8080);
    EXPECT_EQ(env.get("OPENAI_API_BASE"), "http://localhost:8080");
    EXPECT_EQ(env.get("OPENAI_API_KEY"), "kh_mine");
    EXPECT_FALSE(env.has("ANTHROPIC_AUTH_TOKEN")) << "two credentials make Claude Code warn";
    EXPECT_FALSE(env.has("GEMINI_API_KEY"));
}

TEST(ClientDefaults, AnAddressThatServersUseTooPromisesNoModel)
{
    EXPECT_TRUE(expects_a_proxy(from({"ANTHROPIC_BASE_URL=http://localhost:8080"})));
    EXPECT_FALSE(expects_a_proxy(from({"OLLAMA_HOST=0.0.0.0"})));
}

TEST(ClientDefaults, AnEmptyValueIsNoneSet)
{
    environment env = from({"OPENAI_API_BASE="});
    EXPECT_FALSE(expects_a_proxy(env));
    add_client_defaults(env, 8080);
    EXPECT_EQ(env.get("OPENAI_API_BASE"), "http://127.0.0.1:8080/v1");
}

TEST(Tripwire, NamesTheVariableAndHonoursTheAllowance)
{
    std::string value = "sk-";
    for (int i = 0; i < 12; ++i)
        value += "aB3d";
    const environment env = from({"LANG=C", "OPENAI_API_KEY=" + value});
    EXPECT_EQ(find_provider_key(env, {}), "OPENAI_API_KEY");
    EXPECT_EQ(find_provider_key(env, {"OTHER"}), "OPENAI_API_KEY");
    EXPECT_EQ(find_provider_key(env, {"OPENAI_API_KEY"}), "");
}

TEST(Words, AreSplitAtBlanksAndCommas)
{
    EXPECT_EQ(split_words(" a,b  c\t\nd,"), (std::vector<std::string>{"a", "b", "c", "d"}));
    EXPECT_TRUE(split_words(" ,, ").empty());
}

}  // namespace
}  // namespace keyhole::runtime
