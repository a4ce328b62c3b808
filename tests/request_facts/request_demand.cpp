#include "metering/request_demand.hpp"

#include <gtest/gtest.h>

#include <string>

namespace keyhole::metering {
namespace {

TEST(RequestDemand, OnlyItsOwnWiresMemberBoundsAnAnswer)
{
    const std::string body = R"({"model":"m","max_tokens":7,"max_output_tokens":9,
        "generationConfig":{"maxOutputTokens":11},"inferenceConfig":{"maxTokens":13},"options":{"num_predict":15}})";
    EXPECT_EQ(demand_of(wire::openai_chat, "m", body).output, 7);
    EXPECT_EQ(demand_of(wire::openai_responses, "m", body).output, 9);
    EXPECT_EQ(demand_of(wire::gemini, "m", body).output, 11);
    EXPECT_EQ(demand_of(wire::bedrock_converse, "m", body).output, 13);
    EXPECT_EQ(demand_of(wire::ollama, "m", body).output, 15);
    EXPECT_EQ(demand_of(wire::watsonx, "m", body).output, std::nullopt);
}

TEST(RequestDemand, OfTwoBoundsTheLargerCountsWhereverTheyStand)
{
    EXPECT_EQ(
        demand_of(wire::openai_chat, "m", R"({"max_tokens":7,"messages":[],"max_completion_tokens":70})")
            .output,
        70);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":7,"max_tokens":700})").output, 700);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max\u005ftokens":8})").output, 8);
}

TEST(RequestDemand, ABoundBelowZeroIsNone)
{
    EXPECT_EQ(demand_of(wire::ollama, "m", R"({"options":{"num_predict":-1}})").output, std::nullopt);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":-1,"max_completion_tokens":5})").output,
              std::nullopt);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_completion_tokens":5,"max_tokens":-1})").output,
              std::nullopt);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_completion_tokens":5,"max_tokens":null})").output,
              5);
}

TEST(RequestDemand, TextThatLooksLikeMembersIsText)
{
    const auto d = demand_of(
        wire::openai_chat, "m",
        R"({"messages":[{"role":"user","content":"{\"max_tokens\":1,\"tools\":[{\"type\":\"web_search\"}]}"}]})");
    EXPECT_EQ(d.output, std::nullopt);
    EXPECT_EQ(d.searches, 0);
}

TEST(RequestDemand, WhatStandsElsewhereIsHeldWithAnAllowance)
{
    const auto d = demand_of(wire::openai_chat, "m",
                             R"({"messages":[{"content":[{"type":"text","text":"see"},
        {"type":"image_url","image_url":{"url":"https://a/b.png"}},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
        {"type":"file","file":{"file_id":"file-1"}}]},{"content":"plain"}]})");
    EXPECT_EQ(d.input_elsewhere, image_allowance + file_allowance);
    EXPECT_EQ(
        demand_of(wire::openai_responses, "m", R"({"input":[{"content":[{"image_url":"https:\/\/a"}]}]})")
            .input_elsewhere,
        image_allowance);
    EXPECT_EQ(
        demand_of(wire::bedrock_converse, "m",
                  R"({"messages":[{"content":[{"document":{"source":{"s3Location":{"uri":"s3://a"}}}}]}]})")
            .input_elsewhere,
        file_allowance);
}

TEST(RequestDemand, PicturesCountAsTheDearestModelThatMayAnswerBillsThem)
{
    const std::string body =
        R"({"messages":[{"content":[{"image_url":{"url":"data:image/gif;base64,R0lGODlhAQABAAAAACw="}}]}],"models":["a"])";
    EXPECT_EQ(demand_of(wire::openai_chat, "m", body + "}").media.most, 16'400);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", body + R"(,"models":["gpt-4o-mini"]})").media.most, 48'200);
}

