// KEY_STAYS_HOME in what providers send back: whole keys however they are cut, fragments in errors, nothing
// else touched.
#include "proxy/upstream/masking.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace keyhole::proxy::upstream {
namespace {

const std::string key = "sk-proj-CANARYa1b2c3d4e5f6g7h8i9j0WXYZ";

std::string masked_in_pieces(const std::string& text, std::size_t a, std::size_t b)
{
    stream_masker masker(key);
    std::string out;
    std::string carry;
    bool masked = false;
    for (const auto& piece : {text.substr(0, a), text.substr(a, b - a), text.substr(b)}) {
        std::string room = carry + piece;
        const auto waiting = masker.mask(room, masked);
        out += room.substr(0, room.size() - waiting);
        carry = room.substr(room.size() - waiting);
    }
    return out + carry;
}

TEST(Masking, WholeKeysAreStarredOutHoweverTheyAreCut)
{
    const std::string text = "data: {\"echo\":\"" + key + "\"} and " + key + " again";
    std::string expected = text;
    for (auto at = expected.find(key); at != std::string::npos; at = expected.find(key))
        expected.replace(at, key.size(), key.size(), '*');
    // What every key of the provider begins with may have left before the cut; the rest never does.
    const auto without_prefix = [](std::string s) {
        for (auto at = s.find("sk-proj-"); at != std::string::npos; at = s.find("sk-proj-"))
            s.replace(at, 8, 8, '*');
        return s;
    };
    const auto prefix_starred = [&](const std::string& s, std::size_t cut) {
        std::string out = s;
        for (const auto k : {text.find(key), text.rfind(key)})
            if (cut > k && cut <= k + 8) std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(k), 8, '*');
        return out;
    };
    for (std::size_t a = 0; a <= text.size(); ++a)
        for (std::size_t b = a; b <= text.size(); ++b)
            ASSERT_EQ(prefix_starred(prefix_starred(without_prefix(masked_in_pieces(text, a, b)), a), b),
                      expected)
                << a << ' ' << b;
}

TEST(Masking, OrdinaryTextIsNeitherChangedNorHeldBack)
{
    for (const std::string text :
         {"", "s", "sk-", "sk-proj-", "data: {\"delta\":\"sk-proj-other\"}\n\n", "ends in sk-proj"})
    {
        stream_masker masker(key);
        std::string room = text;
        bool masked = false;
        EXPECT_EQ(masker.mask(room, masked), 0U) << text;
        EXPECT_EQ(room, text);
        EXPECT_FALSE(masked);
    }
}

TEST(Masking, FragmentsThatProvidersShowAreMaskedAndOnlyThose)
{
    struct row {
        std::string text;
        std::string expected;
    };
    const row rows[] = {
        {"Incorrect API key provided: sk-proj-************WXYZ. You can",
         "Incorrect API key provided: sk-proj-****************. You can"},
        {"key ...0WXYZ is wrong", "key ...***** is wrong"},
        {"starts sk-proj-CANA***", "starts sk-proj-*******"},
        {"holds CANARYa1b2c3 inside", "holds ************ inside"},
        {"no key here, WXYZ or so", "no key here, WXYZ or so"},
        {"sk-proj- is public", "sk-proj- is public"},
    };
    for (const auto& r : rows) {
        std::string room = r.text;
        mask_fragments(room, key);
        EXPECT_EQ(room, r.expected);
    }
}

}  // namespace
}  // namespace keyhole::proxy::upstream
