#include "metering/string_walk_blocks.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace keyhole::metering {

namespace {

#if defined(__SSE2__)

/// Four times sixteen bytes.
struct block {
    struct needles {};

    block(const char* at, const needles&) noexcept
    {
        for (std::size_t i = 0; i < 4; ++i)
            part[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * i));
    }
    template <class Match>
    mask where(Match match) const noexcept
    {
        mask out = 0;
        for (std::size_t i = 0; i < 4; ++i)
            out |= mask{static_cast<unsigned>(_mm_movemask_epi8(match(part[i])))} << (16 * i);
        return out;
    }
    mask equal(char c) const noexcept
    {
        return where([c](__m128i v) { return _mm_cmpeq_epi8(v, _mm_set1_epi8(c)); });
    }
    mask controls() const noexcept
    {
        const __m128i last = _mm_set1_epi8(0x1f);
        return where([last](__m128i v) { return _mm_cmpeq_epi8(_mm_min_epu8(v, last), v); });
    }
    mask words() const noexcept
    {
        return where([](__m128i v) { return _mm_or_si128(v, _mm_cmpeq_epi8(v, _mm_set1_epi8(' '))); });
    }

    static __m128i highest() noexcept { return _mm_set1_epi8(-1); }
    void lower(__m128i& lowest) const noexcept
    {
        lowest = _mm_min_epu8(_mm_min_epu8(lowest, _mm_min_epu8(part[0], part[1])),
                              _mm_min_epu8(part[2], part[3]));
    }
    static bool has_control(__m128i lowest) noexcept
    {
        return _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(lowest, _mm_set1_epi8(0x1f)), lowest)) != 0;
    }

    mask equal_quote() const noexcept { return equal('"'); }
    mask equal_backslash() const noexcept { return equal('\\'); }
    mask equal_slash() const noexcept { return equal('/'); }
    mask short_escapes() const noexcept
    {
        return equal('"') | equal('\\') | equal('/') | equal('b') | equal('f') | equal('n') | equal('r') |
               equal('t');
    }

    __m128i part[4];
};

#else

struct block {
    struct needles {};

    block(const char* at, const needles&) noexcept { std::memcpy(bytes, at, block_size); }
    template <class Match>
    mask where(Match match) const noexcept
    {
        mask out = 0;
        for (std::size_t i = 0; i < block_size; ++i)
            out |= mask{match(bytes[i])} << i;
        return out;
    }
    mask controls() const noexcept
    {
        return where([](unsigned char b) { return b < 0x20; });
    }
    mask words() const noexcept
    {
        return where([](unsigned char b) { return b == ' ' || b >= 0x80; });
    }
    static mask highest() noexcept { return 0; }
    void lower(mask& control) const noexcept { control |= controls(); }
    static bool has_control(mask control) noexcept { return control != 0; }

    mask equal_quote() const noexcept
    {
        return where([](unsigned char b) { return b == '"'; });
    }
    mask equal_backslash() const noexcept
    {
        return where([](unsigned char b) { return b == '\\'; });
    }
    mask equal_slash() const noexcept
    {
        return where([](unsigned char b) { return b == '/'; });
    }
    mask short_escapes() const noexcept
    {
        return where([](unsigned char b) { return b != 0 && std::strchr("\"\\/bfnrt", b) != nullptr; });
    }

    unsigned char bytes[block_size];
};

#endif

using walk_function = walked_string (*)(const char*, const char*) noexcept;

walk_function best_walk() noexcept
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")) return walk_string_by_avx2;
#endif
    return walk_string_plainly;
}

const walk_function chosen = best_walk();

}  // namespace

walked_string walk_string_plainly(const char* p, const char* end) noexcept
{
    return walker<block>::walk(p, end);
}

walked_string walk_string(const char* p, const char* end) noexcept
{
    return chosen(p, end);
}

}  // namespace keyhole::metering
