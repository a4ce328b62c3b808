#include "config/provider_reader.hpp"
#include "config/url.hpp"
#include "tests/config/fixture.hpp"

#include <gmock/gmock.h>

#include <set>

namespace keyhole::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Providers : public config_fixture {};

TEST_F(Providers, EveryPresetIsConsistent)
{
    std::set<std::string_view> names;
    std::set<std::string_view> variables;
    for (const provider_preset& p : provider_presets()) {
        EXPECT_TRUE(names.insert(p.name).second) << p.name;
        EXPECT_TRUE(is_provider_name(p.name)) << p.name;
        EXPECT_EQ(find_provider_preset(p.name), &p);
        EXPECT_EQ(p.key_env.empty(), p.credential == credential_style::none) << p.name;
        EXPECT_TRUE(p.key_env.empty() || variables.insert(p.key_env).second) << p.name;
        if (p.base_url.empty()) continue;
        const auto url = parse_base_url(p.base_url);
        ASSERT_TRUE(std::holds_alternative<base_url>(url)) << p.name;
        EXPECT_TRUE(std::get<base_url>(url).tls || is_loopback(std::get<base_url>(url).host)) << p.name;
    }
    EXPECT_EQ(find_provider_preset("nobody"), nullptr);
    EXPECT_EQ(find_provider_preset(""), nullptr);
}

TEST_F(Providers, EachPresetIsEnabledByItsVariableOrItsFile)
{
    const std::string file = write("keys/k", "key-from-file-0123\n");
    for (const provider_preset& p : provider_presets()) {
        if (p.key_env.empty() || p.base_url.empty()) continue;
        environment = {{std::string(p.key_env), "key-from-env-0123"}};
        const settings s = good("");
        ASSERT_EQ(s.providers.size(), 1U);
        const provider& one = s.providers[0];
        EXPECT_EQ(one.name, p.name);
        EXPECT_EQ(one.api, p.api);
        EXPECT_EQ(one.credential, p.credential);
        EXPECT_EQ("https://" + one.host + one.base_path, p.base_url);
        EXPECT_EQ(one.port, 443);
        EXPECT_TRUE(one.tls);
        EXPECT_EQ(one.keys.at(0)->reveal(), "key-from-env-0123");
        environment = {{std::string(p.key_env) + "_FILE", file}};
        EXPECT_EQ(good("").providers.at(0).keys.at(0)->reveal(), "key-from-file-0123");
    }
}

TEST_F(Providers, ComeInTheOrderOfThePresetsThenByName)
{
    environment["GROQ_API_KEY"] = "gsk";
    environment["ANTHROPIC_API_KEY"] = "sk-ant";
    const settings s =
        good("[providers.zed]\napi=\"openai\"\nbase_url=\"https://z.example\"\nkey=\"env:GROQ_API_KEY\"\n"
             "[providers.able]\napi=\"anthropic\"\nbase_url=\"https://a.example/x/"
             "\"\nkey=\"env:GROQ_API_KEY\"\n"
             "[providers.local]\napi=\"openai\"\nbase_url=\"http://127.0.0.1:11434\"\ncredential=\"none\"\n");
    std::vector<std::string> names;
    for (const provider& p : s.providers) {
        names.push_back(p.name);
    }
    EXPECT_THAT(names, ElementsAre("openai", "anthropic", "groq", "able", "local", "zed"));
    EXPECT_EQ(s.providers[3].credential, credential_style::x_api_key);
    EXPECT_EQ(s.providers[3].base_path, "/x");
    EXPECT_FALSE(s.providers[4].tls);
    EXPECT_EQ(s.providers[4].port, 11434);
    EXPECT_TRUE(s.providers[4].keys.empty());
}

