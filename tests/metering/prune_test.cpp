#include "books_on_disk.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/prune.hpp"
#include "metering/sqlite.hpp"
#include "rollup_checks.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace keyhole::metering {
namespace {

using test::first_of_march;
using test::random_record;

constexpr std::int64_t day_us = schema::day_us;

struct books_on_disk : test::books_on_disk {
    /// `count` random rows over `days` from the first of March on.
    void fill(int count, int days, unsigned seed = 5)
    {
        std::mt19937 random(seed);
        for (int i = 0; i < count; ++i) {
            record r = random_record(random, first_of_march + test::any_of(random, days * day_us - 1));
            r.answer_id = "resp_" + std::to_string(i);
            r.format = i % 2 == 0 ? wire::openai_responses : wire::anthropic_messages;
            r.source = usage_source::provider;
            add(r);
        }
        ASSERT_TRUE(books.flush(20));
    }
    prune_report prune(std::int64_t before_us)
    {
        pruner p(before_us);
        books.run([&](ledger_writer& to) { return p.slice(to); });
        return p.report();
    }
};

std::map<std::string, std::vector<std::int64_t>> by_name(const ledger& books, const usage_query& q)
{
    std::map<std::string, std::vector<std::int64_t>> out;
    for (const auto& [name, sum] : books.usage(q)) {
        out[name] = test::numbers(sum);
    }
    return out;
}

TEST(Prune, TakesTheOldRowsAndLeavesEverySumOfWholeDays)
{
    books_on_disk b;
    b.fill(2000, 6);
    const std::int64_t cut = first_of_march + 3 * day_us;
    std::vector<std::map<std::string, std::vector<std::int64_t>>> before;
    const auto questions = [&] {
        std::vector<std::map<std::string, std::vector<std::int64_t>>> answers;
        for (int by = 0; by <= static_cast<int>(group_by::source); ++by) {
            usage_query q{.by = static_cast<group_by>(by)};
            answers.push_back(by_name(b.books, q));
            q.session = "ses_a";
            answers.push_back(by_name(b.books, q));
            q.since_us = first_of_march + day_us;
            answers.push_back(by_name(b.books, q));
            q.until_us = first_of_march + 2 * day_us;
            answers.push_back(by_name(b.books, q));
            q = {.by = static_cast<group_by>(by), .since_us = cut + 5, .model = "gpt-4o"};
            answers.push_back(by_name(b.books, q));
        }
        return answers;
    };
    before = questions();
    const std::int64_t expected = would_prune(b.books.path(), cut).rows;

    const prune_report r = b.prune(cut);
    EXPECT_TRUE(r.done);
    EXPECT_EQ(r.rows, expected);
    EXPECT_GT(r.rows, 0);
    b.books.each_row({}, [&](const record& row) {
        EXPECT_GE(row.ended_us, cut);
        return true;
    });
    EXPECT_EQ(questions(), before);
    EXPECT_EQ(b.prune(cut).rows, 0) << "a second time there is nothing left";
}

TEST(Prune, CountsWholeDaysWhereARangeBeginsBeforeTheRowsThatAreLeft)
{
    books_on_disk b;
    b.fill(1000, 4);
    const auto whole = by_name(b.books, {.by = group_by::model, .since_us = first_of_march + day_us});
    b.prune(first_of_march + 2 * day_us);
    EXPECT_EQ(by_name(b.books, {.by = group_by::model, .since_us = first_of_march + day_us + 7'000'000'000}),
              whole);
}

TEST(Prune, TakesNoRowOfToday)
{
    const std::int64_t now = first_of_march + day_us / 2;
    EXPECT_EQ(prune_limit(now + 40 * day_us, now), first_of_march);
    EXPECT_EQ(prune_limit(first_of_march - 1, now), first_of_march - day_us);
    EXPECT_EQ(prune_limit(-1, now), 0);
}

TEST(Prune, AStoredAnswerStaysBilledAndItsOwnersAfterItsRowIsGone)
{
    books_on_disk b;
    b.fill(10, 1);
    const auto maker = b.books.made_by("resp_4");
    b.prune(first_of_march + day_us);
    ASSERT_TRUE(b.books.rows({}).empty());
    EXPECT_TRUE(b.books.answer_billed("resp_4"));
    EXPECT_EQ(b.books.made_by("resp_4").session, maker.session);
    EXPECT_FALSE(b.books.answer_billed("resp_5")) << "a message can't be asked for again";
}

TEST(Prune, GivesTheSpaceBackWithoutStopping)
{
    books_on_disk b;
    b.fill(3000, 3);
    const std::int64_t full = state_of(b.books.path()).bytes;
    const prune_report r = b.prune(first_of_march + 3 * day_us);
    EXPECT_TRUE(r.gives_back);
    EXPECT_GT(r.pages_freed, 0);
    const file_state after = state_of(b.books.path());
    EXPECT_EQ(after.free_bytes, 0);
    EXPECT_LT(after.bytes, full / 2);
}

TEST(Prune, AnOldFileGivesSpaceBackAfterOneCompaction)
{
    const test::temp_dir dir;
    {
        sqlite::connection db(dir / "ledger.db", sqlite::mode::create, 1000);
        db.exec("PRAGMA journal_mode = WAL");
        db.exec(test::read_file(std::string(KEYHOLE_TEST_DATA) + "/ledger_v1.sql"));
    }
    journal inflight(dir / "inflight", 64, false);
    ledger books(dir.path(), inflight, false);
    EXPECT_FALSE(state_of(books.path()).gives_back);
    const auto before = by_name(books, {.by = group_by::session});
    books.run([](ledger_writer& to) {
        compact(to);
        return false;
    });
    EXPECT_TRUE(state_of(books.path()).gives_back);
    EXPECT_EQ(by_name(books, {.by = group_by::session}), before);
    test::expect_rollups_equal_rows(books);
}

TEST(Prune, RowsGoOnBeingWrittenBetweenItsSlices)
{
    books_on_disk b;
    b.fill(3000, 3);
    std::mt19937 random(11);
    pruner p(first_of_march + 3 * day_us);
    int slices = 0;
    int written = 0;
    std::chrono::nanoseconds longest{0};
    b.books.run([&](ledger_writer& to) {
        if (slices++ % 5 == 0) {
            b.add(random_record(random, first_of_march + 10 * day_us));
            ++written;
        }
        const auto begin = std::chrono::steady_clock::now();
        const bool more = p.slice(to);
        longest = std::max<std::chrono::nanoseconds>(longest, std::chrono::steady_clock::now() - begin);
        return more;
    });
    EXPECT_GT(slices, 5);
    ASSERT_TRUE(b.books.flush(20));
    EXPECT_EQ(b.books.rows({}).size(), static_cast<std::size_t>(written));
    EXPECT_EQ(b.books.usage({}).at(0).second.requests, 3000 + written);
    RecordProperty("longest_slice_us",
                   std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(longest).count()));
}

TEST(Prune, RetentionTakesWhatIsOlderByItself)
{
    books_on_disk b;
    b.fill(50, 2);
    std::mt19937 random(12);
    b.add(random_record(random, now_us()));
    ASSERT_TRUE(b.books.flush(20));
    b.books.keep_rows(30);
    EXPECT_TRUE(test::eventually([&] { return b.books.health().rows_pruned == 50; }));
    EXPECT_EQ(b.books.rows({}).size(), 1U);
    EXPECT_EQ(b.books.usage({}).at(0).second.requests, 51);
}

TEST(Prune, AChoreThatFailsTellsWhyAndTheLedgerGoesOn)
{
    books_on_disk b;
    EXPECT_THROW(b.books.run([](ledger_writer&) -> bool { throw std::runtime_error("no"); }),
                 std::runtime_error);
    EXPECT_EQ(b.books.health().chore_error, "no");
    b.fill(3, 1);
    EXPECT_EQ(b.books.rows({}).size(), 3U);
}

}  // namespace
}  // namespace keyhole::metering
