#include "books_on_disk.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/sqlite.hpp"
#include "rollup_checks.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace keyhole::metering {

namespace {

using test::books_on_disk;
using test::random_record;
using test::submit;
using test::temp_dir;
using ::testing::HasSubstr;

constexpr std::int64_t day_us = schema::day_us;
/// 2026-03-01 00:00 UTC.
constexpr std::int64_t some_day = 20'513 * day_us;

TEST(Ledger, EVERY_REQUEST_ONE_ROW_WritesARequestIdOnce)
{
    books_on_disk b;
    std::mt19937 random(2);
    const record r = random_record(random, now_us());
    for (int i = 0; i < 5; ++i) {
        b.add(r);
    }
    ASSERT_TRUE(b.books.flush(10));
    b.add(r);
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_EQ(b.books.rows({}).size(), 1U);
    EXPECT_EQ(b.books.usage({}).at(0).second.requests, 1);
    EXPECT_EQ(b.inflight.used(), 0U);
    EXPECT_EQ(b.books.health().rows_written, 1U);
}

TEST(Ledger, EVERY_REQUEST_ONE_ROW_WritesTheNewRowsOfABatchThatHoldsKnownOnes)
{
    books_on_disk b;
    std::mt19937 random(7);
    const record known = random_record(random, now_us());
    b.add(known);
    ASSERT_TRUE(b.books.flush(10));
    for (int i = 0; i < 50; ++i) {
        b.add(i == 20 || i == 49 ? known : random_record(random, now_us()));
    }
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_EQ(b.books.rows({}).size(), 49U);
    EXPECT_EQ(b.books.health().rows_written, 49U);
    EXPECT_EQ(b.inflight.used(), 0U);
    test::expect_rollups_equal_rows(b.books);
}

TEST(Ledger, FreesTheSlotAfterTheCommitAndTellsOfEachRowOnce)
{
    const temp_dir dir;
    journal inflight(dir / "inflight", 64, false);
    std::mutex mutex;
    std::vector<std::string> told;
    std::atomic<bool> slot_was_taken{true};
    {
        ledger books(dir.path(), inflight, false, [&](const record& r) {
            const std::lock_guard lock(mutex);
            told.emplace_back(r.session.view());
            if (inflight.used() == 0) slot_was_taken = false;
        });
        std::mt19937 random(3);
        for (int i = 0; i < 10; ++i) {
            submit(inflight, books, random_record(random, now_us()));
        }
        ASSERT_TRUE(books.flush(10));
    }
    EXPECT_EQ(told.size(), 10U);
    EXPECT_TRUE(slot_was_taken);
}

TEST(Ledger, SurvivesAListenerThatThrows)
{
    const temp_dir dir;
    journal inflight(dir / "inflight", 64, false);
    ledger books(dir.path(), inflight, false, [](const record&) { throw std::runtime_error("listener"); });
    std::mt19937 random(3);
    submit(inflight, books, random_record(random, now_us()));
    EXPECT_TRUE(books.flush(10));
    EXPECT_EQ(books.rows({}).size(), 1U);
}

TEST(Ledger, RollUpsEqualTheirRowsAfterARandomWorkload)
{
    books_on_disk b;
    std::mt19937 random(20260301);
    std::vector<record> sent;
    for (int i = 0; i < 3000; ++i) {
        record r = random_record(random, some_day + test::any_of(random, 4 * day_us));
        if (!sent.empty() && test::any_of(random, 9) == 0) {
            r = sent[static_cast<std::size_t>(
                test::any_of(random, static_cast<std::int64_t>(sent.size()) - 1))];
        }
        sent.push_back(r);
        b.add(r);
        if (i % 700 == 0) {
            ASSERT_TRUE(b.books.flush(10));
        }
    }
    ASSERT_TRUE(b.books.flush(20));

    test::expect_rollups_equal_rows(b.books, some_day);
}

TEST(Ledger, NamesDaysByDateInOrder)
{
    books_on_disk b;
    std::mt19937 random(5);
    b.add(random_record(random, some_day + day_us + 1));
    b.add(random_record(random, some_day + 1));
    ASSERT_TRUE(b.books.flush(10));
    usage_query q;
    q.by = group_by::day;
    const auto days = b.books.usage(q);
    ASSERT_EQ(days.size(), 2U);
    EXPECT_EQ(days[0].first, "2026-03-01");
    EXPECT_EQ(days[1].first, "2026-03-02");
}

TEST(Ledger, PutsTheLargestCostFirstAndKeepsToTheLimit)
{
    books_on_disk b;
    std::mt19937 random(6);
    for (int i = 0; i < 5; ++i) {
        record r = random_record(random, some_day + i);
        r.session = "ses_" + std::to_string(i);
        r.cost_nano_usd = i * 100;
        b.add(r);
    }
    ASSERT_TRUE(b.books.flush(10));
    usage_query q;
    q.by = group_by::session;
    q.limit = 2;
    const auto sessions = b.books.usage(q);
    ASSERT_EQ(sessions.size(), 2U);
    EXPECT_EQ(sessions[0].first, "ses_4");
    EXPECT_EQ(sessions[1].first, "ses_3");

    const auto rows = b.books.rows({.by = group_by::none,
                                    .since_us = 0,
                                    .until_us = INT64_MAX,
                                    .session = {},
                                    .account = {},
                                    .sandbox = {},
                                    .provider = {},
                                    .model = {},
                                    .limit = 3});
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0].session.view(), "ses_4") << "newest first";
}

