// Compiled for AVX2 and BMI: nothing in here may run where the machine has not been asked for them.
#include "metering/string_walk_blocks.hpp"

#include <immintrin.h>

namespace keyhole::metering {

namespace {

/// Keeps a constant in a register: the compiler would make it anew, of three instructions, in each turn of a
/// loop.
__m256i held(__m256i constant) noexcept
{
    __asm__("" : "+x"(constant));
    return constant;
}

/// Twice 32 bytes.
struct block {
    /// What may stand behind a backslash is found by the two halves of a byte: each upper half has a bit of
    /// its own, and each lower half the bits of the upper ones with which it makes such a letter.
    struct needles {
        static constexpr char with_2 = 1;  // '"' and '/'
        static constexpr char with_5 = 2;  // '\'
        static constexpr char with_6 = 4;  // b f n
        static constexpr char with_7 = 8;  // r t

        __m256i quote = held(_mm256_set1_epi8('"'));
        __m256i backslash = held(_mm256_set1_epi8('\\'));
        __m256i half = held(_mm256_set1_epi8(0x0f));
        __m256i by_lower = held(_mm256_broadcastsi128_si256(_mm_setr_epi8(
            0, 0, with_2 | with_6 | with_7, 0, with_7, 0, with_6, 0, 0, 0, 0, 0, with_5, 0, with_6, with_2)));
        __m256i by_upper = held(_mm256_broadcastsi128_si256(
            _mm_setr_epi8(0, 0, with_2, 0, 0, with_5, with_6, with_7, 0, 0, 0, 0, 0, 0, 0, 0)));
    };

    block(const char* at, const needles& needles_of_string) noexcept
        : low{_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))}
        , high{_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32))}
        , n{needles_of_string}
    {
    }
    static mask joined(__m256i a, __m256i b) noexcept
    {
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(a)) |
               mask{static_cast<std::uint32_t>(_mm256_movemask_epi8(b))} << 32;
    }
    mask equal(__m256i wanted) const noexcept
    {
        return joined(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted));
    }
    mask equal_quote() const noexcept { return equal(n.quote); }
    mask equal_backslash() const noexcept { return equal(n.backslash); }
    mask equal_slash() const noexcept { return equal(_mm256_set1_epi8('/')); }
    static __m256i is_control(__m256i v) noexcept
    {
        return _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    }
    mask controls() const noexcept { return joined(is_control(low), is_control(high)); }
    mask words() const noexcept
    {
        const __m256i space = _mm256_set1_epi8(' ');
        return joined(_mm256_or_si256(low, _mm256_cmpeq_epi8(low, space)),
                      _mm256_or_si256(high, _mm256_cmpeq_epi8(high, space)));
    }

    static __m256i highest() noexcept { return _mm256_set1_epi8(-1); }
    void lower(__m256i& lowest) const noexcept
    {
        lowest = _mm256_min_epu8(lowest, _mm256_min_epu8(low, high));
    }
    static bool has_control(__m256i lowest) noexcept { return _mm256_movemask_epi8(is_control(lowest)) != 0; }

    __m256i no_short_escape(__m256i v) const noexcept
    {
        const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(v, 4), n.half);
        const __m256i both =
            _mm256_and_si256(_mm256_shuffle_epi8(n.by_lower, v), _mm256_shuffle_epi8(n.by_upper, upper));
        return _mm256_cmpeq_epi8(both, _mm256_setzero_si256());
    }
    mask short_escapes() const noexcept { return ~joined(no_short_escape(low), no_short_escape(high)); }

    __m256i low;
    __m256i high;
    const needles& n;
};

}  // namespace

walked_string walk_string_by_avx2(const char* p, const char* end) noexcept
{
    return walker<block>::walk(p, end);
}

}  // namespace keyhole::metering
