#include "metering/budget.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace keyhole::metering {

namespace {

constexpr std::int64_t now = 1'709'251'170'000'000;

void run_threads(int count, const std::function<void(int)>& body)
{
    std::vector<std::thread> running;
    for (int t = 0; t < count; ++t) {
        running.emplace_back([&, t] { body(t); });
    }
    for (auto& t : running) {
        t.join();
    }
}

TEST(BudgetRace, BUDGET_HOLDS_SixteenThreadsNeverSpendMoreThanTheLimit)
{
    constexpr std::int64_t most = 100'000;
    const auto account =
        std::make_shared<budget>("acc", std::vector<limit>{{limit_unit::usd, limit_window::total, most}});
    std::vector<std::shared_ptr<budget>> sessions;
    for (int i = 0; i < 4; ++i) {
        sessions.push_back(
            std::make_shared<budget>("ses",
                                     std::vector<limit>{{limit_unit::usd, limit_window::total, most / 3},
                                                        {limit_unit::tokens, limit_window::total, most}},
                                     account));
    }
    std::atomic<std::int64_t> spent{0};
    std::atomic<std::int64_t> held{0};
    std::atomic<bool> exceeded{false};
    run_threads(16, [&](int t) {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < 3000; ++i) {
            const std::int64_t asked = std::uniform_int_distribution<std::int64_t>(1, 100)(random);
            auto answer = sessions[random() % sessions.size()]->reserve(
                {.nano_usd = asked, .tokens = 1, .counts_request = true}, now);
            auto* r = std::get_if<reservation>(&answer);
            if (r == nullptr) continue;
            if (held.fetch_add(asked) + asked + spent.load() > most) exceeded = true;
            const std::int64_t real = std::uniform_int_distribution<std::int64_t>(0, asked)(random);
            const unsigned way = static_cast<unsigned>(random() % 3);
            if (way == 0) {
                held -= asked;
                r->release();
            } else if (way == 1) {
                held -= asked;
                *r = {};
            } else {
                // Counted as spent before it leaves `held`, so that the check above can only see too much,
                // never too little … minus what the settlement gives back at the same instant.
                held -= asked;
                spent += real;
                r->settle(real, 1, now);
            }
        }
    });
    EXPECT_FALSE(exceeded);
    EXPECT_LE(spent.load(), most);
    EXPECT_TRUE(account->idle());
    std::int64_t left = 0;
    for (const auto& s : sessions) {
        EXPECT_TRUE(s->idle());
        EXPECT_LE(most / 3 - s->left(now).nano_usd.value(), most / 3);
    }
    left = account->left(now).nano_usd.value();
    EXPECT_EQ(left, most - spent.load()) << "every settlement arrived once";
}

TEST(BudgetRace, BUDGET_HOLDS_ConcurrencyIsNeverExceeded)
{
    const auto account = std::make_shared<budget>(
        "acc", std::vector<limit>{{limit_unit::concurrency, limit_window::total, 5}});
    const auto session = std::make_shared<budget>(
        "ses", std::vector<limit>{{limit_unit::concurrency, limit_window::total, 3}}, account);
    std::atomic<int> inside{0};
    std::atomic<int> inside_session{0};
    std::atomic<bool> exceeded{false};
    std::atomic<int> admitted{0};
    run_threads(16, [&](int t) {
        for (int i = 0; i < 3000; ++i) {
            const bool by_session = (t + i) % 2 == 0;
            auto answer = (by_session ? session : account)->reserve({}, now);
            if (std::holds_alternative<refusal>(answer)) continue;
            if (inside.fetch_add(1) + 1 > 5) exceeded = true;
            if (by_session && inside_session.fetch_add(1) + 1 > 3) exceeded = true;
            ++admitted;
            inside.fetch_sub(1);
            if (by_session) inside_session.fetch_sub(1);
        }
    });
    EXPECT_FALSE(exceeded);
    EXPECT_GT(admitted.load(), 0);
    EXPECT_TRUE(account->idle());
    EXPECT_EQ(session->in_flight(), 0);
}

TEST(BudgetRace, BUDGET_HOLDS_ExactlyAsManyRequestsAsAllowedAreAdmitted)
{
    const auto b =
        std::make_shared<budget>("ses", std::vector<limit>{{limit_unit::requests, limit_window::day, 500}});
    std::atomic<int> admitted{0};
    run_threads(16, [&](int) {
        for (int i = 0; i < 100; ++i) {
            auto answer = b->reserve({}, now);
            if (auto* r = std::get_if<reservation>(&answer)) {
                ++admitted;
                r->settle(0, 0, now);
            }
        }
    });
    EXPECT_EQ(admitted.load(), 500);
}

}  // namespace

}  // namespace keyhole::metering
