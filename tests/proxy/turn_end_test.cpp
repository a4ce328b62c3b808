#include "proxy/net/turn_end.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <gtest/gtest.h>

#include <string>

namespace keyhole::proxy {
namespace {

/// A request that is read and passed on: 'r', then 'w'.
task<> pass(turn_end& end, std::string& seen)
{
    seen += 'r';
    const bool company = end.has_company();
    if (company) co_await end.wait();
    seen += 'w';
}

class Turn : public ::testing::Test {
protected:
    /// So many requests are ready in one turn of the loop; what they did, in order.
    std::string turn(int ready)
    {
        std::string seen;
        for (int i = 0; i < ready; ++i)
            asio::co_spawn(loop.get_executor(), pass(end, seen), asio::detached);
        loop.run();
        loop.restart();
        return seen;
    }
    /// Until somebody has looked for company.
    void turns(int count, int ready)
    {
        for (int i = 0; i < count; ++i)
            turn(ready);
    }

    asio::io_context loop{1};
    turn_end end{loop.get_executor()};
};

TEST_F(Turn, WhatIsReadyTogetherIsReadFirstAndWrittenThen)
{
    turns(16, 3);
    EXPECT_EQ(turn(3), "rrrwww");
    EXPECT_EQ(turn(5), "rrrrrwwwww");
}

TEST_F(Turn, WhoIsAloneWritesAtOnce)
{
    turns(100, 1);
    EXPECT_FALSE(end.has_company());
}

TEST_F(Turn, WhoIsLeftAloneDoesNotWaitForLong)
{
    turns(16, 3);
    ASSERT_TRUE(end.has_company());
    turns(100, 1);
    int waits = 0;
    for (int i = 0; i < 32; ++i)
        waits += end.has_company() ? 1 : 0;
    EXPECT_EQ(waits, 2);  // a look now and then
    turns(16, 3);
    EXPECT_EQ(turn(2), "rrww");
}

TEST_F(Turn, ALoneTurnBetweenBusyOnesChangesNothing)
{
    turns(16, 3);
    for (int i = 0; i < 20; ++i) {
        turn(1);
        EXPECT_EQ(turn(2), "rrww");
    }
}

}  // namespace
}  // namespace keyhole::proxy
