// The command line goes over the environment, the environment over the file, the file over the default.
#include "tests/config/fixture.hpp"

#include <gmock/gmock.h>

namespace keyhole::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Layers : public config_fixture {};

TEST_F(Layers, TheStrongerSourceWins)
{
    const std::string_view file = "[log]\nlevel = \"warn\"\n[server]\nworkers = 2";
    EXPECT_EQ(good("").log.level, log_level::info);
    EXPECT_EQ(good(file).log.level, log_level::warn);
    environment["KEYHOLE_LOG_LEVEL"] = "error";
    environment["KEYHOLE_SERVER_WORKERS"] = "3";
    EXPECT_EQ(good(file).log.level, log_level::error);
    EXPECT_EQ(good(file).workers, 3U);
    overrides["log.level"] = "debug";
    overrides["server.workers"] = "4";
    EXPECT_EQ(good(file).log.level, log_level::debug);
    EXPECT_EQ(good(file).workers, 4U);
}

TEST_F(Layers, ValuesFromOutsideAreTomlOrBareText)
{
    overrides = {
        {"log.level", "\"debug\""},        {"agents.sockets", "[\"/a/s\", \"/b/s\"]"},
        {"agents.socket_mode", "0600"},    {"agents.tcp", "[::1]:81"},
        {"server.shutdown_grace", "2.5"},  {"sessions.budget_headers", "true"},
        {"state.directory", "/srv/state"}, {"prices", "[{path = \"/dev/null\", format = \"litellm\"}]"}};
    const settings s = good("");
    EXPECT_EQ(s.log.level, log_level::debug);
    EXPECT_EQ(s.agents.sockets.size(), 2U);
    EXPECT_EQ(s.agents.socket_mode, 0600U);
    ASSERT_EQ(s.agents.tcp.size(), 1U);
    EXPECT_EQ(s.agents.tcp[0].port, 81);
    EXPECT_EQ(s.shutdown_grace, 2.5);
    EXPECT_TRUE(s.sessions.budget_headers);
    EXPECT_EQ(s.store.directory, "/srv/state");
    ASSERT_EQ(s.prices.size(), 1U);
}

TEST_F(Layers, BareTextThatLooksLikeANumberIsStillTheTextThatWasWanted)
{
    overrides["state.directory"] = "/1";
    overrides["log.level"] = "1";
    EXPECT_THAT(
        bad(""),
        ElementsAre("--set log.level: not a value that it can have (one of: debug, info, warn, error)"));
}

TEST_F(Layers, AValueFromOutsideCannotCarryOtherKeys)
{
    overrides["server.workers"] = "1\n[log]\nlevel = \"debug\"";
    EXPECT_THAT(bad(""), ElementsAre(HasSubstr("server.workers: expected a whole number, got a string")));
    overrides["server.workers"] = "1 # \nx = 2";
    EXPECT_THAT(bad(""), ElementsAre(HasSubstr("expected a whole number")));
}

TEST_F(Layers, ANameForTheSameThingFromAStrongerSourceReplacesTheWeaker)
{
    environment["KEYHOLE_AGENTS_SOCKET"] = "/env/llm.sock";
    EXPECT_THAT(good("[agents]\nsockets = [\"/file/llm.sock\"]").agents.sockets,
                ElementsAre("/env/llm.sock"));
    overrides["agents.sockets"] = "[\"/set/llm.sock\"]";
    EXPECT_THAT(good("[agents]\nsockets = [\"/file/llm.sock\"]").agents.sockets,
                ElementsAre("/set/llm.sock"));
    environment["KEYHOLE_AGENTS_SOCKETS"] = "/other/llm.sock";
    overrides.clear();
    EXPECT_THAT(bad(""), ElementsAre(HasSubstr("stands beside sockets")));
}

TEST_F(Layers, AnEmptyVariableIsNotSet)
{
    environment["KEYHOLE_LOG_LEVEL"] = "";
    environment["KEYHOLE_NO_SUCH"] = "";
    environment["MISTRAL_API_KEY"] = "";
    const settings s = good("[log]\nlevel = \"warn\"");
    EXPECT_EQ(s.log.level, log_level::warn);
    EXPECT_EQ(s.providers.size(), 1U);
}

TEST_F(Layers, AVariableThatNamesNoKeyIsAMistake)
{
    environment["KEYHOLE_LOG_LEVLE"] = "debug";
    environment["KEYHOLE_PROVIDERS_OPENAI_BASEURL"] = "x";
    environment["KEYHOLE_PROVIDER_MISTRAL_KEY"] = "x";
    EXPECT_THAT(bad(""),
                ElementsAre("environment KEYHOLE_LOG_LEVLE: names no key (did you mean KEYHOLE_LOG_LEVEL?)",
                            "environment KEYHOLE_PROVIDERS_OPENAI_BASEURL: names no key (did you mean "
                            "KEYHOLE_PROVIDERS_OPENAI_BASE_URL?)",
                            "environment KEYHOLE_PROVIDER_MISTRAL_KEY: names no key (did you mean "
                            "KEYHOLE_PROVIDERS_MISTRAL_KEY?)"));
}

TEST_F(Layers, VariablesOfOthersAreLeftAlone)
{
    for (const char* name :
         {"KEYHOLE_CONFIG", "KEYHOLE_SERVICE_HOST", "KEYHOLE_SERVICE_PORT", "KEYHOLE_SERVICE_PORT_HTTP",
          "KEYHOLE_PORT", "KEYHOLE_PORT_8080_TCP", "KEYHOLE_PORT_8080_TCP_ADDR", "KEYHOLE_ADMIN_SERVICE_HOST",
          "KEYHOLE_ADMIN_PORT", "KEYHOLE_ADMIN_PORT_80_TCP_PROTO", "KEYHOLE_ALLOW_SECRETS", "KEYHOLE_LONG",
          "OPENAI_BASE_URL", "OPENAI_API_BASE", "XKEYHOLE_Y"})
    {
        environment[name] = "tcp://10.0.0.1:8080";
    }
    EXPECT_EQ(good("").providers.at(0).host, "api.openai.com");
}

