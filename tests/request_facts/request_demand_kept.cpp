// What a request demands beyond its own text: an answer a prompt, searches, tiers, kept input, cache writes.
#include "metering/request_demand.hpp"
#include "metering/request_facts.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace keyhole::metering {
namespace {

std::int64_t answers(const std::string& body, wire w = wire::openai_completions)
{
    return demand_of(w, "m", body).answers;
}

std::int64_t searches(wire w, const std::string& body, std::string_view model = "m")
{
    return demand_of(w, model, body).searches;
}

TEST(RequestDemand, EachPromptOfAListHasAnAnswer)
{
    EXPECT_EQ(answers(R"({"prompt":"one"})"), 1);
    EXPECT_EQ(answers(R"({"prompt":[]})"), 1);
    EXPECT_EQ(answers(R"({"prompt":["a","b","c"]})"), 3);
    EXPECT_EQ(answers(R"({"prompt":[1,2,3]})"), 1) << "the tokens of one prompt";
    EXPECT_EQ(answers(R"({"prompt":[[1,2],[3],[]]})"), 3);
    EXPECT_EQ(answers(R"({"n":4,"prompt":["a","b"],"best_of":5})"), 10);
    EXPECT_EQ(answers(R"({"prompt":["a","b"],"prompt":[{}]})"), 3) << "whichever of two a reader takes";
    EXPECT_EQ(answers(R"({"prompt":["a","b"]})", wire::openai_chat), 1);
}

TEST(RequestDemand, EachNumberOfAListOfTokensIsHeldAsOneAtLeast)
{
    for (const std::string unit : {"1,", "1 , ", "123456,"}) {
        std::string body = R"({"prompt":[)";
        for (int i = 0; i < 1000; ++i)
            body += unit;
        body += "1]}";
        EXPECT_GE(estimate_input_tokens(scan_request(body)), 1001) << unit;
    }
}

TEST(RequestDemand, NumbersThatAreWrittenAsTextCount)
{
    for (const auto* n : {R"("128")", R"(" 128 ")", R"("+128")", R"("1_28")", "128", "128.0", "1.28e2"})
        EXPECT_EQ(answers(std::string(R"({"n":)") + n + "}"), 128) << n;
    EXPECT_EQ(answers(R"({"n":"many"})"), 128) << "the most that the API makes";
    EXPECT_EQ(answers(R"({"n":"0"})"), 1);
    EXPECT_EQ(answers(R"({"n":null})"), 1);
    EXPECT_EQ(answers(R"({"n":1000})"), 1000) << "not every server stops at 128";
    EXPECT_EQ(answers(R"({"n":99999999999999999999,"prompt":["a","b"]})"), 1'000'000'000);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":"70"})").output, 70);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":7,"max_completion_tokens":"70"})").output,
              70);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":"few"})").output, std::nullopt);
}

TEST(RequestDemand, FurtherFieldsOfConverseRaiseABoundAndMakeNone)
{
    const auto bound = [](const std::string& body) {
        return demand_of(wire::bedrock_converse, "anthropic.claude", body).output;
    };
    EXPECT_EQ(
        bound(R"({"inferenceConfig":{"maxTokens":1},"additionalModelRequestFields":{"max_tokens":900}})"),
        900);
    EXPECT_EQ(bound(R"({"additionalModelRequestFields":{"max_tokens":900}})"), std::nullopt);
}

