#include "control_fixture.hpp"

namespace keyhole::proxy::test {
namespace {

class AdminUsage : public ::testing::Test {
protected:
    control_plane plane;
};

TEST_F(AdminUsage, IsTheLedgersSum)
{
    plane.book("ses_a", 1'500'000, 100, 10);
    plane.book("ses_a", 500'000, 50, 5);
    plane.book("ses_b", 7, 1, 1);
    const json groups = plane.admin("GET", "/admin/v1/usage?by=session").read();
    ASSERT_EQ(groups.size(), 2U);
    EXPECT_EQ(groups[0]["group"], "ses_a");
    EXPECT_EQ(groups[0]["requests"], 2);
    EXPECT_EQ(groups[0]["input"], 150);
    EXPECT_EQ(groups[0]["total_output"], 15);
    EXPECT_EQ(groups[0]["cost_nano_usd"], 2'000'000);
    EXPECT_EQ(groups[0]["cost_usd"], "0.002");
    const json all = plane.admin("GET", "/admin/v1/usage").read();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0]["cost_nano_usd"], 2'000'007);
    for (const char* by :
         {"none", "account", "sandbox", "run", "model", "provider", "route", "day", "outcome", "source"})
    {
        const http_answer a = plane.admin("GET", std::string("/admin/v1/usage?by=") + by);
        EXPECT_EQ(a.status, 200) << by;
        EXPECT_EQ(a.read().size(), 1U) << by;
    }
}

TEST_F(AdminUsage, IsRepricedWithAFileAndTheLedgerStaysAsItIs)
{
    plane.book("ses_a", 1'500'000, 100, 10);
    const std::string file = "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\n"
                             "input = \"1000.00\"\noutput = \"1000.00\"\n";
    const json told = call(plane.socket(), "POST", "/admin/v1/reprice", file).read();
    ASSERT_EQ(told["groups"].size(), 1U);
    EXPECT_EQ(told["groups"][0]["booked_nano_usd"], 1'500'000);
    EXPECT_EQ(told["groups"][0]["repriced_nano_usd"], 110 * 1'000'000);
    EXPECT_EQ(told["groups"][0]["difference_nano_usd"], 110 * 1'000'000 - 1'500'000);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/usage").read()[0]["cost_nano_usd"], 1'500'000);

    const http_answer wrong = call(plane.socket(), "POST", "/admin/v1/reprice", "[[model]]\nprovider = 5\n");
    EXPECT_EQ(wrong.status, 400);
}

TEST_F(AdminUsage, OtherPricesAreBookedOnceAndTheSumsFollow)
{
    plane.book("ses_a", 1'500'000, 100, 10);
    plane.book("ses_b", 7, 1, 1);
    const std::string file = "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\n"
                             "input = \"1000.00\"\noutput = \"1000.00\"\n";
    const auto apply = [&](const std::string& query) {
        return call(plane.socket(), "POST", "/admin/v1/reprice/apply" + query, file).read();
    };
    EXPECT_EQ(apply("?session=ses_a")["changed"], 1);
    const json told = apply("");
    EXPECT_EQ(told["done"], true);
    EXPECT_EQ(told["changed"], 1) << "the other row says so already";
    EXPECT_EQ(told["groups"][0]["repriced_nano_usd"], 112 * 1'000'000);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/usage").read()[0]["cost_nano_usd"], 112 * 1'000'000);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/requests").read()[0]["price_version"], told["price_version"]);
    EXPECT_EQ(apply("?after=" + told["after"].get<std::string>())["groups"].size(), 0U);
    EXPECT_EQ(call(plane.socket(), "POST", "/admin/v1/reprice/apply?after=1.x", file).status, 400);
}

TEST_F(AdminUsage, RowsOfTodayAreNeverPruned)
{
    plane.book("ses_a", 10, 1, 1);
    const json told = plane.admin("POST", "/admin/v1/prune?before=0d").read();
    EXPECT_EQ(told["rows"], 0);
    EXPECT_EQ(told["done"], true);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/prune?before=1d&dry_run=1").read()["dry_run"], true);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/prune").status, 400);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/prune?before=1d&dry_run=perhaps").status, 400);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/requests").read().size(), 1U);
}

