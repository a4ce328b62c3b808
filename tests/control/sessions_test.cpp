#include "control_fixture.hpp"

namespace keyhole::proxy::test {
namespace {

class AdminSessions : public ::testing::Test {
protected:
    control_plane plane;
};

TEST_F(AdminSessions, AreCreatedShownListedAndRevoked)
{
    const json made = plane.create({{"name", "alpha"},
                                    {"sandbox", "box-7"},
                                    {"labels", {{"run", "42"}}},
                                    {"limits", {"usd=1", "requests/minute=10", "concurrency=2"}},
                                    {"models", {"gpt-4o*"}},
                                    {"providers", {"openai"}},
                                    {"ttl", "24h"}});
    const std::string id = made["id"];
    const std::string token = made["token"];
    EXPECT_TRUE(id.starts_with("ses_"));
    EXPECT_EQ(made["state"], "active");
    EXPECT_EQ(made["token_hint"], token.substr(token.size() - 4));
    EXPECT_EQ(made["expires_us"].get<std::int64_t>() / 1'000'000'000,
              (metering::now_us() + 86'400'000'000) / 1'000'000'000);
    ASSERT_NE(plane.registry->find_token(token), nullptr);

    const json shown = plane.admin("GET", "/admin/v1/sessions/" + id).read();
    EXPECT_EQ(shown["name"], "alpha");
    EXPECT_EQ(shown["labels"]["run"], "42");
    EXPECT_EQ(shown["limits"].size(), 3U);
    EXPECT_EQ(shown["limits"][0],
              (json{{"limit", "usd=1.00"}, {"used", "0.00"}, {"reserved", "0.00"}, {"remaining", "1.00"}}));
    EXPECT_TRUE(shown["limits"][1].contains("resets_us"));
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").read().size(), 1U);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions?sandbox=box-7").read().size(), 1U);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions?sandbox=box-8").read().size(), 0U);

    const http_answer gone = plane.admin("DELETE", "/admin/v1/sessions/" + id);
    EXPECT_EQ(gone.status, 200);
    EXPECT_EQ(gone.read()["state"], "revoked");
    EXPECT_TRUE(plane.registry->find_token(token)->revoked);
    EXPECT_EQ(plane.revoked, std::vector<std::string>{id});
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").read().size(), 0U);
    const json all = plane.admin("GET", "/admin/v1/sessions?all=1").read();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0]["state"], "revoked");
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions/" + id).read()["state"], "revoked");
    EXPECT_EQ(plane.admin("DELETE", "/admin/v1/sessions/" + id).status, 200);  // again is no error
    EXPECT_EQ(plane.revoked.size(), 1U);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions/ses_unknown").status, 404);
    EXPECT_EQ(plane.admin("DELETE", "/admin/v1/sessions/ses_unknown").status, 404);
}

TEST_F(AdminSessions, TOKEN_STAYS_HOME_ATokenIsShownOnceAndNeverAgain)
{
    const json made = plane.create({{"name", "alpha"}, {"limits", {"usd=1"}}});
    const std::string token = made["token"];
    for (const char* path :
         {"/admin/v1/sessions", "/admin/v1/sessions?all=1", "/v1/sessions", "/admin/v1/usage",
          "/admin/v1/status", "/admin/v1/accounts", "/admin/v1/requests"})
    {
        const http_answer a = plane.admin("GET", path);
        EXPECT_EQ(a.status, 200) << path;
        EXPECT_EQ(a.body.find(token), std::string::npos) << path;
    }
    const http_answer shown = plane.admin("GET", "/admin/v1/sessions/" + made["id"].get<std::string>());
    EXPECT_EQ(shown.body.find(token), std::string::npos);
    plane.restart();
    EXPECT_FALSE(plane.dir.holds(token));
    EXPECT_EQ(plane.loaded, 1U);
    EXPECT_NE(plane.registry->find_token(token), nullptr);
}

TEST_F(AdminSessions, ARevocationHoldsAcrossARestart)
{
    const json kept = plane.create({});
    const json gone = plane.create({});
    plane.admin("DELETE", "/admin/v1/sessions/" + gone["id"].get<std::string>());
    plane.restart();
    EXPECT_NE(plane.registry->find_token(kept["token"].get<std::string>()), nullptr);
    EXPECT_EQ(plane.registry->find_token(gone["token"].get<std::string>()), nullptr);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions/" + gone["id"].get<std::string>()).read()["state"],
              "revoked");
}

