#include "bridge/preface.hpp"

namespace keyhole::bridge {
namespace {

// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2
constexpr unsigned char signature[] = {0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
                                       0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};
constexpr unsigned char version_2_proxy = 0x21;
constexpr unsigned char version_2_hand_off = 0x22;
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

namespace {

bool write_header(unsigned char command, std::string_view token, sys::locked_bytes& out) noexcept
{
    out.clear();
    const std::size_t after_head = token.empty() ? 0 : tlv_head + token.size();
    const unsigned char head[] = {command, family_unspecified, high_byte(after_head), low_byte(after_head)};
    if (!out.append(signature, sizeof signature) || !out.append(head, sizeof head)) return false;
    if (token.empty()) return true;
    const unsigned char tlv[] = {tlv_session_token, high_byte(token.size()), low_byte(token.size())};
    return out.append(tlv, sizeof tlv) && out.append(token.data(), token.size());
}

}  // namespace

bool write_preface(std::string_view token, sys::locked_bytes& out) noexcept
{
    out.clear();
    return sys::looks_like_token(token) && write_header(version_2_proxy, token, out);
}

bool write_greeting(std::string_view token, sys::locked_bytes& out) noexcept
{
    out.clear();
    return (token.empty() || sys::looks_like_token(token)) && write_header(version_2_hand_off, token, out);
}

}  // namespace keyhole::bridge