TEST(Ledger, StopsAnExportWhereAsked)
{
    books_on_disk b;
    std::mt19937 random(7);
    for (int i = 0; i < 5; ++i) {
        b.add(random_record(random, some_day + 5 - i));
    }
    ASSERT_TRUE(b.books.flush(10));
    std::vector<std::int64_t> times;
    b.books.each_row({}, [&](const record& r) {
        times.push_back(r.ended_us - some_day);
        return times.size() < 3;
    });
    EXPECT_THAT(times, ::testing::ElementsAre(1, 2, 3)) << "oldest first";
}

TEST(Ledger, PagesOfAnExportHoldEveryRowOnceAlsoWhereManyEndAtTheSameTime)
{
    books_on_disk b;
    std::mt19937 random(11);
    for (int i = 0; i < 100; ++i) {
        b.add(random_record(random, some_day + i / 40));
    }
    ASSERT_TRUE(b.books.flush(10));
    usage_query q;
    q.limit = 7;
    q.after.emplace();
    std::set<std::string> seen;
    std::int64_t last_us = 0;
    std::size_t rows = 0;
    while (true) {
        const auto page = b.books.rows(q);
        for (const record& r : page) {
            const auto id = format_request_id(r.request_id);
            EXPECT_TRUE(seen.emplace(id.data(), id.size()).second);
            EXPECT_GE(r.ended_us, last_us);
            last_us = r.ended_us;
            q.after->ended_us = r.ended_us;
            q.after->id.assign(id.data(), id.size());
        }
        rows += page.size();
        if (page.size() < q.limit) break;
    }
    EXPECT_EQ(rows, 100U);
}

TEST(Ledger, GivesARowWithoutAnEndTheTimeOfItsCommit)
{
    books_on_disk b;
    const std::int64_t before = now_us();
    record r;
    r.request_id = new_request_id();
    b.add(r);
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_GE(b.books.rows({}).at(0).ended_us, before);
}