TEST_F(AdminSessions, BadOnesAreRefusedWithTheFieldAndTheReason)
{
    const std::pair<json, const char*> cases[] = {
        {{{"limits", {"usd=lots"}}}, "limits: \"usd=lots\""},
        {{{"limits", {"coffee=3"}}}, "limits: \"coffee=3\""},
        {{{"limits", {"usd=1", "usd=2"}}}, "stands twice"},
        {{{"limits", 5}}, "limits: expected"},
        {{{"ttl", -5}}, "ttl: expected"},
        {{{"ttl", "soon"}}, "ttl: "},
        {{{"ttl", true}}, "ttl: expected a string"},
        {{{"providers", {"nobody"}}}, "one of: openai, anthropic"},
        {{{"models", {"a*b"}}}, "models: "},
        {{{"labels", {{"k", std::string(500, 'v')}}}}, "labels: "},
        {{{"labels", {{"k", 1}}}}, "labels: "},
        {{{"gone_policy", "sing"}}, "gone_policy: \"sing\""},
        {{{"unknown_member", 1}}, "unknown field \"unknown_member\""},
        {{{"token", "chosen-by-somebody"}}, "unknown field \"token\""},
        {{{"account", "nobody"}}, "account: \"nobody\" does not exist"},
        {{{"name", std::string(200, 'x')}}, "name: longer than 128"},
        {{{"own_socket", "yes"}}, "own_socket: expected true or false"},
        {json::array({1}), "must be a JSON object"}};
    for (const auto& [fields, reason] : cases) {
        const http_answer a = plane.admin("POST", "/admin/v1/sessions", fields);
        EXPECT_EQ(a.status, 400) << fields;
        EXPECT_NE(a.read()["error"].get<std::string>().find(reason), std::string::npos) << a.body;
    }
    EXPECT_EQ(call(plane.socket(), "POST", "/admin/v1/sessions", "[1,2").status, 400);
    EXPECT_EQ(call(plane.socket(), "POST", "/admin/v1/sessions", "").status, 400);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions?al=1").status, 400);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions?all=1").read().size(), 0U);
}

TEST_F(AdminSessions, TheConfigurationsLifeTimeIsTheDefault)
{
    plane.on_control_thread([&] { plane.settings->sessions.ttl = 60; });
    EXPECT_NE(plane.create({})["expires_us"], 0);
    EXPECT_EQ(plane.create({{"ttl", 0}})["expires_us"], 0);
}

TEST_F(AdminSessions, ASocketOfItsOwnComesInsteadOfAToken)
{
    const json made = plane.create({{"own_socket", true}});
    const std::string id = made["id"];
    EXPECT_EQ(made["socket"], "/run/keyhole-sessions/" + id + "/llm.sock");
    EXPECT_FALSE(made.contains("token"));
    EXPECT_EQ(plane.bound, std::vector<std::string>{id});
}

TEST_F(AdminSessions, ASocketThatCannotBeBoundLeavesNoSessionBehind)
{
    plane.on_control_thread([&] { plane.refuse_own_socket = true; });
    const http_answer a = plane.admin("POST", "/admin/v1/sessions", json{{"own_socket", true}});
    EXPECT_EQ(a.status, 500);
    EXPECT_EQ(a.read()["error"], "the disk is full (free some space)");
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").read().size(), 0U);
    plane.restart();
    EXPECT_EQ(plane.loaded, 0U);
}

TEST(AdminSessionsWithoutOwnSockets, SayThatThereAreNone)
{
    control_plane plane({.with_token = true, .with_tcp = true, .own_sockets = false});
    EXPECT_EQ(plane.admin("POST", "/admin/v1/sessions", json{{"own_socket", true}}).status, 400);
    EXPECT_EQ(plane.registry->size(), 0U);
}

