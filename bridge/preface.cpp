#include "bridge/preface.hpp"

namespace keyhole::bridge {
namespace {

// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2
constexpr unsigned char signature[] = {0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
                                       0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};
constexpr unsigned char version_2_proxy = 0x21;
constexpr unsigned char family_unspecified = 0x00;
constexpr unsigned char tlv_session_token = 0xE0;
constexpr std::size_t tlv_head = 3;

constexpr unsigned char high_byte(std::size_t n)
{
    return static_cast<unsigned char>((n >> 8) & 0xFF);
}
constexpr unsigned char low_byte(std::size_t n)
{
    return static_cast<unsigned char>(n & 0xFF);
}

}  // namespace

bool write_preface(std::string_view token, sys::locked_bytes& out) noexcept
{
    out.clear();
    if (!sys::looks_like_token(token)) return false;
    const std::size_t after_head = tlv_head + token.size();
    const unsigned char head[] = {version_2_proxy,       family_unspecified, high_byte(after_head),
                                  low_byte(after_head),  tlv_session_token,  high_byte(token.size()),
                                  low_byte(token.size())};
    return out.append(signature, sizeof signature) && out.append(head, sizeof head) &&
           out.append(token.data(), token.size());
}

}  // namespace keyhole::bridge
