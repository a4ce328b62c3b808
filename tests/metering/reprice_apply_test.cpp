#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/reprice_apply.hpp"
#include "rollup_checks.hpp"

#include <gtest/gtest.h>

namespace keyhole::metering {
namespace {

using test::first_of_march;

price_table table_of(const std::string& input, const std::string& output)
{
    price_table t;
    t.load_keyhole_text("[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\naliases = "
                        "[\"gpt-4o-2024-08-06\"]\ninput = \"" +
                            input + "\"\noutput = \"" + output + "\"\n",
                        "test");
    return t;
}

struct history {
    test::temp_dir dir;
    journal inflight{dir / "inflight", 2048, false};
    ledger books{dir.path(), inflight, false};

    history()
    {
        std::mt19937 random(7);
        for (int i = 0; i < 1500; ++i) {
            record r = test::random_record(random, first_of_march + i * 200'000'000LL);
            const auto slot = inflight.open(r);
            inflight.settle(*slot);
            books.submit(*slot);
        }
        if (!books.flush(20)) throw std::runtime_error("not written");
    }
    repricer apply(const usage_query& q, const price_table& prices)
    {
        repricer work(q, prices);
        books.run([&](ledger_writer& to) { return work.slice(to); });
        return work;
    }
};

TEST(RepriceApply, TheRowsAndTheRollUpsSayWhatTheDiffSaid)
{
    history h;
    const price_table prices = table_of("3.00", "9.00");
    std::int64_t told = 0;
    std::int64_t was = 0;
    for (const repriced& g : reprice(h.books, {}, prices)) {
        told += g.nano_usd;
        was += g.booked_nano_usd;
    }
    const repricer done = h.apply({}, prices);
    EXPECT_TRUE(done.done());
    EXPECT_GT(done.changed(), 0);
    EXPECT_NE(told, was);
    EXPECT_EQ(h.books.usage({}).at(0).second.cost_nano_usd, told);
    test::expect_rollups_equal_rows(h.books);
    h.books.each_row({}, [&](const record& r) {
        if (r.source == usage_source::none) return true;
        const cost now = price_of(r, prices);
        EXPECT_EQ(r.cost_nano_usd, now.nano_usd);
        EXPECT_EQ(r.price_version.view(), now.priced ? prices.version() : std::string_view{});
        return true;
    });
}

TEST(RepriceApply, ASecondTimeChangesNothing)
{
    history h;
    const price_table prices = table_of("3.00", "9.00");
    h.apply({}, prices);
    const auto before = h.books.usage({}).at(0).second.cost_nano_usd;
    EXPECT_EQ(h.apply({}, prices).changed(), 0);
    EXPECT_EQ(h.books.usage({}).at(0).second.cost_nano_usd, before);
}

TEST(RepriceApply, GoesOnFromAnyPlaceWhereItStopped)
{
    history h;
    const price_table prices = table_of("3.00", "9.00");
    row_place at;
    std::int64_t requests = 0;
    int rounds = 0;
    while (true) {
        repricer part({}, prices, at, std::chrono::milliseconds(0));  // one slice, then the time is over
        h.books.run([&](ledger_writer& to) { return part.slice(to); });
        for (const repriced& g : part.groups()) {
            requests += g.requests;
        }
        at = part.reached();
        ++rounds;
        if (part.done()) break;
    }
    EXPECT_GT(rounds, 1);
    EXPECT_EQ(requests, 1500);
    EXPECT_EQ(h.apply({}, prices).changed(), 0) << "nothing was left out";
    test::expect_rollups_equal_rows(h.books);
}

TEST(RepriceApply, ChangesOnlyWhatTheQuestionNames)
{
    history h;
    const price_table prices = table_of("3.00", "9.00");
    const usage_query q{.since_us = first_of_march + 100'000'000'000, .session = "ses_b", .model = "gpt-4o"};
    h.apply(q, prices);
    h.books.each_row({}, [&](const record& r) {
        const bool named =
            r.ended_us >= q.since_us && r.session.view() == "ses_b" && r.model.view() == "gpt-4o";
        EXPECT_TRUE(named || r.price_version.view() != prices.version());
        return true;
    });
    test::expect_rollups_equal_rows(h.books);
}

}  // namespace
}  // namespace keyhole::metering
