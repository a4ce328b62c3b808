// Which key a request gets: its session's own while that is healthy, else the next, and always one.
#include "proxy/upstream/key_ring.hpp"

#include <gtest/gtest.h>

#include <set>

namespace keyhole::proxy::upstream {
namespace {

using namespace std::chrono_literals;

const auto noon = key_ring::clock::now();

TEST(KeyRing, GivesASessionTheSameKeyAndDifferentSessionsDifferentOnes)
{
    const key_ring ring(3);
    std::set<std::size_t> seen;
    for (std::size_t session = 0; session < 30; ++session) {
        EXPECT_EQ(ring.choose(session, noon), ring.choose(session, noon + 1h));
        seen.insert(ring.choose(session, noon));
    }
    EXPECT_EQ(seen.size(), 3U);
}

TEST(KeyRing, GivesTheNextKeyWhileOneRestsAndTheOldOneAfterwards)
{
    key_ring ring(3);
    EXPECT_TRUE(ring.rest(1, 20s, noon));
    EXPECT_EQ(ring.choose(1, noon), 2U);
    EXPECT_EQ(ring.choose(0, noon), 0U);
    EXPECT_TRUE(ring.rest(2, 5s, noon));
    EXPECT_EQ(ring.choose(1, noon + 1s), 0U);
    EXPECT_EQ(ring.choose(1, noon + 6s), 2U);
    EXPECT_EQ(ring.choose(1, noon + 20s), 1U);
}

TEST(KeyRing, GivesTheOneThatWakesFirstWhereAllRest)
{
    key_ring ring(3);
    ring.rest(0, 30s, noon);
    ring.rest(1, 10s, noon);
    ring.rest(2, 20s, noon);
    for (std::size_t session = 0; session < 3; ++session)
        EXPECT_EQ(ring.choose(session, noon), 1U);
    key_ring one(1);
    one.rest(0, 600s, noon);
    EXPECT_EQ(one.choose(77, noon), 0U);
}

TEST(KeyRing, ARestIsNewsOnceAndOnlyGrows)
{
    key_ring ring(2);
    EXPECT_TRUE(ring.rest(0, 20s, noon));
    EXPECT_FALSE(ring.rest(0, 5s, noon + 1s));
    EXPECT_EQ(ring.choose(0, noon + 10s), 1U);
    EXPECT_FALSE(ring.rest(0, 20s, noon + 10s));
    EXPECT_EQ(ring.choose(0, noon + 29s), 1U);
    EXPECT_TRUE(ring.rest(0, 20s, noon + 31s));
}

TEST(RestAfter, TakesTheProvidersWordWithinBounds)
{
    const std::time_t now = 1'784'894'400;  // Fri, 24 Jul 2026 12:00:00 GMT
    struct row {
        int status;
        std::string_view retry_after, ms;
        int seconds;
    };
    for (const row& r :
         {row{429, "20", "", 20}, row{429, "", "", 10}, row{429, "soon", "", 10}, row{429, "-5", "", 10},
          row{429, "0", "", 1}, row{429, "1.2", "", 2}, row{429, "999999999999", "", 600},
          row{429, "99999999999999999999999", "", 10}, row{429, "20", "1500", 2},
          row{429, "Fri, 24 Jul 2026 12:00:30 GMT", "", 30}, row{429, "Fri, 24 Jul 2026 11:00:00 GMT", "", 1},
          row{429, "Fri, 24 Jul 2026 12:00:30 GMT and a long tail of other words", "", 10},
          row{401, "1", "", 300}})
        EXPECT_EQ(rest_after(r.status, r.retry_after, r.ms, now), std::chrono::seconds(r.seconds))
            << r.status << ' ' << r.retry_after;
    for (const int status : {200, 400, 403, 404, 500, 503, 529})
        EXPECT_EQ(rest_after(status, "20", "", now), std::nullopt) << status;
}

}  // namespace
}  // namespace keyhole::proxy::upstream
