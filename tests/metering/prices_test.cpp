#include "books_fixture.hpp"
#include "metering/builtin_prices.hpp"
#include "metering/decimal.hpp"
#include "metering/price_files.hpp"
#include "metering/prices.hpp"

#include <gmock/gmock.h>

#include <set>

namespace keyhole::metering {

namespace {

using test::temp_dir;
using test::write_file;
using ::testing::HasSubstr;

struct decimal_case {
    const char* text;
    int scale;
    std::optional<std::int64_t> exact;
    std::optional<std::int64_t> rounded;
};

TEST(Decimal, ScalesTextWithoutFloatingPoint)
{
    const decimal_case cases[] = {
        {"2.50", 9, 2'500'000'000, 2'500'000'000},
        {"0", 9, 0, 0},
        {"1.25e-06", 15, 1'250'000'000, 1'250'000'000},
        {"1e-7", 15, 100'000'000, 100'000'000},
        {"3E+2", 0, 300, 300},
        {"1_000.5", 1, 10'005, 10'005},
        {"1.0416666666666667e-07", 15, std::nullopt, 104'166'667},
        {"0.00000000049", 9, std::nullopt, 0},
        {"0.0000000005", 9, std::nullopt, 1},
        {"0.1000000000", 9, 100'000'000, 100'000'000},
        {"9223372036.854775807", 9, INT64_MAX, INT64_MAX},
        {"9223372036.854775808", 9, std::nullopt, std::nullopt},
        {"1e30", 9, std::nullopt, std::nullopt},
        {"0e999", 9, 0, 0},
        {"1e-999", 9, std::nullopt, 0},
    };
    for (const decimal_case& c : cases) {
        EXPECT_EQ(scaled_decimal(c.text, c.scale, true), c.exact) << c.text;
        EXPECT_EQ(scaled_decimal(c.text, c.scale, false), c.rounded) << c.text;
    }
    for (const char* text : {"",      ".",  "1.", ".5",   "-1",   "+1",   "e5", "1e",  "1e+", "1e1000",
                             "1.2.3", "_1", "1_", "1__0", "1_.0", "1._0", " 1", "inf", "nan", "0x10"})
    {
        EXPECT_FALSE(scaled_decimal(text, 9, false)) << text;
    }
}

TEST(BuiltinPrices, SayWhereEachPriceWasReadAndWhen)
{
    const auto entries = price_files::parse_keyhole(builtin_prices(), "built-in");
    EXPECT_GT(entries.size(), 70U);
    for (const model_price& m : entries) {
        EXPECT_FALSE(m.source.empty() || m.source == "built-in") << m.model;
        EXPECT_THAT(m.date, ::testing::MatchesRegex("20[0-9][0-9]-[01][0-9]-[0-3][0-9]")) << m.model;
        EXPECT_TRUE(m.standard.cache_read <= m.standard.input) << m.model;
        EXPECT_TRUE(m.standard.output == 0 || m.standard.output >= m.standard.input) << m.model;
    }
}

struct price_case {
    const char* provider;
    const char* model;
    const char* tier;
    token_counts counts;
    std::int64_t nano_usd;
};

token_counts counted(std::int64_t input, std::int64_t output)
{
    token_counts c;
    c.input = input;
    c.output = output;
    return c;
}

TEST(BuiltinPrices, TOKENS_EXACT_MatchTheProvidersOwnArithmetic)
{
    token_counts cached = counted(10, 20);
    cached.cache_read = 1000;
    cached.cache_write_5m = 2000;
    cached.cache_write_1h = 3000;
    token_counts reasoning = counted(1000, 100);
    reasoning.output_reasoning = 400;
    token_counts searching = counted(0, 0);
    searching.web_searches = 3;
    token_counts audio;
    audio.input_audio = 1000;
    audio.output_audio = 1000;
    const price_case cases[] = {
        {"openai", "gpt-4o", "", counted(1'000'000, 0), 2'500'000'000},
        {"openai", "gpt-4o-2024-08-06", "default", counted(0, 1'000'000), 10'000'000'000},
        {"openai", "gpt-4o-2024-05-13", "", counted(1'000'000, 0), 5'000'000'000},
        {"openai", "gpt-4o-mini", "", counted(1, 1), 750},
        {"openai", "gpt-5", "flex", counted(1'000'000, 1'000'000), 5'625'000'000},
        {"openai", "gpt-5", "priority", counted(1'000'000, 0), 2'500'000'000},
        {"openai", "o3", "", reasoning, 6'000'000},
        {"openai", "text-embedding-3-small", "", counted(1'000'000, 0), 20'000'000},
        {"openai", "gpt-audio", "", audio, 96'000'000},
        // 10*3 + 1000*0.3 + 2000*3.75 + 3000*6 + 20*15 = 26130 millionths of a dollar
        {"anthropic", "claude-sonnet-4-5-20250929", "standard", cached, 26'130'000},
        {"anthropic", "claude-sonnet-4-5", "batch", cached, 13'065'000},
        {"anthropic", "claude-haiku-4-5-20251001", "", counted(1000, 1000), 6'000'000},
        {"anthropic", "claude-opus-4-5", "", searching, 30'000'000},
        {"anthropic", "claude-opus-4-5", "batch", searching, 30'000'000},
        {"anthropic", "claude-3-haiku-20240307", "", counted(1, 0), 250},
    };
    const price_table table = price_table::builtin();
    for (const price_case& c : cases) {
        const cost got = table.price(c.provider, c.model, c.tier, c.counts);
        EXPECT_TRUE(got.priced) << c.model;
        EXPECT_EQ(got.nano_usd, c.nano_usd) << c.model << " " << c.tier;
    }
}

TEST(BuiltinPrices, BillTheWholeRequestAtTheLongContextRate)
{
    const price_table table = price_table::builtin();
    token_counts c = counted(150'000, 1000);
    c.cache_read = 50'000;
    EXPECT_EQ(table.price("anthropic", "claude-sonnet-4-5", "", c).nano_usd,
              150'000 * 3000LL + 50'000 * 300LL + 1000 * 15'000LL);
    c.cache_read = 50'001;  // one more: cached tokens count towards the threshold
    EXPECT_EQ(table.price("anthropic", "claude-sonnet-4-5", "", c).nano_usd,
              150'000 * 6000LL + 50'001 * 600LL + 1000 * 22'500LL);
    EXPECT_EQ(table.price("anthropic", "claude-sonnet-4-5", "batch", c).nano_usd,
              150'000 * 3000LL + 50'001 * 300LL + 1000 * 11'250LL);
}

TEST(Prices, AnUnknownModelIsUnpricedNeverFree)
{
    const price_table table = price_table::builtin();
    for (const char* model : {"gpt-4o-2099-01-01", "gpt", "GPT-4O", "gpt-4o ", "", "claude-sonnet-4-5x"}) {
        EXPECT_FALSE(table.price("openai", model, "", counted(1, 1)).priced) << model;
    }
    EXPECT_FALSE(table.price("anthropic", "gpt-4o", "", counted(1, 1)).priced) << "another provider's model";
    EXPECT_EQ(table.find("nobody", "gpt-4o"), nullptr);
}

TEST(Prices, AServiceTierWithoutAPriceIsUnpricedAtTheStandardRate)
{
    const price_table table = price_table::builtin();
    const cost got = table.price("openai", "gpt-4o", "scale", counted(1'000'000, 0));
    EXPECT_FALSE(got.priced);
    EXPECT_EQ(got.nano_usd, 2'500'000'000) << "a budget still needs a number";
}

price_table table_of(const temp_dir& dir, const std::string& text)
{
    write_file(dir / "prices.toml", text);
    price_table table;
    table.load_keyhole(dir / "prices.toml");
    return table;
}

TEST(Prices, AServiceTierIsTheSameInAnyCase)
{
    const auto table = price_table::builtin();
    const token_counts c{.input = 1000, .output = 10};
    for (const auto* tier : {"ON_DEMAND", "Standard", "DEFAULT"}) {
        EXPECT_TRUE(table.price("openai", "gpt-4o-mini", tier, c).priced) << tier;
    }
    EXPECT_EQ(table.price("openai", "gpt-4o-mini", "PRIORITY", c).nano_usd,
              table.price("openai", "gpt-4o-mini", "priority", c).nano_usd);
    EXPECT_FALSE(table.price("openai", "gpt-4o-mini", "PROVISIONED_THROUGHPUT", c).priced);
}

TEST(Prices, ALongNameIsFoundByWhatARowHoldsOfItUnlessTwoBeginSo)
{
    const std::string longest(96, 'm');
    const auto entry = [](const std::string& name) {
        return "[[model]]\nprovider = \"p\"\nmodel = \"" + name + "\"\ninput = \"1\"\noutput = \"2\"\n";
    };
    price_table one;
    one.load_keyhole_text(entry(longest + "-a"), "one");
    EXPECT_NE(one.find("p", longest + "-a"), nullptr);
    EXPECT_NE(one.find("p", longest), nullptr);
    EXPECT_EQ(one.find("p", longest + "-b"), nullptr);
    EXPECT_EQ(one.find("p", longest.substr(1)), nullptr);
    price_table two;
    two.load_keyhole_text(entry(longest + "-a") + entry(longest + "-b"), "two");
    EXPECT_EQ(two.find("p", longest), nullptr);
}

TEST(Prices, TheMostIsAtTheDearestRatesThatMayApply)
{
    price_table t;
    t.load_keyhole_text(
        "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = \"1\"\noutput = \"2\"\n"
        "cache_write_5m = \"3\"\ncache_write_1h = \"4\"\noutput_audio = \"9\"\n"
        "web_search_per_1000 = \"1\"\nservice_tier.priority = { input = \"5\", output = \"6\" }\n"
        "service_tier.flex = { input = \"0.5\", output = \"1\" }\n"
        "[[model.above]]\nabove_input_tokens = 100\ninput = \"7\"\noutput = \"8\"\n",
        "text");
    using worst = price_table::worst_case;
    EXPECT_EQ(t.most("p", "m", worst{.input = 10, .output = 1}), 12'000);
    const auto asked = [&](std::vector<std::string> tiers) {
        return t.most("p", "m", worst{.tiers = tiers, .input = 10, .output = 1});
    };
    EXPECT_EQ(asked({"flex"}), 12'000);
    EXPECT_EQ(asked({"Priority"}), 56'000);
    EXPECT_EQ(asked({"auto", "SERVICE_TIER_PRIORITY"}), 56'000);
    EXPECT_EQ(asked({"no tier of this model: any of them"}), 56'000);
    EXPECT_EQ(asked({"default", "", "batch"}), 12'000);
    EXPECT_EQ(t.most("p", "m", worst{.input = 10, .output = 1, .cache_write = true}), 32'000);
    EXPECT_EQ(t.most("p", "m", worst{.input = 10, .output = 1, .long_cache_write = true}), 42'000);
    EXPECT_EQ(t.most("p", "m", worst{.input = 10, .output = 1, .audio = true}), 19'000);
    EXPECT_EQ(t.most("p", "m", worst{.input = 200, .output = 1}), 1'408'000);
    EXPECT_EQ(t.most("p", "m", worst{.searches = 3}), 3'000'000);
    EXPECT_EQ(t.most("p", "nobody", worst{.input = 10}), 0);
}

TEST(Prices, RoundsHalfUpOnceAtTheEnd)
{
    const temp_dir dir;
    const price_table table = table_of(dir, R"(
[[model]]
provider = "p"
model = "m"
input = "0.000000499"
output = "0.0000005"
cache_read = "0.0000003"
)");
    const auto nano = [&](std::int64_t input, std::int64_t output, std::int64_t cached) {
        token_counts c = counted(input, output);
        c.cache_read = cached;
        return table.price("p", "m", "", c).nano_usd;
    };
    EXPECT_EQ(nano(1000, 0, 0), 0) << "499 thousandths of a thousandth";
    EXPECT_EQ(nano(0, 1000, 0), 1) << "exactly a half goes up";
    EXPECT_EQ(nano(1000, 0, 10), 1) << "the buckets are summed before they are rounded";
    EXPECT_EQ(nano(0, 999, 0), 0);
}

TEST(Prices, FallsBackAsTheTableSays)
{
    const temp_dir dir;
    const price_table table = table_of(dir, R"(
[[model]]
provider = "p"
model = "plain"
input = 1
output = 2.5
[[model]]
provider = "p"
model = "writes"
input = 1
output = 0
cache_write_5m = 1.25
)");
    token_counts all;
    for (auto field : {&token_counts::cache_read, &token_counts::cache_write_5m,
                       &token_counts::cache_write_1h, &token_counts::input_audio, &token_counts::input_image})
    {
        all.*field = 1'000'000;
    }
    EXPECT_EQ(table.price("p", "plain", "", all).nano_usd, 5'000'000'000);
    token_counts out;
    out.output_reasoning = out.output_audio = out.output_image = 1'000'000;
    EXPECT_EQ(table.price("p", "plain", "", out).nano_usd, 7'500'000'000);
    token_counts hour;
    hour.cache_write_1h = 1'000'000;
    EXPECT_EQ(table.price("p", "writes", "", hour).nano_usd, 1'250'000'000);
    token_counts search;
    search.web_searches = 5;
    EXPECT_EQ(table.price("p", "plain", "", search).nano_usd, 0);
    EXPECT_FALSE(table.price("p", "plain", "", search).priced) << "unknown is not free";
}

TEST(Prices, SurviveCountsThatNoRequestHas)
{
    const price_table table = price_table::builtin();
    token_counts c = counted(INT64_MAX, INT64_MAX);
    EXPECT_EQ(table.price("openai", "o1-pro", "", c).nano_usd, INT64_MAX)
        << "held at the bound, not wrapped around";
    EXPECT_EQ(table.price("openai", "gpt-4o", "", counted(-5, -5)).nano_usd, 0);
}

TEST(Prices, AnOperatorsPriceAppliesToTheDatedNameToo)
{
    const temp_dir dir;
    write_file(dir / "mine.toml",
               "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\ninput = 1\noutput = 1\n");
    price_table table = price_table::builtin();
    const std::string before(table.version());
    const std::size_t size = table.size();
    table.load_keyhole(dir / "mine.toml");
    EXPECT_EQ(table.size(), size);
    EXPECT_NE(table.version(), before);
    EXPECT_EQ(table.price("openai", "gpt-4o-2024-08-06", "", counted(1'000'000, 0)).nano_usd, 1'000'000'000);
}

TEST(Prices, ANameOfItsOwnBeatsAnAlias)
{
    const temp_dir dir;
    price_table table = price_table::builtin();
    write_file(dir / "dated.toml",
               "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o-2024-08-06\"\ninput = 7\noutput = 7\n");
    table.load_keyhole(dir / "dated.toml");
    EXPECT_EQ(table.find("openai", "gpt-4o-2024-08-06")->standard.input, 7'000'000'000);
    EXPECT_EQ(table.find("openai", "gpt-4o")->standard.input, 2'500'000'000);
    write_file(dir / "again.toml", "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\naliases = "
                                   "[\"gpt-4o-2024-08-06\"]\ninput = 8\noutput = 8\n");
    table.load_keyhole(dir / "again.toml");
    EXPECT_EQ(table.find("openai", "gpt-4o-2024-08-06")->standard.input, 7'000'000'000);
}

TEST(Prices, AFileWithAnErrorChangesNothing)
{
    const temp_dir dir;
    price_table table = price_table::builtin();
    const std::string before(table.version());
    write_file(dir / "bad.toml",
               "[[model]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\ninput = 1\noutput = 1\n[[model]]\n");
    EXPECT_THROW(table.load_keyhole(dir / "bad.toml"), std::runtime_error);
    EXPECT_EQ(table.version(), before);
}

TEST(Prices, TheVersionNamesTheContent)
{
    EXPECT_EQ(price_table::builtin().version(), price_table::builtin().version());
    EXPECT_EQ(price_table::builtin().version().size(), 16U);
    EXPECT_TRUE(price_table().version().empty());
    EXPECT_EQ(price_table().size(), 0U);
}

}  // namespace

}  // namespace keyhole::metering