TEST_F(AdminUsage, TheFileIsCompactedBesideTheWork)
{
    plane.book("ses_a", 10, 1, 1);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/compact?dry_run=1").read()["started"], false);
    EXPECT_EQ(plane.admin("POST", "/admin/v1/compact").read()["started"], true);
    plane.book("ses_a", 10, 1, 1);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/usage").read()[0]["requests"], 2);
}

TEST_F(AdminUsage, IsFiltered)
{
    plane.book("ses_a", 10, 1, 1, "team");
    plane.book("ses_b", 20, 1, 1);
    const auto cost = [&](const std::string& query) {
        const json g = plane.admin("GET", "/admin/v1/usage?" + query).read();
        return g.empty() ? std::int64_t{0} : g[0].value("cost_nano_usd", std::int64_t{-1});
    };
    EXPECT_EQ(cost("session=ses_a"), 10);
    EXPECT_EQ(cost("account=team"), 10);
    EXPECT_EQ(cost("model=gpt-4o"), 30);
    EXPECT_EQ(cost("provider=anthropic"), 0);
    EXPECT_EQ(cost("since=1h"), 30);
    EXPECT_EQ(cost("since=2020-01-01&until=2020-01-02"), 0);
    EXPECT_EQ(cost("since=" + std::to_string(metering::now_us() - 60'000'000)), 30);
}

TEST_F(AdminUsage, WhatIsNotUnderstoodIsRefused)
{
    const std::pair<const char*, const char*> cases[] = {
        {"by=moon", "by: \"moon\""},
        {"by=day&since=yesterdayish", "since: "},
        {"until=-1d", "until: "},
        {"limit=0", "limit: "},
        {"limit=1x", "limit: "},
        {"limit=100001", "limit: "},
        {"colour=red", "\"colour\""},
        {"since=1h&until=2h", "not before"},
        {"by=day&by=model", "stands twice"},
    };
    for (const auto& [query, reason] : cases) {
        const http_answer a = plane.admin("GET", std::string("/admin/v1/usage?") + query);
        EXPECT_EQ(a.status, 400) << query;
        EXPECT_NE(a.read()["error"].get<std::string>().find(reason), std::string::npos) << a.body;
    }
    EXPECT_EQ(plane.admin("GET", "/admin/v1/requests?by=day").status, 400);
}

TEST_F(AdminUsage, RequestsAreTheNewestRowsFirst)
{
    plane.book("ses_a", 1, 10, 1);
    plane.book("ses_a", 2, 20, 2);
    plane.book("ses_a", 3, 30, 3);
    const json rows = plane.admin("GET", "/admin/v1/requests?limit=2").read();
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0]["cost_nano_usd"], 3);
    EXPECT_EQ(rows[1]["cost_nano_usd"], 2);
    EXPECT_EQ(rows[0]["request_id"].get<std::string>().size(), 36U);
    EXPECT_EQ(rows[0]["usage_source"], "provider");
    EXPECT_EQ(rows[0]["outcome"], "ok");
    EXPECT_EQ(rows[0]["status"], 200);
    EXPECT_EQ(rows[0]["input"], 30);
    EXPECT_EQ(rows[0]["priced"], true);
}

TEST_F(AdminUsage, ReportsAndOtherAnswersGoSideBySide)
{
    plane.book("ses_a", 1, 10, 1);
    std::vector<std::thread> askers;
    std::atomic<int> right{0};
    for (int i = 0; i < 4; ++i) {
        askers.emplace_back([&, i] {
            raw_client client(plane.socket());
            for (int n = 0; n < 10; ++n) {
                client.send(
                    request_text("GET", i % 2 == 0 ? "/admin/v1/usage?by=session" : "/admin/v1/status"));
                right += client.answer().status == 200 ? 1 : 0;
            }
        });
    }
    for (auto& t : askers) {
        t.join();
    }
    EXPECT_EQ(right, 40);
}

TEST_F(AdminUsage, StatusTellsOfTheLedger)
{
    plane.book("ses_a", 1, 10, 1);
    const json s = plane.admin("GET", "/admin/v1/status").read();
    EXPECT_EQ(s["ready"], true);
    EXPECT_EQ(s["ledger"]["rows_written"], 1);
    EXPECT_EQ(s["ledger"]["failing"], false);
    EXPECT_EQ(s["sessions"], 0);
}

}  // namespace
}  // namespace keyhole::proxy::test
