#include "bridge/preface.hpp"

#include <gtest/gtest.h>

#include <string>

namespace keyhole::bridge {
namespace {

using namespace std::string_literals;

TEST(Preface, IsASignatureAndOneTlvWithTheToken)
{
    sys::locked_bytes out;
    ASSERT_TRUE(write_preface("kh_12345", out));
    EXPECT_EQ(out.view(), "\r\n\r\n\0\r\nQUIT\n"s + "\x21\x00\x00\x0B\xE0\x00\x08"s + "kh_12345"s);
}

TEST(Preface, CountsLengthsOverOneByte)
{
    sys::locked_bytes out;
    const std::string token(512, 'x');
    ASSERT_TRUE(write_preface(token, out));
    EXPECT_EQ(out.view().substr(12, 7), "\x21\x00\x02\x03\xE0\x02\x00"s);
    EXPECT_EQ(out.view().substr(19), token);
}

TEST(Preface, RefusesWhatTheProxyWouldNotTakeAsAToken)
{
    for (const std::string& token : {""s, "seven77"s, std::string(513, 'x'), "with blank"s, "new\nline"s,
                                     "nul\0nul\0"s, "caf\xC3\xA9s\xC3\xA9"s})
    {
        sys::locked_bytes out;
        EXPECT_FALSE(write_preface(token, out)) << testing::PrintToString(token);
        EXPECT_TRUE(out.empty());
    }
}

TEST(Preface, AGreetingDiffersInItsCommandAndNeedsNoToken)
{
    sys::locked_bytes out;
    ASSERT_TRUE(write_greeting("kh_12345", out));
    EXPECT_EQ(out.view(), "\r\n\r\n\0\r\nQUIT\n"s + "\x22\x00\x00\x0B\xE0\x00\x08"s + "kh_12345"s);
    ASSERT_TRUE(write_greeting("", out));
    EXPECT_EQ(out.view(), "\r\n\r\n\0\r\nQUIT\n"s + "\x22\x00\x00\x00"s);
    EXPECT_FALSE(write_greeting("with blank", out));
}

TEST(LockedBytes, LoseEverythingWhenTheyWouldOverflow)
{
    sys::locked_bytes bytes;
    const std::string half(sys::locked_bytes::capacity / 2 + 1, 'x');
    EXPECT_TRUE(bytes.append(half.data(), half.size()));
    EXPECT_FALSE(bytes.append(half.data(), half.size()));
    EXPECT_TRUE(bytes.empty());
}

}  // namespace
}  // namespace keyhole::bridge
