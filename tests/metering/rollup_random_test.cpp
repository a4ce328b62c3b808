// What the roll-ups are worth: random rows, the same row again, prunes, other prices, and a kill -9 in
// between.
#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/prune.hpp"
#include "metering/reprice_apply.hpp"
#include "metering/sqlite.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <map>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>

namespace keyhole::metering {
namespace {

using test::any_of;
using test::random_record;

constexpr std::int64_t first_day = 20'513 * schema::day_us;
constexpr int days = 5;

price_table prices_of(int n)
{
    price_table t;
    for (const char* model : {"gpt-4o", "claude-haiku-4-5"}) {
        for (const char* provider : {"openai", "anthropic"}) {
            t.load_keyhole_text("[[model]]\nprovider = \"" + std::string(provider) + "\"\nmodel = \"" +
                                    model + "\"\ninput = \"" + std::to_string(n) + ".5\"\noutput = \"" +
                                    std::to_string(n * 3) + "\"\n",
                                "test");
        }
    }
    return t;
}

void submit(journal& j, ledger& books, const record& r)
{
    const auto slot = j.open(r);
    if (!slot) std::_Exit(9);
    j.settle(*slot);
    books.submit(*slot);
}

/// Works on the ledger for ever; whoever started it kills it.
[[noreturn]] void work_until_killed(const std::string& directory, unsigned seed)
{
    std::mt19937 random(seed);
    journal inflight(directory + "/inflight", 512, false);
    ledger books(directory, inflight, false);
    std::vector<record> sent;
    while (true) {
        for (int i = 0; i < 40; ++i) {
            record r = random_record(random, first_day + any_of(random, days * schema::day_us - 1));
            const bool again = !sent.empty() && any_of(random, 5) == 0;
            if (again)
                r = sent[static_cast<std::size_t>(
                    any_of(random, static_cast<std::int64_t>(sent.size()) - 1))];
            if (!again) sent.push_back(r);
            submit(inflight, books, r);
        }
        const auto choice = any_of(random, 4);
        if (choice == 0) {
            repricer work({}, prices_of(static_cast<int>(any_of(random, 3)) + 1));
            books.run([&](ledger_writer& to) { return work.slice(to); });
        } else if (choice == 1) {
            // At most two days in all, so that rows are left to compare.
            pruner work(first_day + any_of(random, 2) * schema::day_us);
            books.run([&](ledger_writer& to) { return work.slice(to); });
        }
        books.flush(5);
        if (sent.size() > 400) sent.clear();
    }
}

std::string line_of(sqlite::statement& s, int columns)
{
    std::string line;
    for (int i = 0; i < columns; ++i) {
        line += std::string(s.text(i)) + "|";
    }
    return line;
}

std::vector<std::string> lines(sqlite::connection& db, const std::string& sql, int columns)
{
    std::vector<std::string> out;
    sqlite::statement s = db.prepare(sql);
    while (s.step()) {
        out.push_back(line_of(s, columns));
    }
    return out;
}

/// The hourly lines equal the rows; the daily lines equal the hourly ones from the pruned day on; each margin
/// equals the daily lines, over all time too, whatever was pruned.
void expect_all_agree(const std::string& path)
{
    sqlite::connection db(path, sqlite::mode::read_only, 1000);
    const std::int64_t kept = db.integer("SELECT value FROM facts WHERE name = 'pruned_before_us'");
    const std::string keys = "session, account, sandbox, run, provider, model, route, outcome, source";
    const std::string counted = "CASE WHEN model = '' THEN answered_model ELSE model END";
    const std::string sums =
        "sum(requests), sum(input), sum(cache_read), sum(output), sum(output_reasoning), "
        "sum(web_searches), sum(cost_nano_usd), sum(errors), sum(unpriced_requests)";
    const std::string row_sums =
        "count(*), sum(input), sum(cache_read), sum(output), sum(output_reasoning), sum(web_searches), "
        "sum(cost_nano_usd), sum(outcome <> 'ok'), sum(priced = 0 AND input + cache_read + cache_write_5m + "
        "cache_write_1h + output + output_reasoning + web_searches > 0)";
    const std::string hour = std::to_string(kept / schema::hour_us);
    const std::string day = std::to_string(kept / schema::day_us);
    EXPECT_EQ(lines(db,
                    "SELECT bucket, " + keys + ", " + sums + " FROM usage_hourly WHERE bucket >= " + hour +
                        " GROUP BY bucket, " + keys + " HAVING sum(requests) > 0 ORDER BY bucket, " + keys,
                    19),
              lines(db,
                    "SELECT ended_us / 3600000000 AS bucket, session, account, sandbox, run, provider, " +
                        counted + " AS counted, route, outcome, source, " + row_sums +
                        " FROM requests WHERE ended_us >= " + std::to_string(kept) +
                        " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
                    19))
        << "hours are the rows";
    EXPECT_EQ(lines(db,
                    "SELECT bucket / 24 AS d, " + keys + ", " + sums + " FROM usage_hourly WHERE bucket >= " +
                        hour + " GROUP BY d, " + keys + " ORDER BY d, " + keys,
                    19),
              lines(db,
                    "SELECT bucket, " + keys + ", " + sums + " FROM usage_daily WHERE bucket >= " + day +
                        " GROUP BY bucket, " + keys + " ORDER BY bucket, " + keys,
                    19))
        << "days are the hours";
    constexpr const char* dimensions[] = {"''",       "session", "account", "sandbox", "run",
                                          "provider", "model",   "route",   "outcome", "source"};
    for (int d = 0; d < 10; ++d) {
        const std::string of = " FROM usage_margins WHERE dimension = " + std::to_string(d);
        const std::string name = dimensions[d];
        EXPECT_EQ(
            lines(db,
                  "SELECT day, name, " + sums + of + " AND day >= 0 GROUP BY day, name ORDER BY day, name",
                  11),
            lines(db,
                  "SELECT bucket, " + name + " AS n, " + sums +
                      " FROM usage_daily GROUP BY bucket, n ORDER BY bucket, n",
                  11))
            << "margins of " << name;
        EXPECT_EQ(
            lines(db, "SELECT name, " + sums + of + " AND day = -1 GROUP BY name ORDER BY name", 10),
            lines(db, "SELECT " + name + " AS n, " + sums + " FROM usage_daily GROUP BY n ORDER BY n", 10))
            << "all time of " << name;
    }
}

TEST(RollUps, EqualTheRowsAfterDuplicatesPrunesOtherPricesAndKills)
{
    const test::temp_dir dir;
    std::mt19937 random(20261121);
    for (unsigned round = 0; round < 12; ++round) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) work_until_killed(dir.path(), round + 1);
        const auto enough =
            std::chrono::steady_clock::now() + std::chrono::milliseconds(150 + any_of(random, 250));
        ASSERT_TRUE(test::eventually([&] { return std::chrono::steady_clock::now() > enough; }));
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        // What the kill left in the journal becomes rows, as at a start.
        {
            journal inflight(dir / "inflight", 512, false);
            const ledger books(dir.path(), inflight, false);
        }
        expect_all_agree(dir / "ledger.db");
        if (::testing::Test::HasFailure()) FAIL() << "in round " << round;
    }
    sqlite::connection db(dir / "ledger.db", sqlite::mode::read_only, 1000);
    EXPECT_GT(db.integer("SELECT count(*) FROM requests"), 100);
    EXPECT_GT(db.integer("SELECT sum(requests) FROM usage_daily"),
              db.integer("SELECT count(*) FROM requests"))
        << "something was pruned";
    EXPECT_GT(db.integer("SELECT count(DISTINCT price_version) FROM requests"), 1)
        << "something was repriced";
}

}  // namespace
}  // namespace keyhole::metering
