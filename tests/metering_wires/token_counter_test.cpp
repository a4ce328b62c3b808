// A text is counted the same whole, where many runs are taken at once, and cut into single bytes, where none
// is.
#include "metering/token_counter.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace keyhole::metering {
namespace {

std::uint64_t whole(std::string_view text)
{
    token_counter counter;
    counter.add(text);
    return counter.millitokens();
}

std::uint64_t in_pieces(std::string_view text, std::size_t size)
{
    token_counter counter;
    for (std::size_t at = 0; at < text.size(); at += size)
        counter.add(text.substr(at, size));
    return counter.millitokens();
}

TEST(TokenCounter, RunsOfEachLengthAtEachPlaceOfABlock)
{
    for (const char c : {'a', '7', ' ', '\n', '{', '\0'}) {
        for (const auto* filler : {"ab ", "x1", "{ ", "};\n", "\n", "a\n ", "\xC3\xA9 ", "}\n}"}) {
            for (std::size_t before = 0; before < 40; before += 3) {
                for (std::size_t run = 0; run < 70; ++run) {
                    std::string text;
                    while (text.size() < before)
                        text += filler;
                    text += std::string(run, c);
                    while (text.size() < before + run + 50)
                        text += filler;
                    ASSERT_EQ(whole(text), in_pieces(text, 1)) << testing::PrintToString(text);
                }
            }
        }
    }
}

TEST(TokenCounter, RandomTextsAreCountedTheSameHoweverTheyAreCut)
{
    constexpr std::string_view alphabet[] = {
        "a",        "word",         "internationalisation",
        "7",        "123",          " ",
        "    ",     "\n",           "\r\n",
        "}",        "();",          "//",
        "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80",
        "\t",       "the ",         "dGhpcyBpcyBiYXNlNjQgYW5kIGl0IGdvZXMgb24gYW5kIG9u"};
    for (unsigned seed = 0; seed < 20'000; ++seed) {
        std::mt19937 random{seed};
        const auto first = random() % std::size(alphabet);
        const auto kinds = 1 + random() % (std::size(alphabet) - first);
        std::string text;
        for (auto n = random() % 120; n != 0; --n)
            text += alphabet[first + random() % kinds];
        const auto expected = in_pieces(text, 1);
        ASSERT_EQ(whole(text), expected) << testing::PrintToString(text);
        ASSERT_EQ(in_pieces(text, 2 + random() % 90), expected) << testing::PrintToString(text);
    }
}

}  // namespace
}  // namespace keyhole::metering
