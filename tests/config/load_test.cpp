// The configuration: precedence, strictness, and messages that say where, what and how to mend it.
#include "config/keys.hpp"
#include "config/load.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <unistd.h>

namespace keyhole::config {
namespace {

using ::testing::HasSubstr;

class Load : public ::testing::Test {
protected:
    Load()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "keyhole-config-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        environment_["OPENAI_API_KEY"] = "sk-proj-CANARY";
    }
    ~Load() override { std::filesystem::remove_all(directory_); }

    std::string write(const std::string& name, const std::string& text)
    {
        const auto path = (directory_ / name).string();
        std::ofstream(path) << text;
        return path;
    }

    std::variant<settings, std::vector<problem>> load_text(const std::string& text)
    {
        sources from;
        from.file = text.empty() ? "" : write("keyhole.toml", text);
        from.overrides = overrides_;
        from.getenv = [this](const char* name) -> const char* {
            const auto at = environment_.find(name);
            return at == environment_.end() ? nullptr : at->second.c_str();
        };
        for (const auto& [name, value] : environment_)
            from.environment_names.push_back(name);
        return load(from);
    }

    settings good(const std::string& text)
    {
        auto out = load_text(text);
        if (const auto* bad = std::get_if<std::vector<problem>>(&out)) {
            for (const auto& p : *bad)
                ADD_FAILURE() << to_string(p);
            return {};
        }
        return std::get<settings>(std::move(out));
    }

    /// The messages, one a line.
    std::string bad(const std::string& text)
    {
        auto out = load_text(text);
        std::string all;
        if (const auto* problems = std::get_if<std::vector<problem>>(&out))
            for (const auto& p : *problems)
                all += to_string(p) + '\n';
        else
            ADD_FAILURE() << "accepted: " << text;
        return all;
    }

