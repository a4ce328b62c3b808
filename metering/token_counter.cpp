#include "metering/token_counter.hpp"

#include "metering/byte_scan.hpp"
#include "metering/character_sorts.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

namespace keyhole::metering {

namespace {

constexpr std::uint64_t one = 1000;

/// What a byte begins.
enum class sort : std::uint8_t {
    space,
    line_end,
    letter,
    digit,
    sign,
    continuation,
    latin,  ///< accented letters, Greek, Cyrillic, Hebrew, Arabic: words, a token every few letters
    cjk,    ///< a token a character, often less
    other,  ///< scripts and symbols of three bytes that tokenizers know less well
    rare,   ///< four bytes: emoji, rare ideographs
};

constexpr sort sort_of(unsigned c) noexcept
{
    if (c == '\n' || c == '\r') return sort::line_end;
    if (c == ' ' || c == '\t') return sort::space;
    if (c >= '0' && c <= '9') return sort::digit;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return sort::letter;
    if (c < 0x80) return sort::sign;
    if (c < 0xc0) return sort::continuation;
    if (c < 0xe0) return sort::latin;
    if (c >= 0xe3 && c <= 0xed) return sort::cjk;
    return c < 0xf0 ? sort::other : sort::rare;
}

constexpr auto sorts = [] {
    std::array<sort, 256> table{};
    for (unsigned c = 0; c < table.size(); ++c)
        table[c] = sort_of(c);
    return table;
}();

/// A word of up to nine letters is a token; a longer one grows by pieces. No word has over forty letters:
/// that is base64 or the like.
constexpr std::uint64_t whole_word = 9;
constexpr std::uint64_t word_piece = 5;
constexpr std::uint64_t longest_word = 40;
constexpr std::uint64_t blob_piece = 3;
constexpr std::uint64_t digits_a_token = 3;
constexpr std::uint64_t signs_a_token = 3;

/// Tokens that the first `length` letters of a run begin.
constexpr std::uint64_t letter_tokens(std::uint64_t length) noexcept
{
    const auto pieces = [](std::uint64_t letters, std::uint64_t piece) {
        return (letters + piece - 1) / piece;
    };
    if (length <= whole_word) return length != 0 ? 1 : 0;
    if (length <= longest_word) return 1 + pieces(length - whole_word, word_piece);
    return 1 + pieces(longest_word - whole_word, word_piece) + pieces(length - longest_word, blob_piece);
}

/// A block is set up for as many characters at least; after one that got nowhere as many go one by one.
constexpr std::ptrdiff_t worth_a_block = 24;

using mask = std::uint64_t;

std::uint64_t count(mask m) noexcept
{
    return static_cast<std::uint64_t>(std::popcount(m));
}

constexpr mask starts(mask runs) noexcept
{
    return runs & ~(runs << 1);
}

/// Characters that have `n` - 1 of their own sort right before them, of those that have `known` - 1.
mask at_least(mask runs, unsigned known, unsigned n) noexcept
{
    for (; known < n; known += std::min(known, n - known))
        runs &= runs << std::min(known, n - known);
    return runs;
}

/// A token where a run begins, and one every third character.
std::uint64_t in_threes(mask runs) noexcept
{
    std::uint64_t tokens = count(starts(runs));
    for (mask more = at_least(runs, 1, 4); more != 0; more &= more << 3)
        tokens += count(starts(more));
    return tokens;
}

/// letter_tokens() of each run.
std::uint64_t in_words(mask runs) noexcept
{
    std::uint64_t tokens = count(starts(runs));
    mask longer = at_least(runs, 1, whole_word + 1);
    for (std::uint64_t length = whole_word + 1; longer != 0; length += word_piece) {
        tokens += count(starts(longer));
        if (length + word_piece > longest_word) break;
        longer &= longer << word_piece;
    }
    for (longer = at_least(longer, 1, 2); longer != 0; longer &= longer << blob_piece)
        tokens += count(starts(longer));
    return tokens;
}
static_assert((longest_word - whole_word - 1) % word_piece == 0, "in_words() ends at the longest word");

std::size_t letters_at(std::string_view text) noexcept
{
    const char* p = text.data();
    const char* const end = p + text.size();
    if (text.size() >= 16) return static_cast<std::size_t>(find_no_letter(p, end) - p);
    while (p != end && sorts[static_cast<unsigned char>(*p)] == sort::letter)
        ++p;
    return static_cast<std::size_t>(p - text.data());
}

}  // namespace

void token_counter::enter(run next) noexcept
{
    if (now_ != next) length_ = 0;
    now_ = next;
    ++length_;
}

const char* token_counter::step(const char* p, const char* end) noexcept
{
    switch (sorts[static_cast<unsigned char>(*p++)]) {
    case sort::space:
        enter(run::space);
        // One space belongs to the word behind it; more are a token of their own.
        if (length_ == 2) count_ += one;
        break;
    case sort::line_end:
        // Line ends right after signs are theirs.
        if (now_ == run::signs) break;
        enter(run::line_end);
        if (length_ == 1) count_ += one;
        break;
    case sort::letter: {
        enter(run::letters);
        const std::size_t more = letters_at({p, static_cast<std::size_t>(end - p)});
        const std::uint64_t before = length_ - 1;
        length_ += more;
        p += more;
        count_ += (letter_tokens(length_) - letter_tokens(before)) * one;
        break;
    }
    case sort::digit:
        enter(run::digits);
        if (length_ % digits_a_token == 1) count_ += one;
        break;
    case sort::sign:
        enter(run::signs);
        if (length_ % signs_a_token == 1) count_ += one;
        break;
    case sort::continuation:
        break;
    case sort::latin:
        enter(run::foreign);
        count_ += length_ == 1 ? 700 : 350;
        break;
    case sort::cjk:
        enter(run::foreign);
        count_ += 800;
        break;
    case sort::other:
        enter(run::foreign);
        count_ += 700;
        break;
    case sort::rare:
        enter(run::foreign);
        count_ += 2 * one;
        break;
    }
    return p;
}

void token_counter::add(std::string_view utf8) noexcept
{
    const char* p = utf8.data();
    const char* const end = p + utf8.size();
    const char* one_by_one = p;  // up to here
    while (p != end) {
        if (end - p >= worth_a_block && p >= one_by_one) {
            if (const char* const after = block(p, end)) {
                p = after;
                continue;
            }
            one_by_one = p + worth_a_block;
        }
        p = step(p, end);
    }
}

const char* token_counter::block(const char* p, const char* end) noexcept
{
    const auto size = std::min<std::size_t>(static_cast<std::size_t>(end - p), character_sorts::most);
    character_sorts s = sorts_of(p, size);
    // A run that goes on from before is none of this block's.
    const auto begins = [](mask sorts_there) { return (sorts_there & 1U) != 0; };
    if ((now_ == run::letters && begins(s.letters)) || (now_ == run::digits && begins(s.digits)) ||
        (now_ == run::space && begins(s.spaces)) || (now_ == run::line_end && begins(s.line_ends)) ||
        (now_ == run::signs && begins(s.signs | s.line_ends)))
        return nullptr;

    // Line ends right after signs are theirs: a sum's carry bit runs over each of them. Signs that go on
    // behind such line ends are for a closer look.
    const mask first_taken = s.line_ends & (s.signs << 1);
    const mask taken = s.line_ends & ~(s.line_ends + first_taken);
    const mask joined = s.signs & (taken << 1);

    // Where a run begins that nothing before it can belong to; the last one of these is the next block's.
    mask fresh = starts(s.letters) | starts(s.digits) | starts(s.spaces) | (starts(s.line_ends) & ~taken) |
                 (starts(s.signs) & ~joined);
    if (s.foreign != 0) fresh &= (s.foreign & (~s.foreign + 1)) - 1;
    if (joined != 0) {
        // Up to the run of signs that is joined.
        const mask before = (joined & (~joined + 1)) - 1;
        const mask signs_before = starts(s.signs) & before;
        fresh &= signs_before == 0 ? 0 : (std::bit_floor(signs_before) << 1) - 1;
    }
    if (fresh <= 1) return nullptr;
    const mask last = std::bit_floor(fresh);
    const mask here = last - 1;
    count_ += one * (in_words(s.letters & here) + in_threes(s.digits & here) + in_threes(s.signs & here) +
                     count(starts(s.line_ends & here) & ~taken) +
                     count(at_least(s.spaces & here, 1, 2) & ~at_least(s.spaces & here, 1, 3)));
    // Of the run before, only its sort matters: what follows is of another one.
    const mask before = last >> 1;
    if ((before & s.letters) != 0)
        now_ = run::letters;
    else if ((before & s.digits) != 0)
        now_ = run::digits;
    else if ((before & s.spaces) != 0)
        now_ = run::space;
    else
        now_ = (before & (s.signs | taken)) != 0 ? run::signs : run::line_end;
    return p + std::countr_zero(last);
}

}  // namespace keyhole::metering
