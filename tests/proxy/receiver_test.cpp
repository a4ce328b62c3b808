// What the receiver relies on in Asio and the kernel: a buffer only when bytes are there, nothing lost and
// nothing late however they come, and an end that is always noticed.
#include "proxy/net/receiver.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace keyhole::proxy {
namespace {

/// A connected pair over loopback: `near` is received on.
struct tcp_pair {
    explicit tcp_pair(asio::io_context& loop) : near(loop.get_executor()), far(loop.get_executor())
    {
        asio::basic_socket_acceptor<asio::ip::tcp, executor> acceptor(loop.get_executor(),
                                                                      {asio::ip::address_v4::loopback(), 0});
        far.connect(acceptor.local_endpoint());
        acceptor.accept(near);
        receiver::prepare(near.native_handle());
    }
    tcp_socket near;
    tcp_socket far;
};

class ReceiverTest : public ::testing::Test {
protected:
    static constexpr std::size_t size = 16;
    static asio::mutable_buffer borrow(void* self)
    {
        auto& t = *static_cast<ReceiverTest*>(self);
        ++t.borrowed_;
        if (!t.buffer_) t.buffer_ = std::make_unique<char[]>(size);
        return {t.buffer_.get(), size};
    }
    static void give_back(void* self) noexcept { static_cast<ReceiverTest*>(self)->buffer_.reset(); }

    /// Receives until the end or an error; what came is in text_, how it ended in end_.
    task<> receive_all()
    {
        receiver from(loop_);
        while (true) {
            ++waits_;
            co_await from.receive(pair_.near, {&borrow, &give_back}, this);
            if (from.error()) break;
            text_.append(buffer_.get(), from.bytes());
            buffer_.reset();
        }
        end_ = from.error();
    }
    void send(std::string_view bytes) { asio::write(pair_.far, asio::buffer(bytes)); }
    void begin() { asio::co_spawn(loop_.get_executor(), receive_all(), asio::detached); }
    void turn()
    {
        loop_.restart();
        loop_.poll();
    }

    asio::io_context loop_{1};
    tcp_pair pair_{loop_};
    std::unique_ptr<char[]> buffer_;
    std::string text_;
    error_code end_;
    unsigned borrowed_ = 0;
    unsigned waits_ = 0;
};

TEST_F(ReceiverTest, AWaitHoldsNoBuffer)
{
    begin();
    turn();
    EXPECT_EQ(buffer_, nullptr);
    send("hello");
    loop_.run_one();
    turn();
    EXPECT_EQ(text_, "hello");
    EXPECT_EQ(buffer_, nullptr);
    EXPECT_EQ(waits_, 2U);
}

TEST_F(ReceiverTest, WhatWasAllReadIsNotAskedForAgain)
{
    begin();
    turn();
    for (int i = 0; i < 5; ++i) {
        send("event");
        loop_.restart();
        while (text_.size() < 5U * static_cast<unsigned>(i + 1))
            loop_.run_one();
    }
    // One attempt an event, and the first: a kernel without TCP_INQ needs another each.
    EXPECT_LE(borrowed_, 1U + 2U * 5U);
    EXPECT_GE(borrowed_, 5U);
}

TEST_F(ReceiverTest, BytesAndTheEndInOneEventAreBothNoticed)
{
    send("last words");
    pair_.far.shutdown(tcp_socket::shutdown_send);
    begin();
    loop_.run();
    EXPECT_EQ(text_, "last words");
    EXPECT_EQ(end_, asio::error::eof);
}

TEST_F(ReceiverTest, TheEndRightBehindBytesIsNoticed)
{
    begin();
    turn();
    send("last words");
    pair_.far.shutdown(tcp_socket::shutdown_send);
    loop_.restart();
    loop_.run();
    EXPECT_EQ(text_, "last words");
    EXPECT_EQ(end_, asio::error::eof);
}

TEST_F(ReceiverTest, MoreThanTheBufferTakesComesWhole_AndWhatArrivesWhileNobodyWaits)
{
    const std::string much(1000, 'm');
    send(much);
    begin();
    turn();
    send("more");
    pair_.far.close();
    loop_.restart();
    loop_.run();
    EXPECT_EQ(text_, much + "more");
}

TEST_F(ReceiverTest, ACancelEndsTheWait)
{
    begin();
    turn();
    pair_.near.cancel();
    loop_.restart();
    loop_.run();
    EXPECT_EQ(end_, asio::error::operation_aborted);
}

TEST_F(ReceiverTest, ACloseEndsTheWait)
{
    begin();
    turn();
    pair_.near.close();
    loop_.restart();
    loop_.run();
    EXPECT_EQ(end_, asio::error::operation_aborted);
}

TEST_F(ReceiverTest, AResetIsAnError)
{
    begin();
    turn();
    pair_.far.set_option(asio::socket_base::linger(true, 0));
    pair_.far.close();
    loop_.restart();
    loop_.run();
    EXPECT_EQ(end_, asio::error::connection_reset);
}

}  // namespace
}  // namespace keyhole::proxy
