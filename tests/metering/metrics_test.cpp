#include "books_fixture.hpp"
#include "metering/metrics.hpp"

#include <gmock/gmock.h>

#include <cstdio>
#include <thread>
#include <vector>

namespace keyhole::metering {

namespace {

using ::testing::HasSubstr;
using ::testing::Not;

record finished()
{
    record r;
    r.provider = "openai";
    r.route = "POST /v1/chat/completions";
    r.model = "gpt-4o";
    r.end = outcome::ok;
    r.source = usage_source::provider;
    r.status = 200;
    r.priced = true;
    r.counts.input = 10;
    r.counts.output_reasoning = 4;
    r.cost_nano_usd = 1;
    r.received_us = 1'000'000;
    r.forwarded_us = 1'000'100;
    r.first_byte_us = 1'200'100;
    r.first_token_us = 1'300'100;
    r.ended_us = 3'000'000;
    return r;
}

TEST(Metrics, CountsARequestInEveryFamilyItConcerns)
{
    metrics m("1.2.3");
    record r = finished();
    r.counts.web_searches = 2;
    r.total_mismatch = true;
    m.request_ended(r, "gpt-4o", 40);
    const std::string text = m.render();
    EXPECT_THAT(text, HasSubstr("keyhole_build_info{version=\"1.2.3\"} 1"));
    EXPECT_THAT(
        text,
        HasSubstr("keyhole_requests_total{model=\"gpt-4o\",outcome=\"ok\",provider=\"openai\",route=\"POST "
                  "/v1/chat/completions\",status=\"2xx\"} 1"));
    EXPECT_THAT(text,
                HasSubstr("keyhole_tokens_total{bucket=\"input\",model=\"gpt-4o\",provider=\"openai\"} 10"));
    EXPECT_THAT(
        text,
        HasSubstr(
            "keyhole_tokens_total{bucket=\"output_reasoning\",model=\"gpt-4o\",provider=\"openai\"} 4"));
    EXPECT_THAT(text, Not(HasSubstr("bucket=\"cache_read\"")));
    EXPECT_THAT(text, HasSubstr("keyhole_web_searches_total{model=\"gpt-4o\",provider=\"openai\"} 2"));
    EXPECT_THAT(text, HasSubstr("keyhole_usage_source_total{source=\"provider\"} 1"));
    EXPECT_THAT(text, HasSubstr("keyhole_usage_total_mismatches_total{provider=\"openai\"} 1"));
    EXPECT_THAT(text, HasSubstr("keyhole_overhead_seconds_bucket{le=\"5e-05\"} 1"));
    EXPECT_THAT(text, HasSubstr("keyhole_overhead_seconds_bucket{le=\"2e-05\"} 0"));
    EXPECT_THAT(text,
                HasSubstr("keyhole_time_to_first_byte_seconds_bucket{provider=\"openai\",le=\"0.25\"} 1"));
    EXPECT_THAT(text,
                HasSubstr("keyhole_time_to_first_token_seconds_bucket{provider=\"openai\",le=\"0.25\"} 0"));
    EXPECT_THAT(text, HasSubstr("keyhole_request_duration_seconds_sum{provider=\"openai\"} 2"));
    EXPECT_THAT(text, Not(HasSubstr("keyhole_unpriced_requests_total")));
}

TEST(Metrics, MoneyDoesNotDriftHoweverOftenItIsAdded)
{
    metrics m("1");
    record r = finished();
    r.cost_nano_usd = 100'000'000;  // 0.1, which no double can hold
    for (int i = 0; i < 100'000; ++i) {
        m.request_ended(r, "gpt-4o", -1);
    }
    EXPECT_THAT(m.render(),
                HasSubstr("keyhole_cost_usd_total{provider=\"openai\",model=\"gpt-4o\"} 10000\n"));
}

TEST(Metrics, ShowsUnpricedRequestsAndNeverTheirRawModel)
{
    metrics m("1");
    record r = finished();
    r.model = "something-an-agent-made-up";
    r.priced = false;
    m.request_ended(r, "", 10);
    const std::string text = m.render();
    EXPECT_THAT(text, HasSubstr("model=\"other\""));
    EXPECT_THAT(text, Not(HasSubstr("made-up")));
    EXPECT_THAT(text, HasSubstr("keyhole_unpriced_requests_total{provider=\"openai\"} 1"));
}

TEST(Metrics, LabelsStayBoundedWhateverReachesThem)
{
    metrics m("1");
    for (int i = 0; i < 5000; ++i) {
        m.refused("p" + std::to_string(i), "r" + std::to_string(i));
        m.upstream_failed("p" + std::to_string(i), "s" + std::to_string(i));
    }
    const std::string text = m.render();
    EXPECT_LT(std::ranges::count(text, '\n'), 400);
    EXPECT_THAT(text, HasSubstr("keyhole_refusals_total{provider=\"other\",reason=\"other\"}"));
}

TEST(Metrics, AsksForGaugesAtEachScrape)
{
    metrics m("1");
    unsigned asked = 0;
    m.set_gauges_source([&] {
        metrics::gauges g;
        g.journal_used = ++asked;
        g.journal_capacity = 4096;
        g.ledger.rows_written = 12;
        g.ledger.failing = true;
        g.ledger.waiting = 3;
        g.sessions = 5;
        return g;
    });
    EXPECT_THAT(m.render(), HasSubstr("keyhole_journal_slots_used 1\n"));
    const std::string text = m.render();
    EXPECT_THAT(text, HasSubstr("keyhole_journal_slots_used 2\n"));
    EXPECT_THAT(text, HasSubstr("keyhole_ledger_rows_total 12\n"));
    EXPECT_THAT(text, HasSubstr("keyhole_ledger_failing 1\n"));
    EXPECT_THAT(text, HasSubstr("keyhole_ledger_rows_waiting 3\n"));
    EXPECT_THAT(text, HasSubstr("keyhole_sessions 5\n"));
}

TEST(Metrics, CountsStreamsUp_AndDown)
{
    metrics m("1");
    m.stream_started();
    m.stream_started();
    m.stream_ended();
    EXPECT_THAT(m.render(), HasSubstr("keyhole_streams_in_flight 1\n"));
}

/// Everything that can be in it is in it.
std::string full_text()
{
    metrics m("1.2.3");
    record r = finished();
    r.counts.web_searches = 1;
    r.total_mismatch = true;
    m.request_ended(r, "gpt-4o", 40);
    r.priced = false;
    r.end = outcome::provider_error;
    r.status = 503;
    m.request_ended(r, "", 40);
    m.refused("openai", "budget");
    m.stream_started();
    m.upstream_connected("openai", true);
    m.upstream_connected("openai", false);
    m.upstream_failed("openai", "tls");
    m.key_masked("openai");
    m.set_gauges_source([] { return metrics::gauges{}; });
    return m.render();
}

TEST(Metrics, PassThePrometheusLinter)
{
    if (std::system("command -v promtool >/dev/null 2>&1") != 0) GTEST_SKIP() << "promtool is not installed";
    const test::temp_dir dir;
    test::write_file(dir / "metrics.txt", full_text());
    const std::string command =
        "promtool check metrics < '" + dir / "metrics.txt" + "' > '" + dir / "lint.txt" + "' 2>&1";
    const int status = std::system(command.c_str());
    EXPECT_EQ(status, 0) << test::read_file(dir / "lint.txt");
    EXPECT_EQ(test::read_file(dir / "lint.txt"), "");
}

TEST(Metrics, TakesEventsFromManyThreadsWhileItIsScraped)
{
    metrics m("1");
    std::vector<std::thread> running;
    for (int t = 0; t < 4; ++t) {
        running.emplace_back([&] {
            for (int i = 0; i < 2000; ++i) {
                m.request_ended(finished(), "gpt-4o", 10);
                m.upstream_connected("openai", i % 2 == 0);
            }
        });
    }
    for (int i = 0; i < 20; ++i) {
        m.render();
    }
    for (auto& t : running) {
        t.join();
    }
    EXPECT_THAT(m.render(), HasSubstr("status=\"2xx\"} 8000\n"));
}

}  // namespace

}  // namespace keyhole::metering
