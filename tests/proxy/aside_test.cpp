#include "proxy/net/aside.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

namespace keyhole::proxy {
namespace {

struct ran {
    std::thread::id there;
    std::thread::id back;
    std::string thrown;
};

task<> run_one(side_thread& beside, executor loop, std::function<void()> work, ran& seen)
{
    try {
        co_await beside.run(loop, std::move(work));
    } catch (const std::exception& e) {
        seen.thrown = e.what();
    }
    seen.back = std::this_thread::get_id();
}

TEST(SideThread, WorksBesideTheLoop_WhichServesOthersMeanwhile_AndComesBackToIt)
{
    asio::io_context loop{1};
    side_thread beside;
    ran seen;
    std::atomic<bool> others_served{false};
    std::function<void()> work = [&] {
        seen.there = std::this_thread::get_id();
        others_served.wait(false);
    };
    asio::co_spawn(loop.get_executor(), run_one(beside, loop.get_executor(), work, seen), asio::detached);
    asio::post(loop, [&] {
        others_served = true;
        others_served.notify_one();
    });
    loop.run();
    EXPECT_EQ(seen.back, std::this_thread::get_id());
    EXPECT_NE(seen.there, seen.back);
    EXPECT_EQ(seen.thrown, "");
}

TEST(SideThread, WhatItsWorkThrowsArrivesWhereItWasAskedFor)
{
    asio::io_context loop{1};
    side_thread beside;
    ran seen;
    std::function<void()> work = [] { throw std::runtime_error("no memory for that"); };
    asio::co_spawn(loop.get_executor(), run_one(beside, loop.get_executor(), work, seen), asio::detached);
    loop.run();
    EXPECT_EQ(seen.thrown, "no memory for that");
}

}  // namespace
}  // namespace keyhole::proxy
