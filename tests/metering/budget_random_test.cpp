// BUDGET_HOLDS under random interleavings: the books that a test keeps by hand are compared with the budget's
// after every step.
#include "metering/budget.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace keyhole::metering {

namespace {

constexpr std::int64_t start = 1'709'251'170'000'000;  // 2024-02-29 23:59:30 UTC: a month's last minute

struct settled {
    std::int64_t at_us, nano_usd, tokens;
};

struct running {
    reservation held;
    std::int64_t at_us;
    std::size_t session;
};

/// What a test knows of one budget: its settled requests, and through them what each limit must show.
struct ledger_of {
    std::vector<settled> rows;
    std::vector<std::int64_t> admitted_us;  ///< requests that count, when they were admitted

    std::int64_t used(const limit& l, std::int64_t now) const
    {
        const std::int64_t from = window_start(l.window, now);
        std::int64_t sum = 0;
        if (l.unit == limit_unit::requests)
            return std::ranges::count_if(admitted_us, [&](std::int64_t t) { return t >= from; });
        for (const settled& s : rows) {
            if (s.at_us >= from) sum += l.unit == limit_unit::usd ? s.nano_usd : s.tokens;
        }
        return sum;
    }
    /// As the database sees it: a request that runs has no row yet.
    std::int64_t written(const limit& l, std::int64_t now) const
    {
        if (l.unit != limit_unit::requests) return used(l, now);
        const std::int64_t from = window_start(l.window, now);
        return std::ranges::count_if(rows, [&](const settled& s) { return s.at_us >= from; });
    }
};

std::vector<limit> random_limits(std::mt19937& random)
{
    constexpr limit all[] = {{limit_unit::usd, limit_window::total, 400'000},
                             {limit_unit::usd, limit_window::hour, 20'000},
                             {limit_unit::tokens, limit_window::day, 50'000},
                             {limit_unit::tokens, limit_window::month, 90'000},
                             {limit_unit::requests, limit_window::total, 2'000},
                             {limit_unit::concurrency, limit_window::total, 6}};
    std::vector<limit> some;
    for (limit l : all) {
        if (random() % 4 == 0) continue;
        l.value += static_cast<std::int64_t>(random() % 5);
        some.push_back(l);
    }
    return some;
}

TEST(BudgetRandom, BUDGET_HOLDS_BalancesEqualTheLedgerAfterAnyInterleaving)
{
    for (unsigned seed = 1; seed <= 40; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937 random(seed);
        std::int64_t now = start;
        const auto account = std::make_shared<budget>("acc", random_limits(random));
        std::vector<std::shared_ptr<budget>> sessions;
        std::vector<ledger_of> books(3);
        ledger_of account_books;
        for (int i = 0; i < 3; ++i) {
            sessions.push_back(std::make_shared<budget>("ses", random_limits(random), account));
        }
        std::deque<running> in_flight;
        const auto in_flight_of = [&](std::size_t s) {
            return std::ranges::count_if(in_flight, [&](const running& r) { return r.session == s; });
        };
        const auto check = [&](const budget& b, const ledger_of& expected, bool all, std::size_t session) {
            for (const limit_state& s : b.state(now)) {
                std::int64_t held = 0;
                std::int64_t requests = 0;
                for (const running& r : in_flight) {
                    if (!all && r.session != session) continue;
                    held += s.which.unit == limit_unit::usd ? r.held.held().nano_usd : r.held.held().tokens;
                    ++requests;
                }
                if (s.which.unit == limit_unit::concurrency) {
                    ASSERT_EQ(s.used, requests);
                } else {
                    ASSERT_EQ(s.used, expected.used(s.which, now)) << to_string(s.which);
                    ASSERT_EQ(s.reserved, s.which.unit == limit_unit::requests ? 0 : held);
                }
            }
        };
        for (int step = 0; step < 1500; ++step) {
            now += static_cast<std::int64_t>(random() % 2'000'000);
            const unsigned what = static_cast<unsigned>(random() % 100);
            const std::size_t s = random() % sessions.size();
            if (what < 50) {
                const demand d{static_cast<std::int64_t>(random() % 1000),
                               static_cast<std::int64_t>(random() % 300), true};
                auto answer = sessions[s]->reserve(d, now);
                if (auto* r = std::get_if<reservation>(&answer)) {
                    in_flight.push_back({std::move(*r), now, s});
                    books[s].admitted_us.push_back(now);
                    account_books.admitted_us.push_back(now);
                    // A limit that came later may have been passed before it came; nothing is admitted past
                    // one.
                    for (const budget* b : {sessions[s].get(), account.get()}) {
                        for (const limit_state& l : b->state(now)) {
                            ASSERT_LE(l.used + l.reserved, l.which.value) << to_string(l.which);
                        }
                    }
                }
            } else if (what < 92 && !in_flight.empty()) {
                const std::size_t which = random() % in_flight.size();
                running r = std::move(in_flight[which]);
                in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(which));
                const demand held = r.held.held();
                if (what < 80) {
                    const std::int64_t usd =
                        held.nano_usd == 0
                            ? 0
                            : static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(held.nano_usd));
                    const std::int64_t tokens =
                        held.tokens == 0
                            ? 0
                            : static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(held.tokens));
                    r.held.settle(usd, tokens, now);
                    books[r.session].rows.push_back({now, usd, tokens});
                    account_books.rows.push_back({now, usd, tokens});
                } else {
                    r.held.release();
                    for (ledger_of* l : {&books[r.session], &account_books}) {
                        l->admitted_us.erase(std::ranges::find(l->admitted_us, r.at_us));
                    }
                }
            } else if (what >= 97) {
                if (random() % 2 == 0)
                    account->replace_limits(random_limits(random), now,
                                            [&](const limit& l) { return account_books.written(l, now); });
                else
                    sessions[s]->replace_limits(random_limits(random), now,
                                                [&](const limit& l) { return books[s].written(l, now); });
            }
            check(*account, account_books, true, 0);
            for (std::size_t i = 0; i < sessions.size(); ++i) {
                check(*sessions[i], books[i], false, i);
                ASSERT_EQ(sessions[i]->in_flight(), in_flight_of(i));
            }
            if (HasFatalFailure()) return;
        }
        in_flight.clear();
        EXPECT_TRUE(account->idle());
        for (const auto& s : sessions) {
            EXPECT_TRUE(s->idle());
        }
    }
}

TEST(BudgetRandom, BUDGET_HOLDS_ReplacedLimitsKnowTheRequestsThatStillRun)
{
    const auto b =
        std::make_shared<budget>("ses", std::vector<limit>{{limit_unit::tokens, limit_window::day, 100}});
    std::vector<reservation> held;
    for (int i = 0; i < 3; ++i) {
        held.push_back(std::get<reservation>(b->reserve({0, 1, true}, start)));
    }
    b->replace_limits({{limit_unit::requests, limit_window::total, 4}}, start,
                      [](const limit&) { return 0; });
    held.push_back(std::get<reservation>(b->reserve({0, 1, true}, start)));
    EXPECT_TRUE(std::holds_alternative<refusal>(b->reserve({0, 1, true}, start)));
    EXPECT_EQ(b->left(start).requests, 0);
}

TEST(BudgetRandom, BUDGET_HOLDS_DemandsWithoutBoundsNeverOverflowIntoALaterLimit)
{
    const auto b = std::make_shared<budget>("ses", std::vector<limit>{});
    auto first = std::get<reservation>(b->reserve({INT64_MAX, INT64_MAX, true}, start));
    auto second = std::get<reservation>(b->reserve({INT64_MAX, INT64_MAX, true}, start));
    b->replace_limits({{limit_unit::usd, limit_window::total, 100}}, start, [](const limit&) { return 0; });
    EXPECT_EQ(b->left(start).nano_usd, 0);
    first.release();
    EXPECT_EQ(b->left(start).nano_usd, 0);
    second.settle(40, 1, start);
    EXPECT_EQ(b->left(start).nano_usd, 60);
    EXPECT_TRUE(b->idle());
}

TEST(BudgetRandom, TellsWhatIsLeftOfEachUnitItsTightestLimit)
{
    const auto account = std::make_shared<budget>(
        "acc", std::vector<limit>{{limit_unit::concurrency, limit_window::total, 2}});
    const auto b = std::make_shared<budget>(
        "ses", std::vector<limit>{{limit_unit::concurrency, limit_window::total, 9}}, account);
    const auto held = std::get<reservation>(b->reserve({}, start));
    EXPECT_EQ(b->left(start).concurrency, 1);
    EXPECT_FALSE(b->left(start).nano_usd);
}

}  // namespace

}  // namespace keyhole::metering