TEST(RequestDemand, ServersSearchesAreCountedByTool)
{
    EXPECT_EQ(
        demand_of(
            wire::anthropic_messages, "m",
            R"({"tools":[{"type":"web_search_20250305","max_uses":4},{"name":"mine","input_schema":{"type":"object"}},
                                     {"type":"web_search_20250305"}]})")
            .searches,
        4 + search_allowance);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"web_search_options":{}})").searches, search_allowance);
}

TEST(RequestDemand, CacheWritesModalitiesAnswersAndFallbacksAreSeen)
{
    const auto d =
        demand_of(wire::anthropic_messages, "m",
                  R"({"system":[{"text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],"n":3,
                                 "modalities":["text","Audio"],"models":["a","b"]})");
    EXPECT_TRUE(d.writes_cache);
    EXPECT_TRUE(d.writes_long_cache);
    EXPECT_EQ(d.answers, 3);
    EXPECT_TRUE(d.output_audio);
    EXPECT_EQ(d.models, (std::vector<std::string>{"a", "b"}));
}

TEST(RequestDemand, ABoundOfNothingIsNone)
{
    EXPECT_EQ(demand_of(wire::ollama, "m", R"({"options":{"num_predict":0}})").output, std::nullopt);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":0})").output, std::nullopt);
    // llama.cpp reads its own name first.
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"max_tokens":1,"n_predict":-1})").output, std::nullopt);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"n_predict":90,"max_tokens":1})").output, 90);
    EXPECT_EQ(demand_of(wire::openai_chat, "m", R"({"n_predict":90})").output, std::nullopt)
        << "others ignore it";
}

TEST(RequestDemand, AModelThatAToolConsultsIsOneMore)
{
    const auto d =
        demand_of(wire::anthropic_messages, "m",
                  R"({"tools":[{"type":"advisor","model":"large","max_uses":3},{"name":"own","input_schema":
        {"properties":{"model":{"type":"string"}}}},{"type":"advisor","model":"larger"}]})");
    ASSERT_EQ(d.consulted.size(), 2U);
    EXPECT_EQ(d.consulted[0].name, "large");
    EXPECT_EQ(d.consulted[0].times, 3);
    EXPECT_EQ(d.consulted[1].name, "larger");
    EXPECT_EQ(d.consulted[1].times, consulting_allowance);
}

TEST(RequestDemand, AStatedNumberOfCallsIsThatOfTheSearches)
{
    const auto searches = [](const char* body) {
        return demand_of(wire::openai_responses, "m", body).searches;
    };
    EXPECT_EQ(searches(R"({"tools":[{"type":"web_search"}]})"), search_allowance);
    EXPECT_EQ(searches(R"({"tools":[{"type":"web_search"}],"max_tool_calls":1})"), 1);
    EXPECT_EQ(searches(R"({"max_tool_calls":30,"tools":[{"type":"web_search"}]})"), 30);
    EXPECT_EQ(searches(R"({"max_tool_calls":30})"), 0);
}

TEST(RequestDemand, SpeechIsCountedByItsText)
{
    EXPECT_EQ(demand_of(wire::openai_audio, "tts", R"({"input":"h\u00e9llo"})").spoken_bytes, 6);
}

TEST(RequestDemand, TextThatEndsAnywhereIsReadAsFarAsItGoes)
{
    const std::string body =
        R"({"tools":[{"type":"web_search","max_uses":2}],"messages":[{"content":[{"image_url":{"url":"https://a"}}]}],"max_tokens":5})";
    for (std::size_t n = 0; n < body.size(); ++n) {
        const auto d = demand_of(wire::openai_chat, "m", std::string_view(body).substr(0, n));
        EXPECT_LE(d.searches, search_allowance);
        EXPECT_LE(d.input_elsewhere, image_allowance);
        EXPECT_TRUE(!d.output || n + 1 == body.size()) << n;
    }
    EXPECT_EQ(demand_of(wire::openai_chat, "m", body).output, 5);
}

}  // namespace
}  // namespace keyhole::metering
