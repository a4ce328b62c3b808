#include "proxy/http/preface.hpp"

#include <algorithm>

namespace keyhole::proxy::http {

preface read_preface(std::string_view text) noexcept
{
    constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);
    preface out;
    const auto seen = std::min(text.size(), signature.size());
    if (text.substr(0, seen) != signature.substr(0, seen)) return out;
    out.is = preface::verdict::need_more;
    if (text.size() < 16) return out;

    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const std::size_t length = (static_cast<std::size_t>(byte(14)) << 8U) | byte(15);
    const unsigned version_command = byte(12);
    constexpr unsigned hand_off = 0x22;
    if ((version_command != 0x21 && version_command != 0x20 && version_command != hand_off) ||
        16 + length > max_preface_bytes)
    {
        out.is = preface::verdict::malformed;
        return out;
    }
    if (text.size() < 16 + length) return out;

    // The address block's size follows from the family; only an unspecified family (0) has none.
    std::size_t address = 0;
    switch (byte(13) >> 4U) {
    case 0:
        address = 0;
        break;
    case 1:
        address = 12;
        break;
    case 2:
        address = 36;
        break;
    case 3:
        address = 216;
        break;
    default:
        address = length + 1;
        break;
    }
    if (address > length) {
        out.is = preface::verdict::malformed;
        return out;
    }
    std::string_view rest = text.substr(16 + address, length - address);
    while (!rest.empty()) {
        if (rest.size() < 3) {
            out.is = preface::verdict::malformed;
            return out;
        }
        const auto type = static_cast<unsigned char>(rest[0]);
        const std::size_t n = (static_cast<std::size_t>(static_cast<unsigned char>(rest[1])) << 8U) |
                              static_cast<unsigned char>(rest[2]);
        if (rest.size() < 3 + n || (type == token_tlv && !out.token.empty())) {
            out.is = preface::verdict::malformed;
            out.token = {};
            return out;
        }
        if (type == token_tlv) out.token = rest.substr(3, n);
        rest.remove_prefix(3 + n);
    }
    out.is = version_command == hand_off ? preface::verdict::hand_off : preface::verdict::ok;
    out.bytes = 16 + length;
    return out;
}

}  // namespace keyhole::proxy::http