TEST_F(AdminSessions, AreRevokedByTokenInABody)
{
    const json made = plane.create({});
    EXPECT_EQ(plane.admin("POST", "/admin/v1/revoke", json{{"token", "kh_unknown_token"}}).status, 404);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/revoke", json{{"token", ""}}).status, 400);
    const http_answer a = plane.admin("POST", "/admin/v1/revoke", json{{"token", made["token"]}});
    EXPECT_EQ(a.status, 200);
    EXPECT_EQ(a.read()["id"], made["id"]);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/revoke", json{{"token", made["token"]}}).status, 404);
}

TEST_F(AdminSessions, OfASandboxAreRevokedTogether)
{
    for (int i = 0; i < 3; ++i) {
        plane.create({{"sandbox", i < 2 ? "box a" : "other"}});
    }
    EXPECT_EQ(plane.admin("DELETE", "/admin/v1/sandboxes/box%20a/sessions").read(),
              (json{{"sandbox", "box a"}, {"revoked", 2}}));
    EXPECT_EQ(plane.revoked.size(), 2U);
    EXPECT_EQ(plane.admin("DELETE", "/admin/v1/sandboxes/box%20a/sessions").read()["revoked"], 0);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").read().size(), 1U);
}

TEST_F(AdminSessions, LimitsShowWhatIsUsedHeldAndLeft)
{
    const json made = plane.create({{"limits", {"usd=1", "tokens=1000", "concurrency=4"}}});
    const std::string id = made["id"];
    const auto live = plane.registry->find_id(id);
    const std::int64_t now = metering::now_us();
    auto first = live->budget->reserve({250'000'000, 100, true}, now);
    std::get<metering::reservation>(first).settle(200'000'000, 90, now);
    const auto second = live->budget->reserve({100'000'000, 50, true}, now);
    const json shown = plane.admin("GET", "/admin/v1/sessions/" + id).read();
    EXPECT_EQ(shown["limits"][0],
              (json{{"limit", "usd=1.00"}, {"used", "0.20"}, {"reserved", "0.10"}, {"remaining", "0.70"}}));
    EXPECT_EQ(shown["limits"][1]["remaining"], 860);
    EXPECT_EQ(shown["limits"][2]["used"], 1);
    EXPECT_EQ(shown["in_flight"], 1);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/status").read()["in_flight"], 1);
}

TEST_F(AdminSessions, BUDGET_HOLDS_SpendingIsRememberedAcrossARestart)
{
    const json made = plane.create({{"limits", {"usd=1"}}});
    plane.book(made["id"], 300'000'000, 10, 20);
    plane.restart();
    const json shown = plane.admin("GET", "/admin/v1/sessions/" + made["id"].get<std::string>()).read();
    EXPECT_EQ(shown["limits"][0]["used"], "0.30");
    EXPECT_EQ(shown["limits"][0]["remaining"], "0.70");
}

TEST_F(AdminSessions, AccountsAreMadeChangedAndShownWithWhatIsLeft)
{
    EXPECT_EQ(plane.admin("PUT", "/admin/v1/accounts/team-a", json{{"limits", {"usd/month=50"}}}).status,
              200);
    const json made = plane.create({{"account", "team-a"}});
    plane.book(made["id"], 1'000'000'000, 1, 1, "team-a");
    const http_answer changed =
        plane.admin("PUT", "/admin/v1/accounts/team-a", json{{"limits", {"usd/month=20"}}});
    EXPECT_EQ(changed.read()["limits"][0]["limit"], "usd/month=20.00");
    EXPECT_EQ(changed.read()["limits"][0]["remaining"], "19.00");
    EXPECT_EQ(plane.admin("GET", "/admin/v1/accounts").read().size(), 1U);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/accounts/team-a").read()["id"], "team-a");
    EXPECT_EQ(plane.admin("GET", "/admin/v1/accounts/nobody").status, 404);
    EXPECT_EQ(plane.admin("PUT", "/admin/v1/accounts/a%20b", json{{"limits", {"usd=1"}}}).status, 400);
    EXPECT_EQ(plane.admin("PUT", "/admin/v1/accounts/x", json{{"limit", {"usd=1"}}}).status, 400);
    plane.restart();
    EXPECT_EQ(plane.admin("GET", "/admin/v1/accounts/team-a").read()["limits"][0]["used"], "1.00");
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions?account=team-a").read().size(), 1U);
}

}  // namespace
}  // namespace keyhole::proxy::test
