// Chunked bodies decoded in place: every way of cutting the bytes gives the same payload, and malformed ones
// are refused.
#include "proxy/http/chunked.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace keyhole::proxy::http {
namespace {

struct decoded {
    std::string payload;
    bool done = false;
    bool failed = false;
    std::size_t consumed = 0;
};

decoded decode(const std::vector<std::string>& pieces)
{
    chunk_decoder d;
    decoded out;
    for (const auto& p : pieces) {
        std::string room = p;
        const auto step = d.feed(room.data(), room.size());
        out.payload.append(room, step.payload_begin, step.payload_size);
        out.consumed += step.consumed;
        if (d.done() || d.failed()) break;
    }
    out.done = d.done();
    out.failed = d.failed();
    return out;
}

TEST(Chunked, EveryOneAndTwoCutPartitionGivesTheSamePayload)
{
    const std::string wire = "5\r\nhello\r\n1;ext=\"1\"\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    const std::string expected = "hello 0123456789";
    for (std::size_t a = 0; a <= wire.size(); ++a)
        for (std::size_t b = a; b <= wire.size(); ++b) {
            const auto got = decode({wire.substr(0, a), wire.substr(a, b - a), wire.substr(b)});
            ASSERT_TRUE(got.done) << a << ' ' << b;
            ASSERT_EQ(got.payload, expected);
            ASSERT_EQ(got.consumed, wire.size());
        }
}

TEST(Chunked, StopsAtTheEndAndLeavesTheRest)
{
    const auto got = decode({"3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200"});
    EXPECT_TRUE(got.done);
    EXPECT_EQ(got.consumed, std::string("3\r\nabc\r\n0\r\n\r\n").size());
}

TEST(Chunked, EmptyBodyInAnySplitIsNoTrouble)  // five bytes that reach an assertion in Boost 1.81
{
    EXPECT_TRUE(decode({"0\r\n", "\r", "\n"}).done);
    EXPECT_TRUE(decode({"0", "\r", "\n", "\r", "\n"}).done);
}

TEST(Chunked, RefusesMalformedFraming)
{
    for (const std::string bad : {"\r\n", "g\r\n", "-1\r\n", "5\nhello", "5\r\nhelloX", "5\r\nhello\n",
                                  "fffffffffffffffff\r\n", "0x5\r\n", "5 \rX", "0\r\nA: b\nC: d\r\n\r\n"})
    {
        const auto got = decode({bad});
        EXPECT_TRUE(got.failed) << bad;
    }
}

TEST(Chunked, EndlessExtensionsAndTrailersAreRefused)
{
    EXPECT_TRUE(decode({"5;" + std::string(20000, 'x')}).failed);
    EXPECT_TRUE(decode({"0\r\nA: " + std::string(20000, 'x')}).failed);
}

TEST(Chunked, WritesSizeLines)
{
    for (const std::size_t n : {1UL, 15UL, 16UL, 255UL, 4096UL, 0xfffffUL}) {
        char room[64];
        const auto length = write_size_line_before(room + 32, n);
        std::string expected(64, '\0');
        expected.resize(
            static_cast<std::size_t>(std::snprintf(expected.data(), expected.size(), "%zx\r\n", n)));
        EXPECT_EQ(std::string(room + 32 - length, length), expected);
    }
}

}  // namespace
}  // namespace keyhole::proxy::http