TEST(Ledger, EVERY_REQUEST_ONE_ROW_AnEstimateIsGivenUpWithTheRowThatHoldsTheTruth)
{
    books_on_disk b;
    std::mt19937 random(9);
    std::vector<record> rows;
    for (int i = 0; i < 5; ++i) {
        record r = random_record(random, now_us());
        r.provider = "openai";
        r.format = wire::openai_responses;
        r.source = usage_source::estimated;
        r.answer_id = i == 4 ? "resp_other" : "resp_later";
        rows.push_back(r);
    }
    rows[0].provider = "elsewhere";
    rows[1].source = usage_source::provider_partial;
    rows[3].source = usage_source::provider;
    rows[3].settles_estimate = true;
    for (int i = 0; i < 3; ++i)
        b.add(rows[static_cast<std::size_t>(i)]);
    const auto known = b.books.usage_of("resp_later", "openai");
    EXPECT_TRUE(known.final) << "a provider's partial numbers are the provider's";
    ASSERT_EQ(known.estimates.size(), 1U);
    EXPECT_EQ(known.estimates[0].nano_usd, rows[2].cost_nano_usd);
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_EQ(b.books.usage_of("resp_later", "openai").estimates.size(), 1U);
    b.add(rows[3]);
    b.add(rows[4]);
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_TRUE(b.books.usage_of("resp_later", "openai").estimates.empty());

    std::int64_t cost = 0;
    std::int64_t tokens = 0;
    for (const std::size_t i : {0U, 1U, 3U, 4U}) {
        cost += rows[i].cost_nano_usd;
        tokens += rows[i].counts.total();
    }
    for (const group_by by : {group_by::none, group_by::source, group_by::session, group_by::day}) {
        std::int64_t cost_told = 0;
        std::int64_t tokens_told = 0;
        std::int64_t requests = 0;
        usage_query q;
        q.by = by;
        for (const auto& [name, sum] : b.books.usage(q)) {
            cost_told += sum.cost_nano_usd;
            tokens_told += sum.counts.total();
            requests += sum.requests;
            EXPECT_GT(sum.requests, 0) << name;
        }
        EXPECT_EQ(std::tuple(cost_told, tokens_told, requests), std::tuple(cost, tokens, 5));
    }
}

TEST(Ledger, TellsWhatAnAnswerHoldsToThoseThatBuildOnIt)
{
    books_on_disk b;
    std::mt19937 random(9);
    const auto row = [&](std::int64_t input, std::int64_t output) {
        record r = random_record(random, now_us());
        r.answer_id = "resp_built_on";
        r.format = wire::openai_responses;
        r.counts = {.input = input, .output = output};
        return r;
    };
    EXPECT_EQ(b.books.made_by("resp_built_on").tokens, 0);
    b.add(row(0, 0));  // made in the background
    b.add(row(700, 20));
    EXPECT_EQ(b.books.made_by("resp_built_on").tokens, 720) << "whether committed or still waiting";
    ASSERT_TRUE(b.books.flush(10));
    b.add(row(0, 0));  // looked at again
    EXPECT_EQ(b.books.made_by("resp_built_on").tokens, 720);
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_EQ(b.books.made_by("resp_built_on").tokens, 720);
    EXPECT_EQ(b.books.made_by("resp_of_nobody").tokens, 0);
}

TEST(Ledger, BillsARetrievedAnswerOnce)
{
    books_on_disk b;
    std::mt19937 random(8);
    record r = random_record(random, now_us());
    r.answer_id = "resp_known";
    r.format = wire::openai_responses;  // only ids of stored objects are asked for
    r.source = usage_source::provider;
    EXPECT_FALSE(b.books.answer_billed("resp_known"));
    b.add(r);
    EXPECT_TRUE(b.books.answer_billed("resp_known")) << "whether committed or still waiting";
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_TRUE(b.books.answer_billed("resp_known"));

    record unknown = random_record(random, now_us());
    unknown.answer_id = "resp_without_usage";
    unknown.format = wire::openai_responses;
    unknown.source = usage_source::none;
    b.add(unknown);
    ASSERT_TRUE(b.books.flush(10));
    EXPECT_FALSE(b.books.answer_billed("resp_without_usage")) << "nothing was billed for it";
    EXPECT_FALSE(b.books.answer_billed(""));
}

