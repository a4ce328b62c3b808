// GhostProxy's registry API as its orchestrator calls it, and the defects of it that are not here.
#include "control_fixture.hpp"

namespace keyhole::proxy::test {
namespace {

const std::string token = "session-6f1e0d4c3b2a59687766554433221100ffeeddccbbaa99887766554433221100";
const std::string bare = token.substr(8);
const std::string key = "sk-the-real-key-of-the-provider";

class GhostProxy : public ::testing::Test {
protected:
    http_answer api(std::string_view method, std::string_view path, const json& body = nullptr) const
    {
        return call(plane.tcp_port, method, path, body.is_null() ? "" : body.dump(), plane.bearer());
    }
    json told(const json& more = json::object()) const
    {
        json out{{"token", token}, {"provider", "openai"}, {"api_key", key}, {"sandbox_id", "box-1"}};
        out.update(more);
        return out;
    }
    control_plane plane;
};

TEST_F(GhostProxy, RegisterListUsageRevoke)
{
    const http_answer made =
        api("POST", "/v1/sessions", told({{"upstream_url", "https://example.com/base"}}));
    EXPECT_EQ(made.status, 201);
    EXPECT_EQ(made.read(), (json{{"status", "registered"}}));
    const auto live = plane.registry->find_token(bare);
    ASSERT_NE(live, nullptr);
    EXPECT_EQ(live->credential->provider, "openai");
    EXPECT_EQ(live->credential->key->reveal(), key);
    EXPECT_EQ(live->credential->upstream_url, "https://example.com/base");
    EXPECT_EQ(api("GET", "/v1/sessions").read(),
              (json::array({{{"provider", "openai"},
                             {"sandbox_id", "box-1"},
                             {"upstream_url", "https://example.com/base"}}})));

    plane.book(live->info.id, 5, 100, 20);
    const json used{{"input_tokens", 100}, {"output_tokens", 20}, {"requests", 1}};
    EXPECT_EQ(api("GET", "/v1/sessions/" + token + "/usage").read(), used);
    const http_answer gone = api("DELETE", "/v1/sessions/" + token);
    EXPECT_EQ(gone.status, 200);
    EXPECT_EQ(gone.read(), (json{{"status", "revoked"}}));
    EXPECT_TRUE(live->revoked);
    EXPECT_EQ(plane.revoked.size(), 1U);
    EXPECT_EQ(api("GET", "/v1/sessions").read(), json::array());
    EXPECT_EQ(api("GET", "/v1/sessions/" + bare + "/usage").read(), used);  // not lost at teardown
    plane.restart();
    EXPECT_EQ(api("GET", "/v1/sessions/" + token + "/usage").read(), used);
}

TEST_F(GhostProxy, EitherFormOfTheTokenRevokesTheOther)
{
    for (const auto& [registered, revoked] : {std::pair(token, bare), std::pair(bare, token)}) {
        EXPECT_EQ(api("POST", "/v1/sessions", told({{"token", registered}})).status, 201);
        const auto live = plane.registry->find_token(registered);
        EXPECT_EQ(api("DELETE", "/v1/sessions/" + revoked).status, 200);
        EXPECT_TRUE(live->revoked);
    }
}

TEST_F(GhostProxy, UnknownTokensAreRevokedToo)
{
    EXPECT_EQ(api("DELETE", "/v1/sessions/session-unknown-token").read(), (json{{"status", "revoked"}}));
    EXPECT_EQ(api("DELETE", "/v1/sessions/x").status, 200);
    EXPECT_EQ(api("DELETE", "/v1/sessions/").status, 400);
    EXPECT_EQ(api("GET", "/v1/sessions/unknown-token/usage").read(),
              (json{{"input_tokens", 0}, {"output_tokens", 0}, {"requests", 0}}));
}

TEST_F(GhostProxy, RegisteringAgainOverwritesAndTheUsageGoesOn)
{
    api("POST", "/v1/sessions", told());
    const auto older = plane.registry->find_token(token);
    plane.book(older->info.id, 5, 100, 20);
    EXPECT_EQ(api("POST", "/v1/sessions", told({{"sandbox_id", "box-2"}, {"token", bare}})).status, 201);
    const auto newer = plane.registry->find_token(token);
    EXPECT_NE(newer, older);
    EXPECT_TRUE(older->revoked);
    EXPECT_EQ(newer->info.sandbox, "box-2");
    EXPECT_EQ(plane.revoked, std::vector<std::string>{older->info.id});
    plane.book(newer->info.id, 5, 1, 2);
    EXPECT_EQ(api("GET", "/v1/sessions/" + token + "/usage").read(),
              (json{{"input_tokens", 101}, {"output_tokens", 22}, {"requests", 2}}));
    EXPECT_EQ(api("GET", "/v1/sessions").read().size(), 1U);
}

TEST_F(GhostProxy, ARefusedRegistrationLeavesTheOlderOneAlone)
{
    api("POST", "/v1/sessions", told());
    const auto older = plane.registry->find_token(token);
    EXPECT_EQ(api("POST", "/v1/sessions", told({{"upstream_url", "ftp://x"}})).status, 400);
    EXPECT_EQ(api("POST", "/v1/sessions", told({{"sandbox_id", std::string(65, 'x')}})).status, 400);
    EXPECT_EQ(plane.registry->find_token(token), older);
    EXPECT_FALSE(older->revoked);
}

TEST_F(GhostProxy, ASandboxsSessionsGoTogether)
{
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(api("POST", "/v1/sessions", told({{"token", token + std::to_string(i)}})).status, 201);
    }
    EXPECT_EQ(api("DELETE", "/v1/sandboxes/box-1/sessions").read(),
              (json{{"status", "revoked"}, {"count", 3}, {"sandbox", "box-1"}}));
    EXPECT_TRUE(plane.registry->find_token(token + "2")->revoked);
    EXPECT_EQ(api("DELETE", "/v1/sandboxes//sessions").status, 400);
    EXPECT_EQ(api("DELETE", "/v1/sandboxes/nobody/sessions").read()["count"], 0);
}

TEST_F(GhostProxy, WhatIsMissingOrWrongIsRefusedInJson)
{
    const std::pair<json, const char*> cases[] = {
        {{{"token", token}}, "token, provider, and api_key are required"},
        {{{"token", token}, {"provider", "openai"}}, "token, provider, and api_key are required"},
        {{{"provider", "openai"}, {"api_key", key}}, "token, provider, and api_key are required"},
        {told({{"provider", "acme"}}), "unknown provider"},
        {told({{"provider", "Acme Inc"}, {"upstream_url", "https://x.example"}}), "provider: "},
        {told({{"upstream_url", "https://user:pw@example.com"}}), "upstream_url "},
        {told({{"upstream_url", "file:///etc/passwd"}}), "upstream_url "},
        {told({{"upstream_url", "example.com"}}), "upstream_url "},
        {told({{"token", "short"}}), "token: "},
        {told({{"token", "session-abc"}}), "token: "},
        {told({{"token", "white space in it"}}), "token: "},
        {told({{"api_key", "sk-a\r\nx-evil: 1"}}), "api_key "},
        {told({{"api_key", 5}}), "api_key: "},
        {told({{"sandbox_id", "a\"\n"}}), "sandbox: "},
    };
    for (const auto& [body, reason] : cases) {
        const http_answer a = api("POST", "/v1/sessions", body);
        EXPECT_EQ(a.status, 400) << body;
        ASSERT_TRUE(a.read().contains("error")) << a.body;
        EXPECT_NE(a.read()["error"].get<std::string>().find(reason), std::string::npos) << a.body;
        EXPECT_EQ(a.body.find("sk-"), std::string::npos);
    }
    EXPECT_TRUE(
        call(plane.tcp_port, "POST", "/v1/sessions", "{\"a\" \"b", plane.bearer()).read().contains("error"));
    EXPECT_EQ(plane.registry->size(), 0U);
}

TEST_F(GhostProxy, OllamaNeedsNoKeyAndMembersItDoesNotKnowAreIgnored)
{
    const http_answer made =
        api("POST", "/v1/sessions", json{{"token", token}, {"provider", "ollama"}, {"ttl_hint", 5}});
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(plane.registry->find_token(token)->credential->key, nullptr);
    const json acme{
        {"token", token + "2"}, {"provider", "acme"}, {"upstream_url", "http://10.0.0.5:8000/v1"}};
    EXPECT_EQ(api("POST", "/v1/sessions", told(acme)).status, 201);
}

TEST_F(GhostProxy, KEY_STAYS_HOME_NeitherKeyNorTokenIsInAnAnswerOrAFile)
{
    api("POST", "/v1/sessions", told());
    plane.book(plane.registry->find_token(token)->info.id, 5, 100, 20);
    std::string said = api("GET", "/v1/sessions").body + api("GET", "/v1/sessions/" + token + "/usage").body;
    for (const char* path : {"/admin/v1/sessions", "/admin/v1/sessions?all=1", "/admin/v1/usage?by=session",
                             "/admin/v1/requests", "/admin/v1/status"})
    {
        said += plane.admin("GET", path).body;
    }
    said += call(plane.metrics_port, "GET", "/metrics").body;
    EXPECT_EQ(said.find(bare), std::string::npos);
    EXPECT_EQ(said.find(key), std::string::npos);
    EXPECT_FALSE(plane.dir.holds(bare));
    EXPECT_FALSE(plane.dir.holds(key));
    plane.restart();
    EXPECT_FALSE(plane.dir.holds(bare));
    EXPECT_FALSE(plane.dir.holds(key));
    EXPECT_EQ(plane.registry->find_token(token),
              nullptr);  // its key is gone; the orchestrator registers it again
    EXPECT_EQ(api("POST", "/v1/sessions", told()).status, 201);
    EXPECT_NE(plane.registry->find_token(token), nullptr);
}

TEST_F(GhostProxy, SessionsOfTheAdminApiAreListedToo)
{
    plane.create({{"sandbox", "box-9"}, {"providers", {"anthropic"}}});
    EXPECT_EQ(api("GET", "/v1/sessions").read(),
              (json::array({{{"provider", "anthropic"}, {"sandbox_id", "box-9"}}})));
}

}  // namespace
}  // namespace keyhole::proxy::test
