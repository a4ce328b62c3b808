#include "books_fixture.hpp"
#include "metering/json_tree.hpp"
#include "metering/price_files.hpp"

#include <gmock/gmock.h>

namespace keyhole::metering {

namespace {

using test::temp_dir;
using test::write_file;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string failure_of(const std::function<void()>& act)
{
    try {
        act();
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return "nothing was thrown";
}

struct bad_file {
    const char* name;
    const char* text;
    int line;
    const char* says;
};

TEST(KeyholePrices, NameTheFileTheLineAndTheMistake)
{
    const bad_file cases[] = {
        {"not toml", "[[model]\n", 1, ""},
        {"unknown table", "[[models]]\nmodel = \"m\"\n", 1, "unknown key \"models\""},
        {"model is no list", "[model]\nmodel = \"m\"\n", 1, "unknown key \"model\""},
        {"no provider", "\n[[model]]\nmodel = \"m\"\ninput = 1\noutput = 1\n", 2, "provider is missing"},
        {"no model", "[[model]]\nprovider = \"p\"\ninput = 1\noutput = 1\n", 1, "model is missing"},
        {"no input", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\noutput = 1\n", 1, "input is missing"},
        {"no output", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 1\n", 1, "output is missing"},
        {"misspelt", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 1\noutptu = 1\n", 5,
         "unknown key \"outptu\""},
        {"negative", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = -1\noutput = 1\n", 4,
         "input: expected USD"},
        {"a word", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = \"cheap\"\noutput = 1\n", 4,
         "input: expected USD"},
        {"too fine", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = \"0.0000000001\"\noutput = 1\n", 4,
         "nine decimals"},
        {"infinite", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = inf\noutput = 1\n", 4, "input"},
        {"a list", "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = [1]\noutput = 1\n", 4,
         "expected a number"},
        {"twice",
         "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 1\noutput = 1\n[[model]]\nprovider = "
         "\"p\"\nmodel = \"n\"\naliases = "
         "[\"m\"]\ninput = 1\noutput = 1\n",
         6, "twice"},
        {"falling tiers",
         "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 1\noutput = 1\nabove = [{above_input_tokens = "
         "2, input = 1, output = 1}, "
         "{above_input_tokens = 2, input = 1, output = 1}]\n",
         1, "must rise"},
        {"a tier without a bound",
         "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 1\noutput = 1\n[[model.above]]\ninput = 1\n", 6,
         "above_input_tokens is missing"},
        {"a tier with a mistake",
         "[[model]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 1\noutput = 1\nservice_tier.flex = { inptu = 1 "
         "}\n",
         6, "inptu"},
    };
    for (const bad_file& c : cases) {
        const std::string error = failure_of([&] { price_files::parse_keyhole(c.text, "my.toml"); });
        EXPECT_THAT(error, StartsWith("my.toml:" + std::to_string(c.line) + ": ")) << c.name;
        EXPECT_THAT(error, HasSubstr(c.says)) << c.name;
    }
    EXPECT_THAT(failure_of([] { price_files::read_keyhole("/nowhere/prices.toml"); }),
                HasSubstr("/nowhere/prices.toml: cannot be read"));
}

TEST(KeyholePrices, ReadNumbersAsTheyAreWritten)
{
    const auto entries =
        price_files::parse_keyhole("# é before it, to shift the columns\n[[model]]\nprovider = \"p\"\nmodel "
                                   "= \"é\" \ninput = 0.1\noutput=+2.500_000_001 # note\n"
                                   "cache_read = \"0.000000001\"\nservice_tier.flex = { input = 1e-3, output "
                                   "= 3 }\n[[model.above]]\nabove_input_tokens = 200_000\ninput = 4\n"
                                   "service_tier.flex = { input = 2.0 }\n",
                                   "x");
    ASSERT_EQ(entries.size(), 1U);
    const model_price& m = entries[0];
    EXPECT_EQ(m.standard.input, 100'000'000);
    EXPECT_EQ(m.standard.output, 2'500'000'001);
    EXPECT_EQ(m.standard.cache_read, 1);
    EXPECT_EQ(m.service_tiers.at(0).first, "flex");
    EXPECT_EQ(m.service_tiers.at(0).second.input, 1'000'000);
    EXPECT_EQ(m.tiers.at(0).above_input_tokens, 200'000);
    EXPECT_EQ(m.tiers.at(0).service_tiers.at(0).second.input, 2'000'000'000);
}

constexpr const char* litellm_file = R"({
  "sample_spec": { "litellm_provider": "one of …", "input_cost_per_token": 0 },
  "claude-x": {
    "litellm_provider": "anthropic", "mode": "chat", "max_output_tokens": 64000,
    "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
    "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06, "cache_read_input_token_cost": 3e-07,
    "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
    "search_context_cost_per_query": { "search_context_size_medium": 0.01 },
    "supports_vision": true
  },
  "gpt-y": {
    "litellm_provider": "openai", "mode": "chat", "max_output_tokens": "unknown",
    "input_cost_per_token": 2.5e-6, "output_cost_per_token": 0.000010, "output_cost_per_reasoning_token": null,
    "input_cost_per_token_flex": 1.25e-06, "input_cost_per_token_priority": 4.25e-06, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_audio_token": 4e-05
  },
  "gemini/gemini-z": { "litellm_provider": "gemini", "input_cost_per_token": 1.0416666666666667e-07, "output_cost_per_token": 4e-07 },
  "embed-e": { "litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08 },
  "tts-1": { "litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1.5e-05 }
}
)";

TEST(LitellmPrices, BecomeNanoDollarsAMillionTokensExactly)
{
    const temp_dir dir;
    write_file(dir / "litellm.json", litellm_file);
    price_table table;
    table.load_litellm(dir / "litellm.json");
    EXPECT_EQ(table.size(), 4U) << "what is not priced by the token is left out";

    const model_price* claude = table.find("anthropic", "claude-x");
    ASSERT_NE(claude, nullptr);
    EXPECT_EQ(claude->standard.input, 3'000'000'000);
    EXPECT_EQ(claude->standard.output, 15'000'000'000);
    EXPECT_EQ(claude->standard.cache_write_5m, 3'750'000'000);
    EXPECT_EQ(claude->standard.cache_write_1h, 6'000'000'000);
    EXPECT_EQ(claude->standard.cache_read, 300'000'000);
    EXPECT_EQ(claude->standard.web_search, 10'000'000);
    EXPECT_EQ(claude->max_output_tokens, 64'000);
    ASSERT_EQ(claude->tiers.size(), 1U);
    EXPECT_EQ(claude->tiers[0].above_input_tokens, 200'000);
    EXPECT_EQ(claude->tiers[0].at.output, 22'500'000'000);
    EXPECT_EQ(claude->tiers[0].at.cache_write_1h, 12'000'000'000);

    const model_price* gpt = table.find("openai", "gpt-y");
    ASSERT_NE(gpt, nullptr);
    EXPECT_EQ(gpt->standard.output, 10'000'000'000);
    EXPECT_EQ(gpt->standard.input_audio, 40'000'000'000);
    EXPECT_EQ(gpt->max_output_tokens, 0);
    token_counts c;
    c.input = 1'000'000;
    EXPECT_EQ(table.price("openai", "gpt-y", "flex", c).nano_usd, 1'250'000'000);
    EXPECT_EQ(table.price("openai", "gpt-y", "priority", c).nano_usd, 4'250'000'000);
    EXPECT_EQ(table.price("openai", "gpt-y", "batch", c).nano_usd, 2'500'000'000)
        << "a tier keeps what it does not change";

    EXPECT_EQ(table.find("gemini", "gemini-z")->standard.input, 104'166'667);
    EXPECT_EQ(table.find("openai", "embed-e")->standard.output, 0);
}

TEST(LitellmPrices, ZerosBesideAPriceByAnotherMeasureAreNotFree)
{
    const temp_dir dir;
    write_file(dir / "litellm.json", R"({
  "whisper": { "litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_token": 0,
               "output_cost_per_token": 0, "input_cost_per_second": 0.0001 },
  "by-query": { "litellm_provider": "cohere", "mode": "rerank", "input_cost_per_token": 0.0,
                "output_cost_per_token": 0.0, "input_cost_per_query": 2e-03 },
  "free": { "litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0,
            "input_cost_per_query": 0.0, "cache_read_input_token_cost": null }
})");
    price_table table;
    table.load_litellm(dir / "litellm.json");
    EXPECT_EQ(table.find("openai", "whisper"), nullptr);
    EXPECT_EQ(table.find("cohere", "by-query"), nullptr);
    ASSERT_NE(table.find("openai", "free"), nullptr);
    EXPECT_EQ(table.size(), 1U);
}

TEST(LitellmPrices, NameTheLineOfWhatIsNotAPrice)
{
    const temp_dir dir;
    const std::string file = dir / "bad.json";
    write_file(file,
               "{\n \"m\": {\n  \"litellm_provider\": \"p\",\n  \"input_cost_per_token\": \"cheap\"\n }\n}");
    price_table table;
    EXPECT_THAT(failure_of([&] { table.load_litellm(file); }), StartsWith(file + ":4: input_cost_per_token"));
    write_file(file,
               "{\n \"m\": {\n  \"litellm_provider\": \"p\",\n  \"input_cost_per_token\": -1e-6\n }\n}");
    EXPECT_THAT(failure_of([&] { table.load_litellm(file); }), StartsWith(file + ":4: "));
    write_file(file, "{\n \"m\": {,\n");
    EXPECT_THAT(failure_of([&] { table.load_litellm(file); }), StartsWith(file + ":2: not JSON"));
    write_file(file, "[]");
    EXPECT_THAT(failure_of([&] { table.load_litellm(file); }), StartsWith(file + ":1: "));
    write_file(file, std::string(100'000, '['));
    EXPECT_THAT(failure_of([&] { table.load_litellm(file); }), HasSubstr("nested too deeply"));
}

TEST(ModelsDevPrices, AreReadFromTheirJson)
{
    const temp_dir dir;
    write_file(dir / "api.json", R"({
      "openai": { "id": "openai", "models": {
        "gpt-y": { "cost": { "input": 2.5, "output": 10, "cache_read": 1.25,
                             "tiers": [ { "tier": { "size": 272000 }, "input": 5, "output": 22.5 } ] },
                   "limit": { "context": 1, "output": 128000 } },
        "free-of-price": { "limit": {} } } },
      "google": { "models": { "gemini-z": { "cost": { "input": 0.1, "output": 0.4, "context_over_200k": { "input": 0.2, "output": 0.8 } } } } }
    })");
    price_table table;
    table.load_models_dev(dir / "api.json");
    EXPECT_EQ(table.size(), 2U);
    const model_price* gpt = table.find("openai", "gpt-y");
    ASSERT_NE(gpt, nullptr);
    EXPECT_EQ(gpt->standard.cache_read, 1'250'000'000);
    EXPECT_EQ(gpt->max_output_tokens, 128'000);
    ASSERT_EQ(gpt->tiers.size(), 1U);
    EXPECT_EQ(gpt->tiers[0].above_input_tokens, 272'000);
    EXPECT_EQ(gpt->tiers[0].at.output, 22'500'000'000);
    EXPECT_EQ(table.find("gemini", "gemini-z")->tiers.at(0).at.input, 200'000'000);
}

TEST(ModelsDevPrices, AreReadFromTheirFolder)
{
    const temp_dir dir;
    const std::string models = dir / "providers/openai/models/family";
    std::filesystem::create_directories(models);
    write_file(
        dir / "providers/openai/models/gpt-y.toml",
        "name = \"Y\"\nrelease_date = 2026-01-01\n[cost]\ninput = 0.1\noutput = 15.00\n[[cost.tiers]]\ntier "
        "= { size = 272_000 }\ninput = 5.00\noutput = 22.50\n[limit]\noutput = 128_000\n");
    write_file(models + "/gpt-z.toml", "[cost]\ninput = 1\noutput = 2\n");
    write_file(dir / "providers/openai/models/no-price.toml", "base_model = \"openai/gpt-y\"\n");
    price_table table;
    table.load_models_dev(dir.path());
    EXPECT_EQ(table.size(), 2U);
    EXPECT_EQ(table.find("openai", "gpt-y")->standard.input, 100'000'000);
    EXPECT_EQ(table.find("openai", "gpt-y")->tiers.at(0).at.input, 5'000'000'000);
    EXPECT_EQ(table.find("openai", "gpt-y")->max_output_tokens, 128'000);
    EXPECT_NE(table.find("openai", "family/gpt-z"), nullptr);

    const temp_dir empty;
    EXPECT_THAT(failure_of([&] { table.load_models_dev(empty.path()); }), HasSubstr("no PROVIDER/models"));
}

TEST(JsonTree, KeepsNumbersAsText)
{
    const json_tree t =
        parse_json(R"({"a": 1e-7, "b": 18446744073709551616, "c": [true, null, "x"], "d": -3})", "f");
    EXPECT_EQ(t.find("a")->text, "1e-7");
    EXPECT_EQ(t.find("b")->text, "18446744073709551616");
    EXPECT_EQ(t.find("c")->members.size(), 3U);
    EXPECT_EQ(t.find("d")->text, "-3");
    EXPECT_EQ(t.find("e"), nullptr);
}

}  // namespace

}  // namespace keyhole::metering
