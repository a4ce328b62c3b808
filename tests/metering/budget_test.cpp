#include "metering/budget.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <variant>
#include <vector>

namespace keyhole::metering {

namespace {

constexpr std::int64_t second = 1'000'000;
constexpr std::int64_t minute = 60 * second;
constexpr std::int64_t hour = 60 * minute;
constexpr std::int64_t day = 24 * hour;
/// 2024-02-29 23:59:30 UTC: the last half minute of a leap day and a month.
constexpr std::int64_t eve = 1'709'251'170 * second;
constexpr std::int64_t usd = 1'000'000'000;

std::shared_ptr<budget> with(const std::string& owner, std::initializer_list<const char*> limits,
                             std::shared_ptr<budget> parent = {})
{
    std::vector<limit> parsed;
    for (const char* text : limits) {
        parsed.push_back(parse_limit(text).value());
    }
    return std::make_shared<budget>(owner, parsed, std::move(parent));
}

demand money(std::int64_t nano)
{
    return {.nano_usd = nano, .tokens = 0, .counts_request = true};
}

demand tokens(std::int64_t n)
{
    return {.nano_usd = 0, .tokens = n, .counts_request = true};
}

reservation granted(std::variant<reservation, refusal> answer)
{
    EXPECT_TRUE(std::holds_alternative<reservation>(answer));
    return std::holds_alternative<reservation>(answer) ? std::move(std::get<reservation>(answer))
                                                       : reservation{};
}

refusal refused(std::variant<reservation, refusal> answer)
{
    EXPECT_TRUE(std::holds_alternative<refusal>(answer));
    return std::holds_alternative<refusal>(answer) ? std::get<refusal>(answer) : refusal{};
}

TEST(Budget, BUDGET_HOLDS_CountsWhatIsInFlight)
{
    const auto b = with("ses", {"usd=1"});
    auto first = granted(b->reserve(money(600'000'000), eve));
    const refusal r = refused(b->reserve(money(500'000'000), eve));
    EXPECT_EQ(r.owner, "ses");
    EXPECT_EQ(r.used, 0);
    EXPECT_EQ(r.reserved, 600'000'000);
    EXPECT_EQ(r.asked, 500'000'000);
    EXPECT_EQ(r.resets_us, 0);
    EXPECT_EQ(r.which.value, usd);

    first.settle(100'000'000, 0, eve);
    auto second_request = granted(b->reserve(money(900'000'000), eve));
    EXPECT_EQ(b->left(eve).nano_usd, 0);
    second_request.release();
    EXPECT_EQ(b->left(eve).nano_usd, 900'000'000);
    EXPECT_TRUE(b->idle());
}

TEST(Budget, ReleasesAReservationThatIsForgotten)
{
    const auto b = with("ses", {"usd=1", "tokens=10", "requests=1", "concurrency=1"});
    {
        const auto dropped =
            granted(b->reserve({.nano_usd = usd, .tokens = 10, .counts_request = true}, eve));
        EXPECT_EQ(b->in_flight(), 1);
        EXPECT_FALSE(b->idle());
    }
    EXPECT_TRUE(b->idle());
    EXPECT_EQ(b->left(eve).requests, 1) << "nothing was forwarded, so nothing counts";
}

TEST(Budget, GivesBackWhatWasCountedElsewhereInItsOwnWindowOnly)
{
    const auto account = with("acc", {"usd=1", "tokens=1000"});
    const auto b = with("ses", {"usd/day=1"}, account);
    granted(b->reserve(money(100), eve)).settle(70, 7, eve);
    constexpr std::int64_t two_days = 2 * 86'400'000'000;
    granted(b->reserve(money(100), eve + two_days)).settle(50, 5, eve + two_days);
    b->give_back(70, 7, eve - two_days);
    EXPECT_EQ(b->left(eve + two_days).nano_usd, usd - 50) << "a day that is long over gives nothing";
    b->give_back(50, 5, eve + two_days);
    EXPECT_EQ(b->left(eve + two_days).nano_usd, usd);
    EXPECT_EQ(account->left(eve + two_days).tokens, 1000);
}

TEST(Budget, SettlesOrReleasesOnceWhateverIsCalled)
{
    const auto b = with("ses", {"usd=1"});
    auto r = granted(b->reserve(money(100), eve));
    r.settle(50, 0, eve);
    r.settle(50, 0, eve);
    r.release();
    EXPECT_FALSE(r);
    EXPECT_EQ(b->left(eve).nano_usd, usd - 50);
}

TEST(Budget, MovesAReservationAndReleasesTheOneItReplaces)
{
    const auto b = with("ses", {"usd=1"});
    auto a = granted(b->reserve(money(100), eve));
    auto c = granted(b->reserve(money(200), eve));
    a = std::move(c);
    EXPECT_EQ(b->left(eve).nano_usd, usd - 200);
    const reservation d(std::move(a));
    EXPECT_TRUE(d);
    EXPECT_EQ(d.held().nano_usd, 200);
    EXPECT_EQ(b->in_flight(), 1);
}

TEST(Budget, BUDGET_HOLDS_TakesFromTheWholeChainOrFromNothing)
{
    const auto account = with("acc", {"usd=1"});
    const auto a = with("ses_a", {"usd=10"}, account);
    const auto b = with("ses_b", {"tokens=5"}, account);
    auto held = granted(a->reserve(money(usd), eve));
    const refusal r = refused(b->reserve({.nano_usd = 1, .tokens = 1, .counts_request = true}, eve));
    EXPECT_EQ(r.owner, "acc");
    EXPECT_TRUE(b->idle()) << "the child gave back what it had not given yet";
    EXPECT_EQ(b->left(eve).nano_usd, 0);
    EXPECT_EQ(b->left(eve).tokens, 5);
    held.settle(usd / 2, 0, eve);
    EXPECT_EQ(account->left(eve).nano_usd, usd / 2);
    EXPECT_EQ(a->left(eve).nano_usd, usd / 2) << "the tightest of the chain";
    EXPECT_TRUE(account->idle());
}

TEST(Budget, NamesTheHardestLimitOfThoseInTheWay)
{
    const auto account = with("acc", {"tokens=5"});
    const auto b = with("ses", {"concurrency=0", "tokens/minute=5", "tokens/day=5"}, account);
    refusal r = refused(b->reserve(tokens(6), eve));
    EXPECT_EQ(to_string(r.which), "tokens=5") << "it never resets";
    EXPECT_EQ(r.owner, "acc");

    const auto c = with("ses", {"concurrency=0", "tokens/minute=5", "tokens/day=5"});
    r = refused(c->reserve(tokens(6), eve - hour));
    EXPECT_EQ(to_string(r.which), "tokens/day=5");
    EXPECT_EQ(r.resets_us, window_end(limit_window::day, eve - hour));

    const auto d = with("ses", {"concurrency=0", "tokens/minute=5"});
    r = refused(d->reserve(tokens(6), eve));
    EXPECT_EQ(to_string(r.which), "tokens/minute=5");
    r = refused(d->reserve(tokens(1), eve));
    EXPECT_EQ(to_string(r.which), "concurrency=0");
    EXPECT_EQ(r.resets_us, 0);
}

TEST(Budget, CountsARequestWhenItIsAdmittedAndGivesItBackOnRelease)
{
    const auto b = with("ses", {"requests/minute=2"});
    auto one = granted(b->reserve({}, eve));
    auto two = granted(b->reserve({}, eve));
    EXPECT_EQ(refused(b->reserve({}, eve)).resets_us, eve + 30 * second);
    one.settle(0, 0, eve);
    EXPECT_EQ(b->left(eve).requests, 0) << "a settled request stays counted";
    two.release();
    EXPECT_EQ(b->left(eve).requests, 1);
    EXPECT_EQ(b->left(eve + minute).requests, 2) << "a new minute";
}

TEST(Budget, GivesARequestBackOnlyToTheWindowItWasTakenFrom)
{
    const auto b = with("ses", {"requests/minute=2"});
    auto old = granted(b->reserve({}, eve));
    const auto fresh = granted(b->reserve({}, eve + minute));
    old.release();
    EXPECT_EQ(b->left(eve + minute).requests, 1);
}

TEST(Budget, NeitherCountsNorLimitsWhatIsNotARequest)
{
    const auto b = with("ses", {"requests=0", "concurrency=0", "usd=0"});
    const auto models = granted(b->reserve({.nano_usd = 0, .tokens = 0, .counts_request = false}, eve));
    EXPECT_EQ(b->in_flight(), 0);
    refused(b->reserve({}, eve));
}

TEST(Budget, BillsTheWindowInWhichARequestEnds)
{
    const auto b = with("ses", {"usd/minute=1"});
    auto r = granted(b->reserve(money(usd), eve));
    refused(b->reserve(money(1), eve + minute));
    r.settle(usd / 4, 0, eve + minute);
    EXPECT_EQ(b->left(eve + minute).nano_usd, usd - usd / 4);
    EXPECT_EQ(b->left(eve + 2 * minute).nano_usd, usd);
}

TEST(Budget, RefusesMoreOnceMoreWasSpentThanAllowed)
{
    const auto b = with("ses", {"usd=1"});
    auto r = granted(b->reserve(money(usd), eve));
    r.settle(3 * usd, 0, eve);
    EXPECT_EQ(b->left(eve).nano_usd, 0);
    EXPECT_EQ(refused(b->reserve(money(0), eve)).used, 3 * usd);
}

TEST(Budget, SurvivesNumbersAtTheEndOfTheirRange)
{
    const auto b = with("ses", {"tokens=100"});
    auto r = granted(b->reserve(tokens(100), eve));
    r.settle(0, INT64_MAX, eve);
    EXPECT_EQ(b->left(eve).tokens, 0);
    refused(b->reserve(tokens(INT64_MAX), eve));
    const auto wide = std::make_shared<budget>(
        "ses", std::vector<limit>{{limit_unit::usd, limit_window::total, INT64_MAX}});
    auto huge = granted(wide->reserve(money(INT64_MAX), eve));
    huge.settle(INT64_MAX, 0, eve);
    EXPECT_TRUE(wide->idle());
    const auto negative = granted(b->reserve({.nano_usd = -5, .tokens = 0, .counts_request = false}, eve));
    EXPECT_TRUE(negative);
}

TEST(Budget, BUDGET_HOLDS_AClockThatJumpsNeitherFreesNorLosesAnything)
{
    const auto b = with("ses", {"usd/hour=1", "requests/hour=3"});
    auto held = granted(b->reserve(money(usd / 4), eve));
    granted(b->reserve(money(usd / 4), eve)).settle(usd / 4, 0, eve);
    for (const std::int64_t jump : {-second, -10 * minute, -59 * minute, -5 * hour, -40 * day}) {
        EXPECT_EQ(b->left(eve + jump).nano_usd, usd / 2) << jump;
        refused(b->reserve(money(usd), eve + jump));
        EXPECT_FALSE(b->idle());
        refused(b->reserve(money(usd), eve));
        EXPECT_EQ(b->left(eve).nano_usd, usd / 2) << "put right again after " << jump;
        EXPECT_EQ(b->left(eve).requests, 1);
    }
    for (const std::int64_t jump : {hour, day, 400 * day}) {
        EXPECT_EQ(b->left(eve + jump).nano_usd, usd - usd / 4)
            << "a new hour, but what is in flight counts there too";
        refused(b->reserve(money(usd), eve + jump));
        refused(b->reserve(money(usd), eve));
        EXPECT_EQ(b->left(eve).nano_usd, usd / 2) << "put right again after " << jump;
        EXPECT_EQ(b->left(eve).requests, 1);
    }
    held.settle(usd / 4, 0, eve - 10 * minute);
    EXPECT_TRUE(b->idle());
    EXPECT_EQ(b->left(eve).nano_usd, usd / 2);
}

TEST(Budget, AClockSetBackOverAWindowsEdgeFindsBothWindowsAsTheyWere)
{
    const auto b = with("ses", {"requests/minute=5"});
    granted(b->reserve({}, eve)).settle(0, 0, eve);
    granted(b->reserve({}, eve + minute)).settle(0, 0, eve + minute);
    auto late = granted(b->reserve({}, eve));
    EXPECT_EQ(b->left(eve).requests, 3);
    EXPECT_EQ(b->left(eve + minute).requests, 3) << "the stricter of both";
    late.release();
    EXPECT_EQ(b->left(eve).requests, 4);
}

std::vector<limit> limits_of(std::initializer_list<const char*> texts)
{
    std::vector<limit> parsed;
    for (const char* text : texts) {
        parsed.push_back(parse_limit(text).value());
    }
    return parsed;
}

TEST(Budget, BUDGET_HOLDS_OtherLimitsStillCountWhatIsInFlight)
{
    const auto b = with("acc", {"usd=1"});
    auto first = granted(b->reserve({.nano_usd = 400, .tokens = 30, .counts_request = true}, eve));
    auto other = granted(b->reserve({.nano_usd = 500, .tokens = 40, .counts_request = true}, eve));
    b->replace_limits(limits_of({"usd=2", "tokens=100", "requests=3", "usd/day=1"}), eve,
                      [](const limit&) { return 0; });
    auto states = b->state(eve);
    EXPECT_EQ(states[0].reserved, 900);
    EXPECT_EQ(states[1].reserved, 70);
    EXPECT_EQ(states[2].used, 2) << "the requests in flight are in no ledger yet";
    EXPECT_EQ(states[3].reserved, 900);
    auto third = granted(b->reserve(tokens(30), eve));
    EXPECT_EQ(refused(b->reserve(money(1), eve)).which.unit, limit_unit::requests);
    third.release();
    other.release();
    first.settle(100, 7, eve);
    states = b->state(eve);
    EXPECT_EQ(states[0].used, 100);
    EXPECT_EQ(states[1].used, 7);
    EXPECT_EQ(states[2].used, 1);
    EXPECT_TRUE(b->idle());
}

TEST(Budget, BUDGET_HOLDS_ALimitThatOnlyChangesItsValueKeepsWhatTheLedgerHasNotWrittenYet)
{
    const auto b = with("acc", {"usd=1"});
    granted(b->reserve(money(usd), eve)).settle(usd, 0, eve);
    b->replace_limits(limits_of({"usd=1.5"}), eve, [](const limit&) { return 0; });
    EXPECT_EQ(b->state(eve)[0].used, usd);
    refused(b->reserve(money(usd), eve));
}

TEST(Budget, BUDGET_HOLDS_ANewLimitCountsWhatSettlesWhileTheLedgerIsAsked)
{
    const auto b = with("acc", {});
    auto before = granted(b->reserve({.nano_usd = 400, .tokens = 30, .counts_request = true}, eve));
    auto meanwhile = granted(b->reserve({.nano_usd = 500, .tokens = 40, .counts_request = true}, eve));
    auto after = granted(b->reserve({.nano_usd = 600, .tokens = 50, .counts_request = true}, eve));
    before.settle(300, 20, eve);  // the ledger has its row
    b->replace_limits(limits_of({"usd=1", "tokens/day=100", "requests=3"}), eve, [&](const limit& l) {
        meanwhile.settle(450, 35, eve);
        return l.unit == limit_unit::usd ? 300 : l.unit == limit_unit::tokens ? 20 : 1;
    });
    const auto states = b->state(eve);
    EXPECT_EQ(states[0].used, 750);
    EXPECT_EQ(states[0].reserved, 600);
    EXPECT_EQ(states[1].used, 55);
    EXPECT_EQ(states[2].used, 3);
    refused(b->reserve(tokens(1), eve));
    after.settle(0, 0, eve);
    EXPECT_TRUE(b->idle());
}

TEST(Budget, BUDGET_HOLDS_HugeReservationsGiveBackExactlyWhatTheyTook)
{
    const auto b = with("acc", {});
    auto first = granted(b->reserve({.nano_usd = INT64_MAX, .tokens = INT64_MAX}, eve));
    auto other = granted(b->reserve({.nano_usd = INT64_MAX, .tokens = INT64_MAX}, eve));
    b->replace_limits(limits_of({"usd=1", "tokens=10"}), eve, [](const limit&) { return 0; });
    EXPECT_EQ(b->state(eve)[0].reserved, INT64_MAX);
    first.release();
    EXPECT_EQ(b->state(eve)[0].reserved, INT64_MAX) << "the second still holds as much";
    refused(b->reserve(money(1), eve));
    other.release();
    EXPECT_EQ(b->state(eve)[0].reserved, 0);
    EXPECT_EQ(b->state(eve)[1].reserved, 0);
    EXPECT_TRUE(b->idle());
    granted(b->reserve(money(usd), eve));
}

TEST(Budget, BUDGET_HOLDS_AnyInterleavingLeavesTheSumOfWhatSettledAndNothingReserved)
{
    for (unsigned seed = 1; seed <= 200; ++seed) {
        std::mt19937 random(seed);
        const auto below = [&](std::int64_t n) {
            return std::uniform_int_distribution<std::int64_t>(0, n - 1)(random);
        };
        const auto account = with("acc", {"usd=0.00001", "tokens=5000", "requests=60"});
        std::vector<std::shared_ptr<budget>> sessions;
        for (int i = 0; i < 3; ++i) {
            sessions.push_back(with("ses", {"usd=0.000006", "tokens/day=4000", "concurrency=5"}, account));
        }
        struct open_request {
            reservation r;
            std::size_t session;
        };
        std::vector<open_request> open;
        std::int64_t spent = 0;
        std::int64_t counted = 0;
        std::int64_t requests = 0;
        std::vector<std::int64_t> spent_by(sessions.size());
        const auto from_ledger = [&](const limit& l) {
            return l.unit == limit_unit::usd ? spent : l.unit == limit_unit::tokens ? counted : requests;
        };
        const auto finish_one = [&] {
            const auto at = static_cast<std::size_t>(below(static_cast<std::int64_t>(open.size())));
            open_request o = std::move(open[at]);
            open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
            if (below(3) == 0) return;  // forgotten: released
            const std::int64_t cost = below(o.r.held().nano_usd + 1);
            const std::int64_t n = below(o.r.held().tokens + 1);
            o.r.settle(cost, n, eve);
            spent += cost;
            counted += n;
            ++requests;
            spent_by[o.session] += cost;
        };
        for (int step = 0; step < 400; ++step) {
            const std::int64_t what = below(10);
            if (what < 5) {
                const auto s = static_cast<std::size_t>(below(3));
                auto answer = sessions[s]->reserve(
                    {.nano_usd = below(900), .tokens = below(400), .counts_request = true}, eve);
                if (auto* r = std::get_if<reservation>(&answer)) open.push_back({std::move(*r), s});
            } else if (what < 9) {
                if (!open.empty()) finish_one();
            } else if (below(2) == 0) {
                account->replace_limits(limits_of({"usd=0.00001", "tokens=5000", "requests=60"}), eve,
                                        from_ledger);
            } else {
                account->replace_limits(limits_of({"requests/month=60", "usd/day=0.00001"}), eve,
                                        from_ledger);
            }
            ASSERT_LE(spent, 10'000) << "seed " << seed;
            ASSERT_LE(requests + static_cast<std::int64_t>(open.size()), 60) << "seed " << seed;
        }
        while (!open.empty()) {
            finish_one();
        }
        ASSERT_TRUE(account->idle()) << "seed " << seed;
        for (const limit_state& s : account->state(eve)) {
            ASSERT_EQ(s.used, from_ledger(s.which)) << to_string(s.which) << ", seed " << seed;
        }
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            ASSERT_TRUE(sessions[i]->idle());
            ASSERT_EQ(sessions[i]->state(eve)[0].used, spent_by[i]) << "seed " << seed;
        }
    }
}

TEST(Budget, ContinuesWithWhatTheLedgerHolds)
{
    const auto b = with("ses", {"usd/day=1", "requests=10"});
    b->restore(parse_limit("usd/day=1").value(), usd / 4, eve);
    b->restore(parse_limit("requests=10").value(), 7, eve);
    b->restore(parse_limit("tokens=5").value(), 5, eve);
    EXPECT_EQ(b->left(eve).nano_usd, usd - usd / 4);
    EXPECT_EQ(b->left(eve).requests, 3);
    EXPECT_FALSE(b->left(eve).tokens.has_value());
    EXPECT_EQ(b->left(eve + day).nano_usd, usd);
}

TEST(Budget, KnowsWhetherMoneyIsLimitedAnywhereAbove)
{
    const auto account = with("acc", {"usd=1"});
    EXPECT_TRUE(with("ses", {"tokens=1"}, account)->limits_money());
    EXPECT_FALSE(with("ses", {"tokens=1"})->limits_money());
}

TEST(Budget, KeepsItsParentsAliveThroughAReservation)
{
    reservation r;
    {
        const auto b = with("ses", {"usd=1"}, with("acc", {"usd=1"}));
        r = granted(b->reserve(money(1), eve));
    }
    r.settle(1, 0, eve);
    EXPECT_FALSE(r);
}

TEST(Budget, RefusesAChainWithoutEnd)
{
    std::shared_ptr<budget> b;
    for (int i = 0; i < 8; ++i) {
        b = with("b", {}, b);
    }
    EXPECT_THROW(with("b", {}, b), std::invalid_argument);
}

struct window_case {
    limit_window window;
    std::int64_t at;
    std::int64_t start;
    std::int64_t end;
};

TEST(Window, IsACalendarWindowInUtc)
{
    const std::int64_t midnight = eve + 30 * second;  // 2024-03-01
    const window_case cases[] = {
        {limit_window::total, eve, 0, INT64_MAX},
        {limit_window::minute, eve, eve - 30 * second, midnight},
        {limit_window::hour, eve, midnight - hour, midnight},
        {limit_window::day, eve, midnight - day, midnight},
        {limit_window::month, eve, midnight - 29 * day, midnight},
        {limit_window::month, midnight, midnight, midnight + 31 * day},
        {limit_window::day, midnight, midnight, midnight + day},
        {limit_window::day, -1, -day, 0},
        {limit_window::minute, 0, 0, minute},
    };
    for (const window_case& c : cases) {
        EXPECT_EQ(window_start(c.window, c.at), c.start) << static_cast<int>(c.window) << " " << c.at;
        EXPECT_EQ(window_end(c.window, c.at), c.end) << static_cast<int>(c.window) << " " << c.at;
    }
    EXPECT_GT(window_end(limit_window::day, INT64_MAX - 1), 0) << "no overflow at the end of time";
    EXPECT_GT(window_end(limit_window::month, INT64_MAX), 0);
}

TEST(ParseLimit, ReadsWhatToStringWrites)
{
    for (const char* text : {"usd=2.50", "usd/day=1.00", "tokens/hour=100000", "requests/minute=60",
                             "concurrency=4", "usd/month=0.000000001", "tokens=0"})
    {
        const auto l = parse_limit(text);
        ASSERT_TRUE(l) << text;
        EXPECT_EQ(to_string(*l), text);
    }
    EXPECT_EQ(parse_limit("usd/day=1"), (limit{limit_unit::usd, limit_window::day, usd}));
}

TEST(ParseLimit, RefusesWhatItDoesNotUnderstand)
{
    for (const char* text : {"",
                             "=",
                             "usd",
                             "usd=",
                             "=1",
                             "usd=-1",
                             "usd=1,5",
                             "usd=1e3",
                             "usd/=1",
                             "usd/week=1",
                             "usd/total=1",
                             "USD=1",
                             "usd =1",
                             "usd= 1",
                             "tokens=1.5",
                             "tokens=1_000",
                             "tokens=1e6",
                             "concurrency/minute=4",
                             "euro=1",
                             "usd=1 ",
                             "tokens=99999999999999999999",
                             "usd=1=2",
                             "usd/day/hour=1",
                             "usd=.5",
                             "usd=5."})
    {
        EXPECT_FALSE(parse_limit(text)) << text;
    }
}

struct usd_case {
    const char* text;
    std::int64_t nano;
    const char* printed;
};

TEST(Usd, IsReadAndWrittenWithoutLosingADigit)
{
    const usd_case cases[] = {
        {"0", 0, "0.00"},
        {"2.50", 2'500'000'000, "2.50"},
        {"2.5", 2'500'000'000, "2.50"},
        {"0.000001", 1000, "0.000001"},
        {"0.000000001", 1, "0.000000001"},
        {"0.1", 100'000'000, "0.10"},
        {"007", 7'000'000'000, "7.00"},
        {"9223372036.854775807", INT64_MAX, "9223372036.854775807"},
        {"123.456789012", 123'456'789'012, "123.456789012"},
    };
    for (const usd_case& c : cases) {
        EXPECT_EQ(parse_usd(c.text), c.nano) << c.text;
        EXPECT_EQ(format_usd(c.nano), c.printed);
    }
    EXPECT_EQ(format_usd(-1'500'000'000), "-1.50");
    EXPECT_EQ(format_usd(INT64_MIN), "-9223372036.854775808");
    for (const char* text : {"", ".", "-1", "+1", "1.", ".1", "1.0000000001", "1.0000000000",
                             "9223372036.854775808", "1 ", " 1", "1,0", "1e2", "0x1", "nan", "1.2.3", "1_0"})
    {
        EXPECT_FALSE(parse_usd(text)) << text;
    }
}

}  // namespace

}  // namespace keyhole::metering
