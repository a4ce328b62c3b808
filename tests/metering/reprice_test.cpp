#include "books_fixture.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/reprice.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace keyhole::metering {

namespace {

constexpr std::string_view older = R"(
[[model]]
provider = "openai"
model = "gpt-4o"
aliases = ["gpt-4o-2024-08-06"]
input = "2.00"
output = "8.00"
[[model]]
provider = "anthropic"
model = "claude-haiku-4-5"
aliases = ["claude-haiku-4-5-20251001"]
input = "1.00"
output = "5.00"
)";

price_table table_of(std::string_view text)
{
    price_table t;
    t.load_keyhole_text(text, "test");
    return t;
}

struct history {
    test::temp_dir dir;
    journal inflight{dir / "inflight", 2048, false};
    ledger books{dir.path(), inflight, false};
    std::int64_t booked = 0;

    /// Books random requests at `prices`.
    void book(const price_table& prices, int count)
    {
        std::mt19937 random(7);
        for (int i = 0; i < count; ++i) {
            record r = test::random_record(random, schema::day_us * 20'513 + i);
            const cost c = price_of(r, prices);
            r.cost_nano_usd = c.nano_usd;
            r.priced = c.priced;
            booked += c.nano_usd;
            const auto slot = inflight.open(r);
            ASSERT_TRUE(slot);
            inflight.settle(*slot);
            books.submit(*slot);
        }
        ASSERT_TRUE(books.flush(20));
    }
};

TEST(Reprice, TOKENS_EXACT_TheSamePricesGiveWhatWasBooked)
{
    history h;
    const price_table prices = table_of(older);
    h.book(prices, 1000);
    std::int64_t booked = 0;
    std::int64_t requests = 0;
    for (const repriced& g : reprice(h.books, {}, prices)) {
        EXPECT_EQ(g.nano_usd, g.booked_nano_usd) << g.provider << " " << g.model;
        EXPECT_EQ(g.unpriced, g.booked_unpriced) << g.provider << " " << g.model;
        booked += g.booked_nano_usd;
        requests += g.requests;
    }
    EXPECT_EQ(booked, h.booked);
    EXPECT_EQ(requests, 1000);
    EXPECT_EQ(h.books.usage({}).at(0).second.cost_nano_usd, booked);
}

TEST(Reprice, TOKENS_EXACT_WorkBesideTheUsageCostsWhatItsModelCosts)
{
    const price_table prices = table_of(older);
    record r;
    r.provider = "anthropic";
    r.model = "claude-haiku-4-5";
    r.source = usage_source::provider;
    r.counts.input = 1'000'000;
    EXPECT_EQ(price_of(r, prices).nano_usd, 1'000'000'000);
    r.beyond.output = 1'000'000;
    EXPECT_EQ(price_of(r, prices).nano_usd, 6'000'000'000);
    EXPECT_TRUE(price_of(r, prices).priced);
    r.beyond_model = "claude-without-a-price";
    EXPECT_EQ(price_of(r, prices).nano_usd, 1'000'000'000);
    EXPECT_FALSE(price_of(r, prices).priced);
}

TEST(Reprice, ShowsADifferenceWithoutChangingTheRows)
{
    history h;
    h.book(table_of(older), 300);
    const auto before = h.books.rows({});
    const price_table dearer = table_of(R"(
[[model]]
provider = "openai"
model = "gpt-4o"
aliases = ["gpt-4o-2024-08-06"]
input = "4.00"
output = "16.00"
)");
    usage_query q;
    q.provider = "openai";
    q.model = "gpt-4o";
    const auto groups = reprice(h.books, q, dearer);
    ASSERT_EQ(groups.size(), 1U);
    std::int64_t expected = 0;
    std::int64_t unpriced = 0;
    for (const record& r : before) {
        if (r.provider.view() != "openai" || schema::counted_model(r) != "gpt-4o") continue;
        expected += price_of(r, dearer).nano_usd;
        unpriced += !price_of(r, dearer).priced && r.counts.total() + r.counts.web_searches > 0 ? 1 : 0;
    }
    EXPECT_EQ(groups[0].nano_usd, expected);
    EXPECT_EQ(groups[0].unpriced, unpriced);
    EXPECT_GT(groups[0].nano_usd, groups[0].booked_nano_usd);
    EXPECT_EQ(h.books.usage({}).at(0).second.cost_nano_usd, h.booked);
}

TEST(Reprice, CountsWhatTheOtherTableHasNoPriceFor)
{
    history h;
    h.book(table_of(older), 300);
    std::int64_t unpriced = 0;
    std::int64_t cost = 0;
    for (const repriced& g : reprice(h.books, {}, price_table{})) {
        unpriced += g.unpriced;
        cost += g.nano_usd;
    }
    EXPECT_GT(unpriced, 0);
    EXPECT_EQ(cost, 0);
}

}  // namespace

}  // namespace keyhole::metering