TEST_F(Layers, ProvidersCanBeConfiguredWithoutAFile)
{
    environment.clear();
    environment["KEYHOLE_PROVIDERS_LOCAL_API"] = "openai";
    environment["KEYHOLE_PROVIDERS_LOCAL_BASE_URL"] = "http://127.0.0.1:8000/v1";
    environment["KEYHOLE_PROVIDERS_LOCAL_KEY"] = "sk-local-0123456789";
    environment["KEYHOLE_PROVIDERS_MISTRAL_KEY_FILE"] = write("keys/mistral", "sk-mistral-0123456789\n");
    overrides["providers.local.idle_timeout"] = "5";
    const settings s = good(loaded_without_file());
    ASSERT_EQ(s.providers.size(), 2U);
    EXPECT_EQ(s.providers[0].name, "mistral");
    EXPECT_EQ(s.providers[0].keys.at(0)->reveal(), "sk-mistral-0123456789");
    EXPECT_EQ(s.providers[1].name, "local");
    EXPECT_EQ(s.providers[1].keys.at(0)->reveal(), "sk-local-0123456789");
    EXPECT_EQ(s.providers[1].idle_timeout, 5);
    EXPECT_THAT(s.notes, Contains("local: key from KEYHOLE_PROVIDERS_LOCAL_KEY"));
}

TEST_F(Layers, AVariableFindsTheConfiguredProviderOfThatSpelling)
{
    environment["KEYHOLE_PROVIDERS_MY_VLLM_BASE_URL"] = "http://127.0.0.1:9/v1";
    const settings s = good(
        "[providers.my-vllm]\napi = \"openai\"\nbase_url = \"http://127.0.0.1:8/v1\"\ncredential = \"none\"");
    ASSERT_EQ(s.providers.size(), 2U);
    EXPECT_EQ(s.providers[1].port, 9);
}

TEST_F(Layers, TheAdminTokenComesFromTheEnvironmentOrAFile)
{
    environment["KEYHOLE_ADMIN_TCP"] = "127.0.0.1:8090";
    environment["KEYHOLE_ADMIN_TOKEN"] = "a-token-of-some-length";
    EXPECT_EQ(good("").admin.token->reveal(), "a-token-of-some-length");
    environment["KEYHOLE_ADMIN_TOKEN_FILE"] = write("keys/admin", "another-token-of-some-length\n");
    EXPECT_THAT(bad(""),
                Contains(HasSubstr("KEYHOLE_ADMIN_TOKEN and KEYHOLE_ADMIN_TOKEN_FILE are both set")));
    environment.erase("KEYHOLE_ADMIN_TOKEN");
    EXPECT_EQ(good("").admin.token->reveal(), "another-token-of-some-length");
    environment.erase("KEYHOLE_ADMIN_TOKEN_FILE");
    environment["MY_TOKEN"] = "yet-another-token-here";
    environment["KEYHOLE_ADMIN_TOKEN"] = "env:MY_TOKEN";
    EXPECT_EQ(good("").admin.token->reveal(), "yet-another-token-here");
}

TEST_F(Layers, AnOrchestratorOfGhostProxyHasItsTokenAlready)
{
    environment["GHOSTPROXY_ADMIN_TOKEN"] = "ghosts-token-of-some-length";
    EXPECT_EQ(good("[admin]\ntcp = \"127.0.0.1:8090\"").admin.token->reveal(), "ghosts-token-of-some-length");
    environment["KEYHOLE_ADMIN_TOKEN"] = "our-token-of-some-length";
    EXPECT_EQ(good("[admin]\ntcp = \"127.0.0.1:8090\"").admin.token->reveal(), "our-token-of-some-length");
    environment.erase("KEYHOLE_ADMIN_TOKEN");
    environment["T"] = "the-files-token-of-some-length";
    EXPECT_EQ(good("[admin]\ntoken = \"env:T\"").admin.token->reveal(), "the-files-token-of-some-length");
}

TEST_F(Layers, OverridesThatNameNothingAreMistakes)
{
    struct row {
        const char* key;
        const char* said;
    };
    for (const row& r :
         {row{"", "not the name of a key"}, row{"log.", "not the name of a key"},
          row{"log..level", "not the name of a key"}, row{"loglevel", "unknown key"},
          row{"log.levl", "--set log.levl: unknown key (did you mean level?)"},
          row{"log.level.x", "expected a string, got a section"}, row{"providers", "expected a section"},
          row{"providers.openai", "expected a section"}, row{"providers.openai.url", "unknown key"}})
    {
        overrides = {{r.key, "1"}};
        EXPECT_THAT(bad(""), Contains(HasSubstr(r.said))) << r.key;
    }
    overrides = {{"log.level.x", "1"}};
    EXPECT_THAT(bad("[log]\nlevel = \"info\""), Contains(HasSubstr("is no section")));
}

TEST_F(Layers, TheProcessEnvironmentIsTheDefault)
{
    ::setenv("KEYHOLE_LOG_FORMAT", "json", 1);
    ::setenv("GROQ_API_KEY", "gsk-0123456789", 1);
    const auto result = load({});
    ::unsetenv("KEYHOLE_LOG_FORMAT");
    ::unsetenv("GROQ_API_KEY");
    const settings s = good(result);
    EXPECT_EQ(s.log.format, log_format::json);
    EXPECT_FALSE(s.providers.empty());
}

}  // namespace
}  // namespace keyhole::config