TEST_F(Providers, ASectionChangesAPreset)
{
    environment["OTHER"] = "sk-other-key-1";
    environment["MORE"] = "sk-other-key-2";
    const settings s =
        good("[providers.openai]\nbase_url = \"HTTPS://Gateway.Example:8443/OpenAI/v1/\"\nkeys = "
             "[\"env:OTHER\", \"env:MORE\"]\n"
             "credential = \"api-key\"\nidle_timeout = 5\nmax_idle_connections = 0\n");
    ASSERT_EQ(s.providers.size(), 1U);
    const provider& p = s.providers[0];
    EXPECT_EQ(p.host, "gateway.example");
    EXPECT_EQ(p.port, 8443);
    EXPECT_EQ(p.base_path, "/OpenAI/v1");
    EXPECT_EQ(p.credential, credential_style::api_key);
    ASSERT_EQ(p.keys.size(), 2U);
    EXPECT_EQ(p.keys[1]->reveal(), "sk-other-key-2");
    EXPECT_EQ(p.idle_timeout, 5);
    EXPECT_EQ(p.max_idle_connections, 0U);
}

TEST_F(Providers, CanBeDisabledAndNeedNoKeyThen)
{
    environment["GROQ_API_KEY"] = "gsk";
    const settings s = good("[providers.openai]\nenabled = false\nkey = \"env:NOT_SET\"");
    ASSERT_EQ(s.providers.size(), 1U);
    EXPECT_EQ(s.providers[0].name, "groq");
    EXPECT_THAT(s.notes, Contains("openai: disabled by the configuration"));
}

TEST_F(Providers, APresetWithoutAnAddressWaitsForIt)
{
    environment["AZURE_OPENAI_API_KEY"] = "azure-key";
    EXPECT_THAT(good("").notes,
                Contains(HasSubstr("azure: AZURE_OPENAI_API_KEY is set, but not the address")));
    const settings s = good("[providers.azure]\nbase_url = \"https://me.openai.azure.com/openai/v1\"");
    ASSERT_EQ(s.providers.size(), 2U);
    EXPECT_EQ(s.providers[1].credential, credential_style::api_key);
    EXPECT_THAT(bad("[providers.azure]\n"),
                ElementsAre(HasSubstr("providers.azure.base_url: no address is known for it")));
}

TEST_F(Providers, AKeyWhoseAddressIsMissingIsNamedWhereNothingElseIsConfigured)
{
    environment = {{"AZURE_OPENAI_API_KEY", "azure-key"}};
    EXPECT_THAT(bad(""),
                ElementsAre("environment AZURE_OPENAI_API_KEY: providers.azure.base_url: its key is set, but "
                            "not its address (KEYHOLE_PROVIDERS_AZURE_BASE_URL=https://…, or base_url in "
                            "[providers.azure])"));
    environment["KEYHOLE_PROVIDERS_AZURE_BASE_URL"] = "https://me.openai.azure.com/openai/v1";
    EXPECT_EQ(good("").providers.at(0).name, "azure");
}

struct mistake {
    std::string_view toml;
    std::string_view said;
};

