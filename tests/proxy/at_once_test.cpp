#include "proxy/net/at_once.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace keyhole::proxy {
namespace {

class AtOnce : public ::testing::Test {
protected:
    AtOnce() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_.data()), 0); }
    ~AtOnce() override
    {
        close_end(0);
        close_end(1);
    }
    void close_end(std::size_t which)
    {
        if (ends_[which] >= 0) ::close(ends_[which]);
        ends_[which] = -1;
    }
    std::array<int, 2> ends_{-1, -1};
    std::array<char, 256> into_{};
    error_code ec_;
};

TEST_F(AtOnce, ReadsWhatIsThere_AndDoesNotWaitForMore)
{
    EXPECT_EQ(read_at_once(ends_[0], into_.data(), into_.size(), ec_), 0U);
    EXPECT_FALSE(ec_);
    ASSERT_EQ(::write(ends_[1], "abc", 3), 3);
    EXPECT_EQ(read_at_once(ends_[0], into_.data(), into_.size(), ec_), 3U);
    EXPECT_FALSE(ec_);
}

TEST_F(AtOnce, TellsAnEndFromAnError)
{
    close_end(1);
    EXPECT_EQ(read_at_once(ends_[0], into_.data(), into_.size(), ec_), 0U);
    EXPECT_EQ(ec_, asio::error::eof);
    EXPECT_EQ(read_at_once(-1, into_.data(), into_.size(), ec_), 0U);
    EXPECT_TRUE(ec_);
    EXPECT_NE(ec_, asio::error::eof);
}

TEST_F(AtOnce, WritesAllPiecesInOneCall_EmptyOnesIncluded)
{
    const std::string head = "head ";
    const std::string body = "body";
    std::array<asio::const_buffer, 4> pieces{asio::buffer(head), asio::const_buffer{}, asio::buffer(body)};
    const auto n = write_at_once(ends_[0], pieces);
    EXPECT_EQ(n, 9U);
    drop_front(pieces, n);
    EXPECT_EQ(asio::buffer_size(pieces), 0U);
    EXPECT_EQ(read_at_once(ends_[1], into_.data(), into_.size(), ec_), 9U);
    EXPECT_EQ(std::string_view(into_.data(), 9), "head body");
}

TEST_F(AtOnce, WritesWhatTheKernelTakes_TheRestStays)
{
    const std::string head(10, 'h');
    const std::string body(8 * 1024 * 1024, 'b');
    std::array<asio::const_buffer, 2> pieces{asio::buffer(head), asio::buffer(body)};
    std::size_t sent = 0;
    while (const auto n = write_at_once(ends_[0], pieces)) {
        ASSERT_LE(n, bytes_at_once);  // no turn of the loop takes long
        drop_front(pieces, n);
        sent += n;
    }
    ASSERT_GT(sent, head.size());
    ASSERT_LT(sent, head.size() + body.size());
    EXPECT_EQ(asio::buffer_size(pieces), head.size() + body.size() - sent);
    EXPECT_EQ(pieces[0].size(), 0U);
}

TEST_F(AtOnce, APeerThatIsGoneTakesNothing)
{
    close_end(1);
    const std::array<asio::const_buffer, 1> pieces{asio::buffer("x", 1)};
    EXPECT_EQ(write_at_once(ends_[0], pieces), 0U);
}

}  // namespace
}  // namespace keyhole::proxy
