#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/sqlite.hpp"
#include "rollup_checks.hpp"

#include <gtest/gtest.h>

namespace keyhole::metering {
namespace {

/// The file that the program of that schema version wrote.
void lay_down(int version, const std::string& path)
{
    sqlite::connection db(path, sqlite::mode::create, 1000);
    db.exec("PRAGMA journal_mode = WAL");
    db.exec(test::read_file(std::string(KEYHOLE_TEST_DATA) + "/ledger_v" + std::to_string(version) + ".sql"));
}

TEST(LedgerMigration, AVersion1FileKeepsItsRowsAndGetsRollUpsThatEqualThem)
{
    const test::temp_dir dir;
    lay_down(1, dir / "ledger.db");
    usage_sum before;
    {
        sqlite::connection db(dir / "ledger.db", sqlite::mode::read_only, 1000);
        before.requests = db.integer("SELECT count(*) FROM requests");
        before.cost_nano_usd = db.integer("SELECT sum(cost_nano_usd) FROM usage_daily");
        before.counts.output = db.integer("SELECT sum(output) FROM usage_daily");
        before.errors = db.integer("SELECT sum(errors) FROM usage_hourly");
    }
    ASSERT_EQ(before.requests, 120);

    journal inflight(dir / "inflight", 64, false);
    ledger books(dir.path(), inflight, false);
    const auto total = books.usage({}).at(0).second;
    EXPECT_EQ(total.requests, before.requests);
    EXPECT_EQ(total.cost_nano_usd, before.cost_nano_usd);
    EXPECT_EQ(total.counts.output, before.counts.output);
    EXPECT_EQ(total.errors, before.errors);
    test::expect_rollups_equal_rows(books);
}

TEST(LedgerMigration, AVersion1FileGoesOnTakingRowsAndASecondStartChangesNothing)
{
    const test::temp_dir dir;
    lay_down(1, dir / "ledger.db");
    journal inflight(dir / "inflight", 64, false);
    std::mt19937 random(4);
    {
        ledger books(dir.path(), inflight, false);
        const auto slot = inflight.open(test::random_record(random, now_us()));
        ASSERT_TRUE(slot);
        inflight.settle(*slot);
        books.submit(*slot);
        ASSERT_TRUE(books.flush(10));
    }
    const ledger books(dir.path(), inflight, false);
    EXPECT_EQ(books.usage({}).at(0).second.requests, 121);
    test::expect_rollups_equal_rows(books);
}

TEST(LedgerMigration, AVersion2FileKeepsItsRowsItsSumsAndWhoMadeWhat)
{
    const test::temp_dir dir;
    lay_down(2, dir / "ledger.db");
    journal inflight(dir / "inflight", 64, false);
    std::mt19937 random(4);
    ledger books(dir.path(), inflight, false);
    EXPECT_EQ(books.usage({}).at(0).second.requests, 30);
    test::expect_rollups_equal_rows(books);
    std::size_t stored = 0;
    for (const record& r : books.rows({})) {
        if (r.format != wire::openai_responses) continue;
        ++stored;
        EXPECT_EQ(books.made_by(r.answer_id.view()).session, r.session.view());
        EXPECT_EQ(books.answer_billed(r.answer_id.view()), r.source != usage_source::none);
    }
    EXPECT_GT(stored, 0U);
    sqlite::connection db(dir / "ledger.db", sqlite::mode::read_only, 1000);
    EXPECT_EQ(db.integer("PRAGMA user_version"), 3);

    const auto slot = inflight.open(test::random_record(random, now_us()));
    ASSERT_TRUE(slot);
    inflight.settle(*slot);
    books.submit(*slot);
    ASSERT_TRUE(books.flush(10));
    EXPECT_EQ(books.usage({}).at(0).second.requests, 31);
}

}  // namespace
}  // namespace keyhole::metering
