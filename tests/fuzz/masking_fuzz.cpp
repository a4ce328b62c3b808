// links: keyhole_proxy
// KEY_STAYS_HOME: a key anywhere in a stream, cut anywhere, never comes out, and every other byte does.
#include "proxy/upstream/masking.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view key = "sk-proj-0123456789abcdefABCDEF0123456789abcdef";

std::string masked(std::string_view text, std::size_t step)
{
    keyhole::proxy::upstream::stream_masker masker(key);
    std::string out;
    std::string carry;
    for (std::size_t at = 0; at < text.size(); at += step) {
        std::string piece = carry + std::string(text.substr(at, step));
        bool found = false;
        const std::size_t waiting = masker.mask(piece, found);
        if (waiting > piece.size() || waiting >= key.size()) std::abort();
        carry = piece.substr(piece.size() - waiting);
        out += piece.substr(0, piece.size() - waiting);
    }
    return out + carry;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2) return 0;
    // 0x01 stands for the key, 0x02 to 0x0f for a beginning of it.
    std::string text;
    for (const std::uint8_t* p = data + 1; p != data + size; ++p) {
        if (*p == 1)
            text += key;
        else if (*p < 16)
            text += key.substr(0, *p * 3U);
        else
            text += static_cast<char>(*p);
    }
    const std::string out = masked(text, 1 + data[0] % 64U);
    if (out.size() != text.size() || out.find(key) != out.npos) std::abort();
    if (text.find(key.substr(0, 4)) == text.npos && out != text) std::abort();
    std::string whole = text;
    keyhole::proxy::upstream::mask_fragments(whole, key);
    if (whole.size() != text.size() || whole.find(key) != whole.npos) std::abort();
    return 0;
}