TEST(Ledger, TakesRowsFromManyThreadsWhileOthersRead)
{
    books_on_disk b;
    constexpr int threads = 6;
    constexpr int each = 1500;
    std::atomic<bool> stop{false};
    std::thread reader([&] {
        while (!stop) {
            const auto sums = b.books.usage({});
            std::int64_t rows = 0;
            b.books.each_row({}, [&](const record&) { return ++rows < 100; });
            if (!sums.empty() && sums[0].second.requests < rows) break;
        }
    });
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
        running.emplace_back([&, t] {
            std::mt19937 random(static_cast<unsigned>(t));
            for (int i = 0; i < each; ++i) {
                const record r = random_record(random, some_day + i);
                std::optional<std::uint32_t> slot;
                while (!(slot = b.inflight.open(r))) {
                    std::this_thread::yield();
                }
                b.inflight.settle(*slot);
                b.books.submit(*slot);
            }
        });
    }
    for (auto& t : running) {
        t.join();
    }
    EXPECT_TRUE(b.books.flush(60));
    stop = true;
    reader.join();
    EXPECT_EQ(b.books.usage({}).at(0).second.requests, threads * each);
    EXPECT_EQ(b.inflight.used(), 0U);
    EXPECT_LT(b.books.health().commits, static_cast<std::uint64_t>(threads * each))
        << "many rows a transaction";
}

TEST(Ledger, WritesWhatWaitsWhenItCloses)
{
    const temp_dir dir;
    journal inflight(dir / "inflight", 64, false);
    std::mt19937 random(9);
    {
        ledger books(dir.path(), inflight, true);
        for (int i = 0; i < 20; ++i) {
            submit(inflight, books, random_record(random, some_day + i));
        }
    }
    EXPECT_EQ(inflight.used(), 0U);
    const ledger again(dir.path(), inflight, true);
    EXPECT_EQ(again.rows({}).size(), 20U);
    EXPECT_TRUE(dir.matching("ledger.db-wal").empty() ||
                std::filesystem::file_size(dir / "ledger.db-wal") == 0);
}

TEST(Ledger, IsReadableByItsOwnerOnly)
{
    const books_on_disk b;
    for (const std::string& name : b.dir.matching("ledger.db")) {
        const auto mode = std::filesystem::status(b.dir / name).permissions();
        EXPECT_EQ(mode & (std::filesystem::perms::group_all | std::filesystem::perms::others_all),
                  std::filesystem::perms::none)
            << name;
    }
}

TEST(Ledger, TOKENS_EXACT_CountsWhatIsUnpricedEstimatedUnknownAndWrong)
{
    books_on_disk b;
    record r;
    r.ended_us = some_day;
    r.end = outcome::ok;
    r.format = wire::openai_chat;
    r.status = 200;
    const auto add = [&](auto&& change) {
        record copy = r;
        copy.request_id = new_request_id();
        change(copy);
        b.add(copy);
    };
    add([](record& x) {
        x.source = usage_source::provider, x.counts.input = 1, x.priced = false;
    });  // unpriced
    add([](record& x) {
        x.source = usage_source::provider_partial, x.counts.input = 1, x.priced = true;
    });  // estimated
    add([](record& x) {
        x.source = usage_source::estimated, x.counts.input = 1, x.priced = true;
    });                                                     // estimated
    add([](record& x) { x.source = usage_source::none; });  // unknown
    add([](record& x) {
        x.source = usage_source::none, x.status = 500, x.end = outcome::provider_error;
    });                                                                            // error
    add([](record& x) { x.source = usage_source::none, x.format = wire::none; });  // a list of models
    ASSERT_TRUE(b.books.flush(10));
    const usage_sum s = b.books.usage({}).at(0).second;
    EXPECT_EQ(s.requests, 6);
    EXPECT_EQ(s.unpriced_requests, 1);
    EXPECT_EQ(s.estimated_requests, 2);
    EXPECT_EQ(s.unknown_requests, 1);
    EXPECT_EQ(s.errors, 1);
}

/// Answers' ids are random: looking through all rows for one would take longer with each request ever made.
TEST(Ledger, FindsWhoMadeAnObjectByAnIndex)
{
    const books_on_disk b;
    sqlite::connection db(b.dir / "ledger.db", sqlite::mode::read_only, 1000);
    sqlite::statement plan =
        db.prepare("EXPLAIN QUERY PLAN SELECT session FROM requests WHERE answer_id = ?1 AND " +
                   std::string(schema::stored_objects));
    ASSERT_TRUE(plan.step());
    EXPECT_THAT(std::string(plan.text(3)), HasSubstr("requests_by_answer"));
}

}  // namespace

}  // namespace keyhole::metering