    std::filesystem::path directory_;
    std::map<std::string, std::string> environment_;
    std::map<std::string, std::string> overrides_;
};

TEST_F(Load, NeedsNoFileWhenAKeyIsInTheEnvironment)
{
    const auto s = good("");
    ASSERT_EQ(s.providers.size(), 1U);
    EXPECT_EQ(s.providers[0].name, "openai");
    EXPECT_EQ(s.providers[0].host, "api.openai.com");
    EXPECT_EQ(s.providers[0].base_path, "/v1");
    EXPECT_EQ(s.providers[0].keys.at(0)->reveal(), "sk-proj-CANARY");
}

TEST_F(Load, SaysWhatToDoWhenNoProviderIsConfigured)
{
    environment_.clear();
    EXPECT_THAT(bad(""), HasSubstr("set OPENAI_API_KEY or ANTHROPIC_API_KEY"));
}

TEST_F(Load, CommandLineOverEnvironmentOverFileOverDefault)
{
    EXPECT_EQ(good("").bounds.head_timeout, 15);
    EXPECT_EQ(good("[limits]\nhead_timeout = 1\n").bounds.head_timeout, 1);
    environment_["KEYHOLE_LIMITS_HEAD_TIMEOUT"] = "2";
    EXPECT_EQ(good("[limits]\nhead_timeout = 1\n").bounds.head_timeout, 2);
    overrides_["limits.head_timeout"] = "3";
    EXPECT_EQ(good("[limits]\nhead_timeout = 1\n").bounds.head_timeout, 3);
}

TEST_F(Load, NamesTheLineOfEveryMistakeAtOnce)
{
    const auto text = bad("[log]\nlevle = \"info\"\nformat = 3\n[limits]\nhead_timeout = -1\n[logg]\n");
    EXPECT_THAT(text, HasSubstr("keyhole.toml:2: log.levle: unknown key (did you mean log.level?)"));
    EXPECT_THAT(text, HasSubstr("keyhole.toml:3: log.format: expected a string"));
    EXPECT_THAT(text, HasSubstr("keyhole.toml:5: limits.head_timeout: is out of range"));
    EXPECT_THAT(text, HasSubstr("keyhole.toml:6: logg: unknown section (did you mean [log]?)"));
}

TEST_F(Load, RefusesDuplicatesAndBrokenTomlWithTheLine)
{
    EXPECT_THAT(bad("[log]\nlevel = \"info\"\nlevel = \"warn\"\n"), HasSubstr("keyhole.toml:3"));
    EXPECT_THAT(bad("[log\n"), HasSubstr("keyhole.toml:1"));
    EXPECT_THAT(bad("[="), HasSubstr("keyhole.toml:1"));
    EXPECT_THAT(bad("# fine: ü\n[log]\nlevel\u00a0= \"info\"\n"), HasSubstr("keyhole.toml:3"));
}

TEST_F(Load, SecretsStandInTheConfigurationByReferenceOnlyAndAreNeverEchoed)
{
    const auto text = bad("[providers.openai]\nkey = \"sk-proj-LITERALCANARY\"\n");
    EXPECT_THAT(text, HasSubstr("write env:NAME or file:/path"));
    EXPECT_EQ(text.find("LITERALCANARY"), std::string::npos);
    EXPECT_THAT(bad("[providers.openai]\nkey = \"env:NOPE\"\n"), HasSubstr("the environment has no NOPE"));
    EXPECT_THAT(bad("[providers.openai]\nkey = \"file:/nonexistent/key\"\n"), HasSubstr("cannot be read"));
    const auto empty = write("empty", "\n");
    EXPECT_THAT(bad("[providers.openai]\nkey = \"file:" + empty + "\"\n"), HasSubstr("is empty"));
    const auto good_file = write("key", "sk-file\n");
    EXPECT_EQ(
        good("[providers.openai]\nkey = \"file:" + good_file + "\"\n").providers.at(0).keys.at(0)->reveal(),
        "sk-file");
}

TEST_F(Load, RefusesTyposInTheEnvironmentToo)
{
    environment_["KEYHOLE_LOG_LEVLE"] = "debug";
    EXPECT_THAT(bad(""), HasSubstr("did you mean KEYHOLE_LOG_LEVEL?"));
}

TEST_F(Load, ProvidersOfOnesOwnNeedApiAddressAndKey)
{
    const auto text = bad("[providers.mine]\n");
    EXPECT_THAT(text, HasSubstr("providers.mine.api: is missing"));
    EXPECT_THAT(text, HasSubstr("providers.mine.base_url: is missing"));
    EXPECT_THAT(text, HasSubstr("providers.mine.key: is missing"));
    const auto s = good("[providers.mine]\napi = \"anthropic\"\nbase_url = "
                        "\"http://127.0.0.1:8000/x/\"\ncredential = \"none\"\n");
    ASSERT_EQ(s.providers.size(), 2U);
    EXPECT_EQ(s.providers[1].base_path, "/x");
    EXPECT_FALSE(s.providers[1].tls);
    EXPECT_THAT(bad("[providers.mine]\napi = \"openai\"\nbase_url = \"http://example.com\"\nkey = "
                    "\"env:OPENAI_API_KEY\"\n"),
                HasSubstr("is not encrypted"));
    EXPECT_THAT(bad("[providers.openai]\nbase_ulr = \"x\"\n"), HasSubstr("did you mean base_url?"));
}

TEST_F(Load, SocketPathsThatCannotBeBoundAreRefused)
{
    EXPECT_THAT(bad("[agents]\nsocket = \"/tmp/" + std::string(120, 'x') + "\"\n"),
                HasSubstr("may have 107"));
    EXPECT_THAT(bad("[agents]\nsocket = \"relative\"\n"), HasSubstr("is not an absolute path"));
    EXPECT_THAT(bad("[agents]\nsocket_mode = \"999\"\n"), HasSubstr("in octal"));
    EXPECT_THAT(bad("[agents]\nsocket_group = \"no-such-group\"\n"), HasSubstr("does not exist"));
}

TEST_F(Load, SocketsStateAndAdminNeverShareADirectory)
{
    EXPECT_THAT(bad("[agents]\nsocket = \"/x/llm.sock\"\n[state]\ndirectory = \"/x\"\n"),
                HasSubstr("directories of their own"));
    EXPECT_THAT(bad("[agents]\nsocket = \"/x/llm.sock\"\nsession_sockets = \"/x/own\"\n"),
                HasSubstr("directories of their own"));
    EXPECT_THAT(bad("[agents]\nsocket = \"/x/llm.sock\"\n[admin]\nsocket = \"/x/admin.sock\"\n"),
                HasSubstr("directories of their own"));
}

TEST_F(Load, AdminOnTcpNeedsAToken)
{
    EXPECT_THAT(bad("[admin]\ntcp = \"127.0.0.1:8090\"\n"), HasSubstr("needs admin.token"));
    environment_["GHOSTPROXY_ADMIN_TOKEN"] = "t0ken";
    EXPECT_EQ(good("[admin]\ntcp = \"127.0.0.1:8090\"\n").admin.token->reveal(), "t0ken");
}

TEST_F(Load, ThePrintedExampleHoldsEveryKeyAndLoadsToTheDefaults)
{
    const auto example = example_toml();
    for (const auto& row : key_table()) {
        const auto name = std::string(row.name.substr(row.name.find('.') + 1));
        EXPECT_THAT(example, HasSubstr("\n" + name + " = ")) << row.name;
    }
    for (const auto key : provider_keys()) {
        if (key == "keys") continue;
        EXPECT_THAT(example, HasSubstr("# " + std::string(key) + " = "));
    }
    const auto s = good(example);
    const settings fresh;
    EXPECT_EQ(s.bounds.max_body_bytes, fresh.bounds.max_body_bytes);
    EXPECT_EQ(s.bounds.max_head_bytes, fresh.bounds.max_head_bytes);
    EXPECT_EQ(s.bounds.keepalive_timeout, fresh.bounds.keepalive_timeout);
    EXPECT_EQ(s.bounds.write_timeout, fresh.bounds.write_timeout);
    EXPECT_EQ(s.gone.drain_bytes, fresh.gone.drain_bytes);
    EXPECT_EQ(s.gone.max_drains, fresh.gone.max_drains);
    EXPECT_EQ(s.agents.sockets, fresh.agents.sockets);
    EXPECT_EQ(s.agents.socket_mode, fresh.agents.socket_mode);
    EXPECT_EQ(s.agents.session_sockets, fresh.agents.session_sockets);
    EXPECT_EQ(s.admin.socket, fresh.admin.socket);
    EXPECT_EQ(s.metrics.tcp->port, fresh.metrics.tcp->port);
    EXPECT_EQ(s.store.directory, fresh.store.directory);
    EXPECT_EQ(s.store.journal_slots, fresh.store.journal_slots);
    EXPECT_EQ(s.sessions.reserve_output_tokens, fresh.sessions.reserve_output_tokens);
    EXPECT_EQ(s.sessions.refuse_unpriced, fresh.sessions.refuse_unpriced);
    EXPECT_EQ(s.shutdown_grace, fresh.shutdown_grace);
    EXPECT_EQ(s.workers, fresh.workers);
}

}  // namespace
}  // namespace keyhole::config
