// What is said of a string is the same as what looking at each character says, whichever kind of block the
// machine offers and wherever blocks end.
#include "metering/string_walk.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <string_view>

namespace keyhole::metering {

static bool operator==(const walked_string& a, const walked_string& b)
{
    return a.end == b.end && a.escaped == b.escaped && a.faulty == b.faulty && a.text == b.text;
}

static void PrintTo(const walked_string& w, std::ostream* out)
{
    *out << (w.end != nullptr ? "ended" : "open") << (w.escaped ? " escaped" : "")
         << (w.faulty ? " faulty" : "") << (w.text ? " text" : "");
}

namespace {

bool is_hex(char c)
{
    return std::string_view{"0123456789abcdefABCDEF"}.find(c) != std::string_view::npos;
}

walked_string by_character(const char* p, const char* end)
{
    walked_string out;
    for (; p != end; ++p) {
        const auto c = static_cast<unsigned char>(*p);
        if (c == '"') {
            out.end = p;
            return out;
        }
        if (c < 0x20) out.faulty = true;
        if (c <= 0x20 || c >= 0x80) out.text = true;
        if (c != '\\') continue;
        out.escaped = true;
        if (++p == end) return out;
        const char kind = *p;
        if (kind != '/') out.text = true;
        const bool unicode =
            kind == 'u' && end - p >= 5 && is_hex(p[1]) && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]);
        if (!unicode && (kind == '\0' || std::string_view{"\"\\/bfnrt"}.find(kind) == std::string_view::npos))
            out.faulty = true;
    }
    return out;
}

/// Both walkers, on a copy of exactly that size: a sanitizer sees a read beyond it.
void expect_same(std::string_view text)
{
    const auto copy = std::make_unique<char[]>(text.size() + 1);
    text.copy(copy.get(), text.size());
    const char* const p = copy.get();
    const char* const end = p + text.size();
    const walked_string expected = by_character(p, end);
    for (const auto walk : {&walk_string, &walk_string_plainly}) {
        walked_string walked = walk(p, end);
        // Where no end is in sight nothing else matters to anybody.
        if (expected.end == nullptr && walked.end == nullptr) continue;
        EXPECT_EQ(walked, expected) << testing::PrintToString(text);
    }
}

TEST(StringWalk, EachByteAtEachPlaceOfABlock)
{
    for (unsigned c = 0; c < 256; ++c) {
        for (std::size_t at = 0; at < 140; ++at) {
            std::string text(150, 'x');
            text += '"';
            text[at] = static_cast<char>(c);
            expect_same(text);
        }
    }
}

TEST(StringWalk, EachEscapeAtEachPlaceOfABlock)
{
    for (unsigned kind = 0; kind < 256; ++kind) {
        for (const std::size_t at : {0U, 1U, 31U, 32U, 62U, 63U, 64U, 126U, 127U, 128U, 147U, 148U}) {
            std::string text(150, 'x');
            text += "\"\"";
            text[at] = '\\';
            text[at + 1] = static_cast<char>(kind);
            expect_same(text);
        }
    }
}

TEST(StringWalk, RunsOfBackslashesAcrossBlocks)
{
    for (std::size_t from = 50; from < 80; ++from) {
        for (std::size_t run = 1; run < 140; ++run) {
            const std::string text = std::string(from, 'y') + std::string(run, '\\') + "\"z\" and \"";
            expect_same(text);
        }
    }
}

TEST(StringWalk, UnicodeEscapesWithAndWithoutTheirDigits)
{
    for (std::size_t before = 0; before < 70; ++before) {
        for (const auto* rest : {"\\u00e9\"", "\\u00g9\"", "\\u00\"9\"", "\\uD83D\\uDE00 \"", "\\u", "\\u12",
                                 "\\u123\"", "\\\\u12\"", "\\u12\\u34\""})
            expect_same(std::string(before, 'a') + rest);
    }
}

TEST(StringWalk, RandomStringsOfWhatMatters)
{
    constexpr std::string_view alphabet[] = {
        "\\",  "\\",   "\"",      "/",   "u",    "n", "0",       "a", "aaaaaaaaaaaaaaaa",
        "\\n", "\\\"", "\\u12fF", "\\/", "\x01", " ", "\xC3\xA9"};
    for (unsigned seed = 0; seed < 60'000; ++seed) {
        std::mt19937 random{seed};
        // Some have no space, no control character, no quote: or hardly a string would be long.
        const auto kinds = std::size(alphabet) - random() % 4;
        std::string text;
        for (auto n = random() % 40; n != 0; --n) {
            const auto piece = alphabet[random() % kinds];
            if (piece != "\"" || random() % 8 == 0) text += piece;
        }
        if (random() % 4 != 0) text += '"';
        expect_same(text);
        ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
    }
}

}  // namespace
}  // namespace keyhole::metering