TEST_F(Providers, RefusesEachMistakeWithItsReason)
{
    environment["K"] = "sk-some-key";
    for (const mistake& m : {
             mistake{"providers = 1", "providers: expected a section"},
             mistake{"[providers]\nopenai = 1", "providers.openai: expected a section"},
             mistake{"[providers.openia]\nkey=\"env:K\"",
                     "providers.openia.api: not given, and openia is no provider that keyhole knows (did you "
                     "mean openai?)"},
             mistake{"[providers.mine]\nbase_url=\"https://x.example\"\nkey=\"env:K\"",
                     "providers.mine.api: not given"},
             mistake{"[providers.mine]\napi=\"openai\"\nkey=\"env:K\"",
                     "providers.mine.base_url: no address is known for it"},
             mistake{"[providers.mine]\napi=\"openai\"\nbase_url=\"\"\nkey=\"env:K\"",
                     "providers.mine.base_url: no address is known for it"},
             mistake{"[providers.mine]\napi=\"openai\"\nbase_url=\"https://x.example\"",
                     "providers.mine.key: no key (key = \"env:NAME\" or"},
             mistake{"[providers.mistral]", "providers.mistral.key: no key (set MISTRAL_API_KEY, or"},
             mistake{"[providers.openai]\napi=\"opneai\"", "did you mean openai?"},
             mistake{"[providers.openai]\nbase_ulr=\"x\"",
                     "providers.openai.base_ulr: unknown key (did you mean base_url?)"},
             mistake{"[providers.openai]\nbase_url=1", "expected a string"},
             mistake{"[providers.openai]\nbase_url=\"ftp://x\"",
                     "providers.openai.base_url: is not an http or https URL"},
             mistake{"[providers.openai]\nbase_url=\"http://api.openai.com/v1\"",
                     "plain http to another machine"},
             mistake{"[providers.openai]\nkey=\"env:K\"\nkeys=[\"env:K\"]",
                     "providers.openai.key: stands beside keys, which means the same"},
             mistake{"[providers.openai]\nkeys=[]", "providers.openai.keys: the list is empty"},
             mistake{"[providers.openai]\nkeys=[\"env:K\",\"env:K\"]", "two of them are the same key"},
             mistake{"[providers.openai]\nkeys=[1]", "expected strings in the list"},
             mistake{"[providers.openai]\ncredential=\"none\"\nkey=\"env:K\"",
                     "providers.openai.credential: is none, so its key would never be sent"},
             mistake{"[providers.mine]\napi=\"openai\"\nbase_url=\"https://"
                     "x.example\"\ncredential=\"none\"\nkey=\"env:K\"",
                     "providers.mine.credential: is none"},
             mistake{"[providers.openai]\nheaders=[\"OpenAI-Project\"]", "\"OpenAI-Project\" is no header"},
             mistake{"[providers.openai]\nheaders=[\"X-A: b\\r\\nX-B: c\"]", "is no header"},
             mistake{"[providers.openai]\nheaders=[\"Authorization: Bearer x\"]",
                     "\"authorization\" is not for the configuration to set"},
             mistake{"[providers.openai]\nca_file=\"/no/such\"",
                     "providers.openai.ca_file: there is no readable file /no/such"},
             mistake{"[providers.openai]\nidle_timeout=0",
                     "providers.openai.idle_timeout: 0 is out of range"},
             mistake{"[providers.v1]\napi=\"openai\"", "not a name for a provider"},
             mistake{"[providers.models]\napi=\"openai\"", "not a name for a provider"},
             mistake{"[providers.Mine]\napi=\"openai\"", "not a name for a provider"},
             mistake{"[providers.\"a/b\"]\napi=\"openai\"", "not a name for a provider"},
             mistake{"[providers.\"\"]\napi=\"openai\"", "not a name for a provider"},
             mistake{"[providers.\"..\"]\napi=\"openai\"", "not a name for a provider"},
         })
    {
        EXPECT_THAT(bad(m.toml), Contains(HasSubstr(std::string(m.said)))) << m.toml;
    }
}

TEST_F(Providers, PlainHttpStaysOnTheMachineUnlessItIsAllowed)
{
    EXPECT_FALSE(good("[providers.openai]\nbase_url=\"http://localhost:8000/v1\"").providers.at(0).tls);
    EXPECT_FALSE(good("[providers.openai]\nbase_url=\"http://[::1]:8000/v1\"").providers.at(0).tls);
    EXPECT_EQ(good("[providers.openai]\nbase_url=\"http://gpu.lan:8000/v1\"\nallow_plain_http=true")
                  .providers.at(0)
                  .host,
              "gpu.lan");
}

TEST_F(Providers, EnumeratorsHaveTheNamesThatTheConfigurationUses)
{
    EXPECT_EQ(to_string(dialect::bedrock), "bedrock");
    EXPECT_EQ(to_string(credential_style::x_goog_api_key), "x-goog-api-key");
    EXPECT_EQ(to_string(credential_style::none), "none");
}

}  // namespace
}  // namespace keyhole::config
