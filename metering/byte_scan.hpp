// Finds the next byte that ends a run of ordinary ones, sixteen at a time where the machine can. The two
// splitters (SSE lines, JSON strings) spend their time here. Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace keyhole::metering {

namespace detail {

#if defined(__SSE2__)
template <class Match, class Plain>
const char* scan(const char* p, const char* end, Match match, Plain plain) noexcept
{
    while (end - p >= 16) {
        const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        const auto hits = static_cast<unsigned>(_mm_movemask_epi8(match(block)));
        if (hits != 0) return p + __builtin_ctz(hits);
        p += 16;
    }
    while (p != end && !plain(*p))
        ++p;
    return p;
}
#else
template <class Plain>
const char* scan(const char* p, const char* end, Plain plain) noexcept
{
    while (p != end && !plain(*p))
        ++p;
    return p;
}
#endif

}  // namespace detail

/// The first `A` or `B` in [p, end), or end.
template <char A, char B>
const char* find_either(const char* p, const char* end) noexcept
{
    const auto plain = [](char c) { return c == A || c == B; };
#if defined(__SSE2__)
    return detail::scan(
        p, end,
        [](__m128i block) {
            return _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(A)),
                                _mm_cmpeq_epi8(block, _mm_set1_epi8(B)));
        },
        plain);
#else
    return detail::scan(p, end, plain);
#endif
}

/// The first quote, backslash or control character in [p, end), or end: all that can end a string's run.
inline const char* find_string_stop(const char* p, const char* end) noexcept
{
    const auto plain = [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; };
#if defined(__SSE2__)
    return detail::scan(
        p, end,
        [](__m128i block) {
            const __m128i last_control = _mm_set1_epi8(0x1f);
            return _mm_or_si128(_mm_cmpeq_epi8(_mm_max_epu8(block, last_control), last_control),
                                _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')),
                                             _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'))));
        },
        plain);
#else
    return detail::scan(p, end, plain);
#endif
}

/// The first control character (DEL is one) in [p, end), or end.
inline const char* find_control(const char* p, const char* end) noexcept
{
    const auto plain = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
#if defined(__SSE2__)
    return detail::scan(
        p, end,
        [](__m128i block) {
            const __m128i last_control = _mm_set1_epi8(0x1f);
            return _mm_or_si128(_mm_cmpeq_epi8(_mm_max_epu8(block, last_control), last_control),
                                _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f)));
        },
        plain);
#else
    return detail::scan(p, end, plain);
#endif
}

/// The first byte in [p, end) that is no ASCII letter, or end.
inline const char* find_no_letter(const char* p, const char* end) noexcept
{
    const auto plain = [](char c) {
        const auto folded = static_cast<unsigned char>(static_cast<unsigned char>(c) | 0x20U);
        return folded < 'a' || folded > 'z';
    };
#if defined(__SSE2__)
    return detail::scan(
        p, end,
        [](__m128i block) {
            const __m128i folded = _mm_or_si128(block, _mm_set1_epi8(0x20));
            const __m128i from_a = _mm_sub_epi8(folded, _mm_set1_epi8('a'));
            const __m128i last = _mm_set1_epi8(26);
            return _mm_cmpeq_epi8(_mm_max_epu8(from_a, last), from_a);
        },
        plain);
#else
    return detail::scan(p, end, plain);
#endif
}

/// The first quote, brace or bracket in [p, end), or end: all that matters inside a JSON value nobody asks
/// for.
inline const char* find_structure(const char* p, const char* end) noexcept
{
    const auto plain = [](char c) { return c == '"' || c == '{' || c == '}' || c == '[' || c == ']'; };
#if defined(__SSE2__)
    return detail::scan(
        p, end,
        [](__m128i block) {
            // '[' and '{', ']' and '}' differ in bit 5 only.
            const __m128i folded = _mm_or_si128(block, _mm_set1_epi8(0x20));
            return _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')),
                                _mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')),
                                             _mm_cmpeq_epi8(folded, _mm_set1_epi8('}'))));
        },
        plain);
#else
    return detail::scan(p, end, plain);
#endif
}

}  // namespace keyhole::metering