TEST(RequestDemand, SearchesAreSeenInEveryWiresWords)
{
    for (const auto* name :
         {"google_search", "googleSearch", "google_search_retrieval", "googleSearchRetrieval", "googleMaps",
          "google_maps", "enterpriseWebSearch", "enterprise_web_search"})
    {
        const std::string tool = std::string("{\"") + name + "\":{}}";
        EXPECT_EQ(searches(wire::gemini, "{\"tools\":[" + tool + "]}"), search_allowance) << name;
        EXPECT_EQ(searches(wire::gemini, "{\"tools\":" + tool + "}"), search_allowance) << name;
        EXPECT_EQ(searches(wire::openai_chat, "{\"tools\":[" + tool + "]}"), 0) << name;
    }
    for (const auto* kind : {"web_search", "web_search_preview_2025_03_11", "x_search", "browser_search",
                             "live_search", "openrouter:web_search", "google_search"})
        EXPECT_EQ(searches(wire::openai_responses, std::string(R"({"tools":[{"type":")") + kind + R"("}]})"),
                  search_allowance)
            << kind;
    for (const auto* kind : {"function", "file_search", "tool_search", "code_interpreter", "mcp"})
        EXPECT_EQ(searches(wire::openai_responses,
                           std::string(R"({"tools":[{"type":")") + kind + R"(","name":"web_search"}]})"),
                  0)
            << kind;
    EXPECT_EQ(searches(wire::openai_responses, R"({"max_tool_calls":40,"tools":[{"type":"web_search"}]})"),
              40);
    EXPECT_EQ(searches(wire::openai_responses, R"({"max_tool_calls":40,"tools":[{"type":"function"}]})"), 0);
    EXPECT_EQ(searches(wire::openai_chat, R"({"plugins":[{"id":"web"},{"id":"file-parser"}]})"),
              search_allowance);
    EXPECT_EQ(searches(wire::openai_chat, R"({"plugins":[{"max_results":30,"id":"web"}]})"), 30);
    EXPECT_EQ(searches(wire::openai_chat, R"({"search_parameters":{}})"), source_allowance);
    EXPECT_EQ(searches(wire::openai_chat, R"({"search_parameters":{"max_search_results":"30"}})"), 30);
    EXPECT_EQ(searches(wire::openai_chat, R"({"search_parameters":{"mode":"off"}})"), 0);
    EXPECT_EQ(searches(wire::openai_chat, R"({"search_parameters":{"mode":"on","mode":"off"}})"),
              source_allowance);
    EXPECT_EQ(searches(wire::openai_chat, R"({"search_parameters":{"mode":"off","mode":"on"}})"),
              source_allowance);
}

TEST(RequestDemand, ModelsThatSearchByThemselvesAreHeldForIt)
{
    for (const auto* model :
         {"sonar", "perplexity/sonar-pro", "x-ai/grok-4:online", "groq/compound", "gpt-4o-search-preview"})
        EXPECT_EQ(searches(wire::openai_chat, "{}", model), search_allowance) << model;
    EXPECT_EQ(searches(wire::openai_chat, "{}", "sonar-deep-research"), research_searches);
    EXPECT_EQ(searches(wire::openai_chat, R"({"models":["a","b:online"]})"), search_allowance);
    EXPECT_EQ(searches(wire::openai_chat, "{}", "gpt-5"), 0);
}

TEST(RequestDemand, TiersAreReadInEachWiresOwnPlaces)
{
    using tiers = std::vector<std::string>;
    const auto of = [](wire w, const std::string& body) { return demand_of(w, "m", body).tiers; };
    EXPECT_EQ(of(wire::openai_chat, R"({"service_tier":"priority"})"), tiers{"priority"});
    EXPECT_EQ(of(wire::anthropic_messages, R"({"speed":"fast","service_tier":"auto"})"),
              (tiers{"fast", "auto"}));
    EXPECT_EQ(of(wire::bedrock_converse, R"({"serviceTier":{"type":"priority"}})"), tiers{"priority"});
    EXPECT_EQ(of(wire::bedrock_converse, R"({"additionalModelRequestFields":{"speed":"fast"}})"),
              tiers{"fast"});
    EXPECT_EQ(of(wire::gemini, R"({"serviceTier":"PRIORITY"})"), tiers{"PRIORITY"});
    EXPECT_EQ(of(wire::openai_audio, R"({"speed":"1.5"})"), tiers{});
}

TEST(RequestDemand, WhatTheProviderKeepsIsHeldWithAnAllowance)
{
    const auto elsewhere = [](wire w, const std::string& body) {
        return demand_of(w, "m", body).input_elsewhere;
    };
    EXPECT_EQ(elsewhere(wire::openai_responses, R"({"prompt":{"id":"pmpt_1","version":"2"}})"),
              kept_allowance);
    EXPECT_EQ(
        elsewhere(
            wire::openai_responses,
            R"({"input":[{"type":"item_reference","id":"a"},{"type":"message"},{"type":"item_reference"}]})"),
        2 * item_allowance);
    EXPECT_EQ(elsewhere(wire::openai_assistants, R"({"assistant_id":"asst_1"})"), kept_allowance);
    EXPECT_EQ(elsewhere(wire::openai_assistants, R"({"assistant_id":"asst_1","max_prompt_tokens":3000})"),
              3000);
    EXPECT_EQ(elsewhere(wire::gemini, R"({"tools":[{"url_context":{}},{"fileSearch":{}}]})"),
              page_allowance + stored_file_allowance);
    EXPECT_EQ(elsewhere(wire::openai_responses, R"({"tools":[{"type":"file_search"}]})"),
              stored_file_allowance);
}

TEST(RequestDemand, CachesAreWrittenUnaskedButAtAnthropicsAndAmazonsModels)
{
    EXPECT_TRUE(demand_of(wire::openai_chat, "gpt-5.6", "{}").writes_cache);
    EXPECT_TRUE(demand_of(wire::anthropic_messages, "openai/gpt-5.6", "{}").writes_cache);
    EXPECT_FALSE(demand_of(wire::anthropic_messages, "claude-opus-4-7", "{}").writes_cache);
    EXPECT_FALSE(demand_of(wire::bedrock_converse, "amazon.nova-pro-v1:0", "{}").writes_cache);
    EXPECT_FALSE(demand_of(wire::openai_chat, "gpt-5.6", "{}").writes_long_cache);
}

TEST(RequestDemand, MediaAreHeldAsTheFallbackThatBillsThemDearestDoes)
{
    const std::string picture =
        R"("messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/webp;base64,UklGRiQAAABXRUJQVlA4IBgAAAA="}}]}])";
    const auto most = [&](const std::string& models) {
        return demand_of(wire::openai_chat, "gpt-4o", "{" + models + picture + "}").media.most;
    };
    EXPECT_GT(most(""), 0);
    EXPECT_GT(most(R"("models":["gpt-4o","openai/gpt-4o-mini"],)"), most(R"("models":["gpt-4o"],)"));
}

TEST(RequestDemand, ALongListOfFallbacksIsNoted)
{
    std::string body = R"({"models":[)";
    for (std::size_t i = 0; i < most_models; ++i)
        body += R"("m",)";
    EXPECT_FALSE(demand_of(wire::openai_chat, "m", body + "null]}").too_many_models);
    EXPECT_TRUE(demand_of(wire::openai_chat, "m", body + R"("x"]})").too_many_models);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"fallbacks":["a",{"model":"b"}]})").models,
              (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace keyhole::metering
