#include "config/toml.hpp"

#include <gtest/gtest.h>

namespace keyhole::config {
namespace {

std::size_t mistake_at(std::string_view text)
{
    try {
        parse_toml(text, "test.toml");
    } catch (const toml_mistake& m) {
        return m.line;
    }
    return 0;
}

TEST(Toml, NonAsciiStandsInStringsAndCommentsOnly)
{
    for (const std::string_view good :
         {"a = \"\u00e9\"", "a = '\u00e9'", "# \u00e9\na = 1", "\"\u00e9\" = 1", "a.\"\u00e9\" = 1",
          "a = [\"\u00e9\", '\u00e9',\n\"\u00e9\"]", "a = {\"\u00e9\" = \"\u00e9\"}", "[\"\u00e9\"]",
          "a = \"\"\"\u00e9\n\u00e9\"\"\"", "a = '''\u00e9'''''", "a = \"\"\"\u00e9\"\"\"\"\nb = \"\u00e9\"",
          "\xEF\xBB\xBF"
          "a = 1"})
    {
        EXPECT_EQ(mistake_at(good), 0U) << good;
    }
    for (const std::string_view bad :
         {"\u00e9 = 1", "a = \u00e9", "a = 1\u00e9", "a = \"x\"\u00e9", "a = \"\\\u00e9\""})
        EXPECT_EQ(mistake_at(bad), 1U) << bad;
}

// Found by config_fuzz: a quote behind a number hid what follows from us, but not from the parser, which ran
// into undefined behaviour.
TEST(Toml, AQuoteInTheMiddleOfAValueHidesNothing)
{
    EXPECT_EQ(mistake_at("a = 1\ns = 9\"/c/b.so[x]-\u0247]\n"), 2U);
    EXPECT_EQ(mistake_at("s = true'\u0247'\n"), 1U);
    EXPECT_EQ(mistake_at("s = \"a\"\"\u0247\"\n"), 1U);
}

}  // namespace
}  // namespace keyhole::config
