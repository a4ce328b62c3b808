// ROLL-UPS EQUAL ROWS, for tests: every grouping over ranges with ragged edges, with and without filters,
// against sums made from the rows themselves.
#pragma once

#include "metering/ledger.hpp"
#include "metering/ledger_schema.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace keyhole::metering::test {

/// What the sums must be, from the rows themselves.
inline std::map<std::string, usage_sum> sums_of_rows(const ledger& books, const usage_query& q)
{
    std::map<std::string, usage_sum> sums;
    books.each_row(q, [&](const record& r) {
        std::string name;
        switch (q.by) {
        case group_by::none:
            break;
        case group_by::session:
            name = r.session.view();
            break;
        case group_by::account:
            name = r.account.view();
            break;
        case group_by::sandbox:
            name = r.sandbox.view();
            break;
        case group_by::run:
            name = r.run.view();
            break;
        case group_by::model:
            name = schema::counted_model(r);
            break;
        case group_by::provider:
            name = r.provider.view();
            break;
        case group_by::route:
            name = r.route.view();
            break;
        case group_by::day:
            name = std::to_string(r.ended_us / schema::day_us);
            break;
        case group_by::outcome:
            name = to_string(r.end);
            break;
        case group_by::source:
            name = to_string(r.source);
            break;
        }
        schema::add(sums[name], schema::sum_of(r));
        return true;
    });
    return sums;
}

inline std::vector<std::int64_t> numbers(const usage_sum& s)
{
    std::vector<std::int64_t> all;
    schema::each_sum(s, [&](const char*, std::int64_t value) { all.push_back(value); });
    return all;
}

inline void expect_equal_sums(const ledger& books, const usage_query& q, const std::string& what)
{
    const auto expected = sums_of_rows(books, q);
    const auto got = books.usage(q);
    ASSERT_EQ(got.size(), expected.size()) << what;
    std::vector<std::vector<std::int64_t>> expected_numbers;
    std::vector<std::vector<std::int64_t>> got_numbers;
    for (const auto& [name, sum] : expected) {
        expected_numbers.push_back(numbers(sum));
    }
    for (const auto& [name, sum] : got) {
        if (q.by != group_by::day) {
            ASSERT_TRUE(expected.contains(name)) << what << ": " << name;
            EXPECT_EQ(numbers(sum), numbers(expected.at(name))) << what << ": " << name;
        }
        got_numbers.push_back(numbers(sum));
    }
    if (q.by == group_by::day) {
        EXPECT_EQ(got_numbers, expected_numbers) << what;
    }
}

/// 2026-03-01 00:00 UTC.
inline constexpr std::int64_t first_of_march = 20'513 * schema::day_us;

inline void expect_rollups_equal_rows(const ledger& books, std::int64_t some_day = first_of_march)
{
    const std::int64_t hour = schema::hour_us;
    const std::pair<std::int64_t, std::int64_t> ranges[] = {
        {0, INT64_MAX},
        {some_day, some_day + schema::day_us},
        {some_day + 5, some_day + schema::day_us - 5},
        {some_day + hour / 2, some_day + 3 * schema::day_us + hour / 3},
        {some_day + hour / 2, some_day + hour / 2 + 60'000'000},
        {some_day + 2 * hour, some_day + 26 * hour},
        {some_day + 1, some_day + 1},
        {some_day + schema::day_us, some_day},
        {INT64_MAX, INT64_MAX},
    };
    for (const auto& [since, until] : ranges) {
        for (int by = 0; by <= static_cast<int>(group_by::source); ++by) {
            usage_query q;
            q.by = static_cast<group_by>(by);
            q.since_us = since;
            q.until_us = until;
            const std::string what = "by " + std::to_string(by) + " since " + std::to_string(since) +
                                     " until " + std::to_string(until);
            expect_equal_sums(books, q, what);
            q.session = "ses_a";
            expect_equal_sums(books, q, what + " session");
            q.model = "gpt-4o";
            q.provider = "openai";
            expect_equal_sums(books, q, what + " session, model, provider");
            q = {.by = q.by,
                 .since_us = since,
                 .until_us = until,
                 .session = {},
                 .account = "acc_1",
                 .sandbox = "box-1",
                 .provider = {},
                 .model = {},
                 .limit = 1000};
            expect_equal_sums(books, q, what + " account, sandbox");
        }
    }
}

}  // namespace keyhole::metering::test
