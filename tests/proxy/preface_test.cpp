// The bridge's preface: a way to present a token, nothing more; anything odd in it is refused, and half of it
// is waited for.
#include "proxy/http/preface.hpp"

#include <gtest/gtest.h>

#include <string>

namespace keyhole::proxy::http {
namespace {

std::string make(unsigned char command, unsigned char family, const std::string& rest)
{
    std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
    out += static_cast<char>(command);
    out += static_cast<char>(family);
    out += static_cast<char>(rest.size() >> 8U);
    out += static_cast<char>(rest.size() & 0xffU);
    return out + rest;
}

std::string tlv(unsigned char type, const std::string& value)
{
    std::string out(1, static_cast<char>(type));
    out += static_cast<char>(value.size() >> 8U);
    out += static_cast<char>(value.size() & 0xffU);
    return out + value;
}

TEST(Preface, GivesTheTokenAndNothingElse)
{
    const auto text = make(0x21, 0x00, tlv(token_tlv, "kh_abc") + tlv(0x05, "id")) + "GET / HTTP/1.1\r\n";
    const auto p = read_preface(text);
    ASSERT_EQ(p.is, preface::verdict::ok);
    EXPECT_EQ(p.token, "kh_abc");
    EXPECT_EQ(text.substr(p.bytes), "GET / HTTP/1.1\r\n");
}

TEST(Preface, EveryPrefixIsWaitedFor)
{
    const auto text = make(0x21, 0x11, std::string(12, 'a') + tlv(token_tlv, "kh_abc"));
    for (std::size_t n = 0; n < text.size(); ++n)
        EXPECT_EQ(read_preface(text.substr(0, n)).is, preface::verdict::need_more) << n;
    EXPECT_EQ(read_preface(text).token, "kh_abc");
}

TEST(Preface, AGreetingOfAHandOffChannelIsToldApart)
{
    const auto text = make(0x22, 0x00, tlv(token_tlv, "kh_abc"));
    const auto p = read_preface(text);
    ASSERT_EQ(p.is, preface::verdict::hand_off);
    EXPECT_EQ(p.token, "kh_abc");
    EXPECT_EQ(p.bytes, text.size());
    EXPECT_EQ(read_preface(make(0x22, 0x00, "")).is, preface::verdict::hand_off);
    EXPECT_EQ(read_preface(make(0x23, 0x00, "")).is, preface::verdict::malformed);
}

TEST(Preface, OrdinaryRequestsHaveNone)
{
    EXPECT_EQ(read_preface("POST / HTTP/1.1").is, preface::verdict::absent);
    EXPECT_EQ(read_preface("\r\nPOST").is, preface::verdict::absent);
}

TEST(Preface, ForgedOnesAreRefused)
{
    EXPECT_EQ(read_preface(make(0x11, 0x00, "")).is, preface::verdict::malformed);  // version 1
    EXPECT_EQ(read_preface(make(0x21, 0x11, "short")).is,
              preface::verdict::malformed);                                           // no room for addresses
    EXPECT_EQ(read_preface(make(0x21, 0xF0, "xx")).is, preface::verdict::malformed);  // unknown family
    EXPECT_EQ(read_preface(make(0x21, 0x00, tlv(token_tlv, "a") + tlv(token_tlv, "b"))).is,
              preface::verdict::malformed);  // two tokens
    EXPECT_EQ(read_preface(make(0x21, 0x00, std::string("\xE0\x00\xFFx", 4))).is,
              preface::verdict::malformed);  // longer than the header
    EXPECT_EQ(read_preface(make(0x21, 0x00, std::string(2000, 'x'))).is,
              preface::verdict::malformed);                                             // over the bound
    EXPECT_EQ(read_preface(make(0x21, 0x00, "\xE0")).is, preface::verdict::malformed);  // half a TLV
}

}  // namespace
}  // namespace keyhole::proxy::http
