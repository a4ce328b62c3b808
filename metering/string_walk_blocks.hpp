// The walk itself, over any kind of 64-byte block. Only string_walk*.cpp include this, each compiled for the
// machine that its kind of block needs: so everything here is of the unit that includes it, and calls nothing
// that units share. Thread rule: pure functions.
#pragma once

#include "metering/string_walk.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace keyhole::metering {

#if defined(__x86_64__)
/// walk_string() for machines with AVX2 and BMI.
walked_string walk_string_by_avx2(const char* p, const char* end) noexcept;
#endif

namespace {

constexpr std::size_t block_size = 64;

/// Bit i: byte i of a block.
using mask = std::uint64_t;

/// Characters that a backslash before them escapes. `carry`: the block before ended in such a backslash; it
/// becomes the same for the next one. A sum's carry bit runs to the end of each run of backslashes; whether
/// that is an odd or an even place tells whether the run's last one is itself escaped.
inline mask escaped_by(mask backslash, mask& carry) noexcept
{
    constexpr mask odd = 0xAAAA'AAAA'AAAA'AAAA;
    const mask begins = backslash & ~carry;
    const mask ends = (((begins << 1) | odd) - begins) ^ odd;
    const mask escaped = ends ^ (backslash | carry);
    carry = (ends & backslash) >> 63;
    return escaped;
}

inline bool is_hex(char c) noexcept
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// Whether what is escaped at these places of a block is a 'u' with four hexadecimal digits behind it.
[[gnu::noinline]] bool all_unicode_escapes(mask at, const char* block, const char* end) noexcept
{
    for (; at != 0; at &= at - 1) {
        const char* const c = block + __builtin_ctzll(at);
        if (end - c < 5 || c[0] != 'u' || !is_hex(c[1]) || !is_hex(c[2]) || !is_hex(c[3]) || !is_hex(c[4]))
            return false;
    }
    return true;
}

/// What a block of bytes says of each, by `Needles`, which are made once a string:
///     mask equal_quote(), equal_backslash(), equal_slash()
///     mask controls()        it is below a space
///     mask words()           it is a space or outside ASCII
///     mask short_escapes()   a backslash may stand before it, and nothing need come behind it
/// Needles::lowest gathers the lowest byte at each place of a block, over blocks.
template <class Block>
struct walker {
    using needles = typename Block::needles;

    /// Over whole blocks, up to the one in which the string ends.
    static const char* over_whole_blocks(const char* p, const char* end, const needles& n, mask& carry,
                                         walked_string& out) noexcept
    {
        mask backslashes = 0;
        auto lowest = Block::highest();
        for (; static_cast<std::size_t>(end - p) >= block_size; p += block_size) {
            const Block block{p, n};
            const mask backslash = block.equal_backslash();
            mask quote = block.equal_quote();
            if ((backslash | carry) == 0) {
                if (quote != 0) break;
            } else {
                mask next = carry;
                const mask escaped = escaped_by(backslash, next);
                if ((quote & ~escaped) != 0) break;
                carry = next;
                backslashes |= backslash;
                const mask others = escaped & ~block.short_escapes();
                if (others != 0 && !all_unicode_escapes(others, p, end)) out.faulty = true;
                if (!out.text) out.text = (escaped & ~block.equal_slash()) != 0;
            }
            block.lower(lowest);
            if (!out.text) out.text = block.words() != 0;
        }
        out.escaped = backslashes != 0;
        if (Block::has_control(lowest)) out.faulty = out.text = true;
        return p;
    }

    static walked_string walk(const char* p, const char* const end) noexcept
    {
        walked_string out;
        mask carry = 0;
        const needles n;
        p = over_whole_blocks(p, end, n, carry, out);

        alignas(32) char copy[block_size];
        mask inside = ~mask{0};
        const char* at = p;
        if (const auto left = static_cast<std::size_t>(end - p); left < block_size) {
            std::memset(copy, 0, block_size);
            std::memcpy(copy, p, left);
            at = copy;
            inside = (mask{1} << left) - 1;
        }
        const Block block{at, n};
        const mask backslash = block.equal_backslash() & inside;
        mask escaped = escaped_by(backslash, carry);
        const mask quote = block.equal_quote() & inside & ~escaped;
        if (quote != 0) {
            inside = (quote & (~quote + 1)) - 1;
            out.end = p + __builtin_ctzll(quote);
        }
        escaped &= inside;
        const mask others = escaped & ~block.short_escapes();
        if (others != 0 && !all_unicode_escapes(others, p, end)) out.faulty = true;
        out.escaped = out.escaped || (backslash & inside) != 0;
        const mask controls = block.controls() & inside;
        if (controls != 0) out.faulty = true;
        out.text = out.text || ((controls | block.words() | (escaped & ~block.equal_slash())) & inside) != 0;
        return out;
    }
};

}  // namespace

}  // namespace keyhole::metering
