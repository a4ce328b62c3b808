// Which characters of up to 64 are letters, digits, spaces …: a bit each. Thread rule: pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace keyhole::metering {

struct character_sorts {
    static constexpr std::size_t most = 64;

    std::uint64_t letters = 0;  ///< of ASCII
    std::uint64_t digits = 0;
    std::uint64_t spaces = 0;     ///< and tabs
    std::uint64_t line_ends = 0;  ///< LF, CR
    std::uint64_t signs = 0;      ///< the rest of ASCII
    std::uint64_t foreign = 0;    ///< bytes outside ASCII
};

/// Of the first `size` bytes, at most 64; reads no others.
inline character_sorts sorts_of(const char* p, std::size_t size) noexcept
{
    char copy[character_sorts::most];
    if (size < sizeof copy) {
        std::memset(copy, 0, sizeof copy);
        std::memcpy(copy, p, size);
        p = copy;
    }
    character_sorts out;
#if defined(__SSE2__)
    const auto bits = [](__m128i match) {
        return static_cast<std::uint64_t>(static_cast<unsigned>(_mm_movemask_epi8(match)));
    };
    // first <= c <= first + more
    const auto within = [](__m128i v, char first, char more) {
        const __m128i from_first = _mm_sub_epi8(v, _mm_set1_epi8(first));
        return _mm_cmpeq_epi8(_mm_min_epu8(from_first, _mm_set1_epi8(more)), from_first);
    };
    for (unsigned i = 0; i < 4; ++i) {
        const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i));
        const unsigned at = 16 * i;
        const auto either = [&](char a, char b) {
            return bits(
                _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(a)), _mm_cmpeq_epi8(v, _mm_set1_epi8(b))));
        };
        out.letters |= bits(within(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 25)) << at;
        out.digits |= bits(within(v, '0', 9)) << at;
        out.spaces |= either(' ', '\t') << at;
        out.line_ends |= either('\n', '\r') << at;
        out.foreign |= bits(v) << at;
    }
#else
    for (unsigned i = 0; i < character_sorts::most; ++i) {
        const auto c = static_cast<unsigned char>(p[i]);
        const auto folded = static_cast<unsigned char>(c | 0x20U);
        out.letters |= std::uint64_t{folded >= 'a' && folded <= 'z'} << i;
        out.digits |= std::uint64_t{c >= '0' && c <= '9'} << i;
        out.spaces |= std::uint64_t{c == ' ' || c == '\t'} << i;
        out.line_ends |= std::uint64_t{c == '\n' || c == '\r'} << i;
        out.foreign |= std::uint64_t{c >= 0x80} << i;
    }
#endif
    const std::uint64_t known = out.letters | out.digits | out.spaces | out.line_ends | out.foreign;
    out.signs = ~known;
    if (size < character_sorts::most) out.signs &= (std::uint64_t{1} << size) - 1;
    return out;
}

}  // namespace keyhole::metering
