// The commands as a person types them, against a real control plane.
#include "control_fixture.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/table.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <sstream>

namespace keyhole::proxy::test {
namespace {

struct run_result {
    int code = 0;
    std::string out;
    std::string err;
};

run_result run(std::vector<std::string> arguments)
{
    CLI::App app{"keyhole"};
    app.require_subcommand(1);
    run_result r;
    cli::register_commands(app, r.code);
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    try {
        std::ranges::reverse(arguments);
        app.parse(arguments);
    } catch (const CLI::ParseError& e) {
        r.code = app.exit(e) == 0 ? 0 : 64;
    }
    std::fflush(stdout);
    r.out = ::testing::internal::GetCapturedStdout();
    r.err = ::testing::internal::GetCapturedStderr();
    return r;
}

class Cli : public ::testing::Test {
protected:
    run_result keyhole(std::vector<std::string> arguments) const
    {
        arguments.insert(arguments.end(), {"--admin", plane.socket()});
        return run(std::move(arguments));
    }
    json create(std::vector<std::string> more = {}) const
    {
        more.insert(more.begin(), {"session", "create", "--json"});
        const run_result r = keyhole(std::move(more));
        EXPECT_EQ(r.code, 0) << r.err;
        return json::parse(r.out);
    }
    control_plane plane;
};

TEST_F(Cli, CreatesWithEveryOption)
{
    plane.admin("PUT", "/admin/v1/accounts/team", json{{"limits", {"usd=9"}}});
    const json made = create({"--name",        "n",          "--budget",        "2.00",
                              "--limit",       "requests=2", "--limit",         "tokens/hour=5",
                              "--provider",    "openai",     "--provider",      "anthropic",
                              "--model",       "gpt-4o",     "--operation",     "chat",
                              "--sandbox",     "s",          "--account",       "team",
                              "--label",       "k=v=w",      "--label",         "run=1",
                              "--ttl",         "3600",       "--on-agent-gone", "cancel",
                              "--keep-streams"});
    const auto s = plane.registry->find_token(made["token"].get<std::string>());
    ASSERT_NE(s, nullptr);
    EXPECT_EQ(s->info.name, "n");
    EXPECT_EQ(s->info.limits.size(), 3U);
    EXPECT_EQ(s->info.providers, (std::vector<std::string>{"openai", "anthropic"}));
    EXPECT_EQ(s->info.models, (std::vector<std::string>{"gpt-4o"}));
    EXPECT_EQ(s->info.operations, (std::vector<std::string>{"chat"}));
    EXPECT_EQ(s->info.account, "team");
    EXPECT_EQ(s->info.labels.at("k"), "v=w");
    EXPECT_EQ(s->info.gone_policy, "cancel");
    EXPECT_FALSE(s->info.cut_on_revoke);
    EXPECT_EQ((s->info.expires_us - s->info.created_us + 500'000) / 1'000'000, 3600);
}

TEST_F(Cli, ShowsATokenOnceWithHowToUseIt)
{
    const run_result r = keyhole({"session", "create", "--budget", "0.5"});
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_NE(r.out.find("export SESSION_TOKEN=kh_"), std::string::npos) << r.out;
    EXPECT_NE(r.out.find("export OPENAI_API_KEY=kh_"), std::string::npos);
    EXPECT_NE(r.out.find("usd=0.50"), std::string::npos);
    const std::string token = r.out.substr(r.out.find("kh_"), 52);
    ASSERT_NE(plane.registry->find_token(token), nullptr);
    for (const std::vector<std::string>& words : {std::vector<std::string>{"session", "list"},
                                                  {"session", "list", "--json"},
                                                  {"session", "show", plane.registry->all()[0]->info.id},
                                                  {"usage"},
                                                  {"status"}})
    {
        const run_result later = keyhole(words);
        EXPECT_EQ(later.code, 0) << later.err;
        EXPECT_EQ(later.out.find(token), std::string::npos);
    }
}

TEST_F(Cli, QuietlyShowsTheTokenAlone)
{
    const std::string out = keyhole({"session", "create", "--quiet"}).out;
    ASSERT_EQ(out.size(), 53U) << out;
    EXPECT_NE(plane.registry->find_token(out.substr(0, 52)), nullptr);
}

TEST_F(Cli, ASocketOfItsOwnIsShownWithItsMount)
{
    const run_result r = keyhole({"session", "create", "--own-socket"});
    EXPECT_NE(r.out.find("/llm-sock:ro"), std::string::npos) << r.out;
    EXPECT_EQ(r.out.find("kh_"), std::string::npos);
    EXPECT_EQ(plane.bound.size(), 1U);
}

TEST_F(Cli, ListsAndShows)
{
    EXPECT_NE(keyhole({"session", "list"}).out.find("no sessions"), std::string::npos);
    const json made = create({"--name", "alpha", "--sandbox", "box", "--limit", "usd=0.05"});
    const std::string id = made["id"];
    const std::string list = keyhole({"session", "list"}).out;
    EXPECT_NE(list.find(id), std::string::npos);
    EXPECT_NE(list.find("usd=0.05 (0.00)"), std::string::npos) << list;
    EXPECT_EQ(keyhole({"session", "list", "--sandbox", "other"}).out.find(id), std::string::npos);
    const std::string shown = keyhole({"session", "show", id}).out;
    EXPECT_NE(shown.find("alpha"), std::string::npos);
    EXPECT_NE(shown.find("LEFT"), std::string::npos) << shown;
    EXPECT_EQ(json::parse(keyhole({"session", "show", id, "--json"}).out)["id"], id);
    keyhole({"session", "revoke", id});
    EXPECT_EQ(keyhole({"session", "list"}).out.find(id), std::string::npos);
    EXPECT_NE(keyhole({"session", "list", "--all"}).out.find("revoked"), std::string::npos);
}

TEST_F(Cli, RevokesByIdByTokenFromStdinAndBySandbox)
{
    const json one = create();
    EXPECT_EQ(keyhole({"session", "revoke", one["id"]}).code, 0);
    EXPECT_TRUE(plane.registry->find_token(one["token"].get<std::string>())->revoked);

    const json two = create();
    EXPECT_EQ(keyhole({"session", "revoke", "--token", two["token"]}).code, 0);
    EXPECT_TRUE(plane.registry->find_token(two["token"].get<std::string>())->revoked);

    const json three = create();
    std::istringstream typed(three["token"].get<std::string>() + "\r\n");
    auto* const before = std::cin.rdbuf(typed.rdbuf());
    EXPECT_EQ(keyhole({"session", "revoke", "--token", "-"}).code, 0);
    std::cin.rdbuf(before);
    EXPECT_TRUE(plane.registry->find_token(three["token"].get<std::string>())->revoked);

    create({"--sandbox", "box x"});
    create({"--sandbox", "box x"});
    const run_result all = keyhole({"session", "revoke", "--sandbox", "box x"});
    EXPECT_EQ(all.out, "2 sessions of box x revoked\n");
}

TEST_F(Cli, WhatTheProxyRefusesIsOneLineAndOne)
{
    const run_result r = keyhole({"session", "create", "--limit", "coffee=3"});
    EXPECT_EQ(r.code, 1);
    EXPECT_TRUE(r.err.starts_with("keyhole: limits: \"coffee=3\" is not understood")) << r.err;
    EXPECT_EQ(std::ranges::count(r.err, '\n'), 1);
    EXPECT_EQ(keyhole({"session", "show", "ses_unknown"}).code, 1);
    EXPECT_EQ(keyhole({"usage", "--by", "moon"}).code, 1);
}

TEST_F(Cli, MistakesOnTheCommandLineAre64)
{
    for (const std::vector<std::string>& words : {std::vector<std::string>{"session"},
                                                  {"session", "sing"},
                                                  {"session", "revoke"},
                                                  {"session", "revoke", "ses_x", "--sandbox", "y"},
                                                  {"session", "create", "--label", "novalue"},
                                                  {"session", "create", "--on-agent-gone", "sing"},
                                                  {"session", "create", "--nonsense"},
                                                  {"usage", "--limit", "0"},
                                                  {"account", "set"}})
    {
        EXPECT_EQ(run(words).code, 64) << words.back();
    }
}

TEST_F(Cli, UsageIsATableWithATotal)
{
    plane.book("ses_a", 1'234'500'000, 1'234'567, 8);
    plane.book("ses_b", 500'000'000, 1, 2);
    const std::string text = keyhole({"usage", "--by", "session"}).out;
    EXPECT_EQ(text,
              "SESSION  REQUESTS      INPUT  CACHE READ  CACHE WRITE  OUTPUT  REASONING     USD  OF THESE\n"
              "ses_a           1  1,234,567           0            0       8          0  1.2345\n"
              "ses_b           1          1           0            0       2          0    0.50\n"
              "-------  --------  ---------  ----------  -----------  ------  ---------  ------  --------\n"
              "total           2  1,234,568           0            0      10          0  1.7345\n");
    EXPECT_EQ(json::parse(keyhole({"usage", "--json"}).out).size(), 2U);
    const std::string csv = keyhole({"usage", "--csv", "--by", "model"}).out;
    EXPECT_TRUE(csv.starts_with("group,requests,input,")) << csv;
    EXPECT_NE(csv.find("\r\ngpt-4o,2,1234568,"), std::string::npos) << csv;
    EXPECT_EQ(keyhole({"usage", "--since", "2020-01-01", "--until", "2020-01-02"}).out, "nothing was used\n");
}

TEST_F(Cli, RequestsAreRows)
{
    plane.book("ses_a", 1'000'000, 10, 20);
    const std::string text = keyhole({"usage", "requests", "--limit", "5"}).out;
    EXPECT_NE(text.find("RECEIVED (UTC)"), std::string::npos);
    EXPECT_NE(text.find("0.001"), std::string::npos) << text;
    EXPECT_EQ(keyhole({"requests", "--rows", "5"}).out, text);
    EXPECT_EQ(text.find("CACHE READ"), std::string::npos) << "the sums are another command";
    EXPECT_EQ(json::parse(keyhole({"usage", "requests", "--json"}).out)[0]["session"], "ses_a");
    EXPECT_NE(keyhole({"usage", "requests", "--csv"}).out.find("gpt-4o"), std::string::npos);
}

TEST_F(Cli, AccountsStatusAndTop)
{
    EXPECT_EQ(keyhole({"account", "set", "team", "--limit", "usd/month=50"}).out,
              "account  team\nlimits   usd/month=50.00\n");
    EXPECT_NE(keyhole({"account", "list"}).out.find("usd/month=50.00"), std::string::npos);
    EXPECT_NE(keyhole({"status"}).out.find("ready"), std::string::npos);
    const json made = create({"--name", "alpha", "--limit", "usd=1"});
    plane.book(made["id"], 500'000'000, 10, 20);
    const run_result top = keyhole({"top", "--count", "2", "--interval", "0.1"});
    EXPECT_EQ(top.code, 0) << top.err;
    EXPECT_NE(top.out.find("alpha"), std::string::npos) << top.out;
    EXPECT_NE(top.out.find("today 1 requests, 30 tokens, 0.50 USD"), std::string::npos) << top.out;
    EXPECT_EQ(top.out.find('\033'), std::string::npos) << "no terminal, no control sequences";
}

TEST(CliWithoutProxy, SaysWhereItLookedAndWhatToDo)
{
    const run_result none = run({"session", "list", "--admin", "/nonexistent/admin.sock"});
    EXPECT_EQ(none.code, 1);
    EXPECT_NE(none.err.find("/nonexistent/admin.sock"), std::string::npos) << none.err;
    EXPECT_NE(none.err.find("keyhole serve"), std::string::npos) << none.err;
    EXPECT_EQ(run({"session", "list", "--admin", std::string(200, 'x')}).code, 1);

    const temp_dir dir;
    {
        control_plane plane;  // its socket's file, left behind as a crash would
        std::filesystem::rename(plane.socket(), dir / "admin.sock");
    }
    const run_result dead = run({"status", "--admin", dir / "admin.sock"});
    EXPECT_EQ(dead.code, 1);
    EXPECT_NE(dead.err.find("nobody listens"), std::string::npos) << dead.err;
}

TEST(CliWithoutProxy, TheSocketsNameCanComeFromTheEnvironment)
{
    ::setenv("KEYHOLE_ADMIN_SOCKET", "/nonexistent/from-the-environment.sock", 1);
    const run_result r = run({"status"});
    ::unsetenv("KEYHOLE_ADMIN_SOCKET");
    EXPECT_NE(r.err.find("from-the-environment"), std::string::npos) << r.err;
}

TEST(Table, ShowsNoControlCharactersAndMeasuresInCharacters)
{
    cli::table t({"NAME", ">N"});
    t.add({"evil\033[2J\xc2\x9b", "1"});
    t.add({"käse", "1,000"});
    EXPECT_EQ(t.text(), "NAME           N\nevil?[2J?      1\nkäse       1,000\n");
    EXPECT_EQ(cli::grouped(-1234567), "-1,234,567");
    EXPECT_EQ(cli::grouped(999), "999");
    EXPECT_EQ(cli::grouped(INT64_MIN), "-9,223,372,036,854,775,808");
    EXPECT_EQ(cli::shown_time(0), "-");
    EXPECT_EQ(cli::shown_time(1'795'255'201'000'000), "2026-11-21 10:00:01");
}

TEST(Table, CsvQuotesWhatNeedsIt)
{
    cli::table t({"a", "b"});
    t.add({"x,y", "say \"hi\""});
    EXPECT_EQ(t.csv(), "a,b\r\n\"x,y\",\"say \"\"hi\"\"\"\r\n");
}

}  // namespace
}  // namespace keyhole::proxy::test
