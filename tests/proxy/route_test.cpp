// ONE_TABLE: every path a client is known to send, in every form it sends it, and nothing else.
#include "proxy/route.hpp"

#include <gtest/gtest.h>

#include <ostream>
#include <set>
#include <string>

namespace keyhole::proxy {
namespace {

bool known(std::string_view name, const void*)
{
    return name == "openai" || name == "anthropic" || name == "groq" || name == "azure" || name == "gemini" ||
           name == "vertex" || name == "bedrock" || name == "cohere" || name == "ollama";
}

target parsed(const std::string& raw)
{
    target t;
    EXPECT_FALSE(parse_target(raw, &known, nullptr, t)) << raw;
    return t;
}

target at(const std::string& path)
{
    target t;
    t.path = path;
    return t;
}

bool everything(config::dialect, const void*)
{
    return true;
}

TEST(Target, AllFormsOfABaseUrlMeanTheSamePath)
{
    for (const auto* raw :
         {"/v1/chat/completions", "/chat/completions", "/v1/v1/chat/completions", "//v1//chat/completions",
          "http://localhost:8080/v1/chat/completions", "/v1/chat/completions/"})
    {
        const auto t = parsed(raw);
        EXPECT_EQ(t.path, "/chat/completions") << raw;
        EXPECT_EQ(t.provider, "");
    }
    for (const auto* raw : {"/openai/v1/chat/completions", "/openai/chat/completions",
                            "http://evil/openai/v1/chat/completions"})
    {
        const auto t = parsed(raw);
        EXPECT_EQ(t.path, "/chat/completions") << raw;
        EXPECT_EQ(t.provider, "openai");
    }
}

TEST(Target, CredentialsLeaveTheQueryWhateverTheirSpelling)
{
    const auto t = parsed("/v1/messages?beta=true&key=kh_secret&%6bey=x&API_KEY=y&limit=1000");
    EXPECT_EQ(t.query, "beta=true&limit=1000");
    EXPECT_EQ(t.query_token, "kh_secret");
}

TEST(Target, TOKEN_STAYS_HOME_InTheQueryHoweverItIsWrittenAndInThePath)
{
    auto t = parsed("/v1/messages?a=1&foo=kh_secret&x=pre%6b%68_secretpost&kh_secret&b=2");
    EXPECT_TRUE(remove_token(t, "kh_secret"));
    EXPECT_EQ(t.query, "a=1&b=2");
    t = parsed("/v1/models/kh_secret");
    EXPECT_FALSE(remove_token(t, "kh_secret"));
    EXPECT_TRUE(remove_token(t, ""));
}

TEST(Target, RefusesPathsThatTwoReadersSeeDifferently)
{
    for (const auto* raw :
         {"/v1/%2e%2e/admin", "/v1/..", "/v1/./models", "/v1/models/%2fadmin", "/v1/models/a%5cb",
          "/v1\\models", "/v1/models#x", "/v1/models/%00", "/v1/models/%zz", "/v1/models/%2", "v1/models",
          "*", "/v1/models/a%20b", "/v1/models/a;b"})
    {
        target t;
        EXPECT_TRUE(parse_target(raw, &known, nullptr, t)) << raw;
    }
}

TEST(Routes, AreFoundByMethodAndPath)
{
    using config::dialect;
    using http::method;
    struct row {
        method verb;
        const char* path;
        dialect api;
        const char* name;
    };
    const row rows[] = {
        {method::post, "/chat/completions", dialect::openai, "POST /v1/chat/completions"},
        {method::get, "/responses/resp_1", dialect::openai, "GET /v1/responses/{id}"},
        {method::post, "/responses/input_tokens", dialect::openai, "POST /v1/responses/input_tokens"},
        {method::post, "/responses/resp_1/cancel", dialect::openai, "POST /v1/responses/{id}/cancel"},
        {method::get, "/models/ft:gpt-4o:org::id", dialect::openai, "GET /v1/models/{id}"},
        {method::get, "/files/file_1/content", dialect::openai, "GET /v1/files/{id}/content"},
        {method::post, "/messages", dialect::anthropic, "POST /v1/messages"},
        {method::post, "/messages/count_tokens", dialect::anthropic, "POST /v1/messages/count_tokens"},
        {method::get, "/messages/batches/b_1/results", dialect::anthropic,
         "GET /v1/messages/batches/{id}/results"},
        {method::get, "/models", dialect::anthropic, "GET /v1/models"},
    };
    for (const auto& r : rows) {
        const auto m = match_route(r.verb, at(r.path), r.api);
        ASSERT_NE(m.found, nullptr) << r.path;
        EXPECT_EQ(m.found->name, r.name);
    }
    EXPECT_EQ(match_route(method::post, at("/fine_tuning/jobs"), dialect::openai).found, nullptr);
    EXPECT_EQ(match_route(method::get, at("/models/a/b/c"), dialect::openai).found, nullptr);
    EXPECT_EQ(match_route(method::get, at("/models/"), dialect::openai).found, nullptr);
    const auto wrong_method = match_route(method::get, at("/chat/completions"), dialect::openai);
    EXPECT_EQ(wrong_method.found, nullptr);
    EXPECT_TRUE(wrong_method.path_known);
}

struct journey {
    const char* asked;
    config::dialect api;
    const char* base;
    const char* sent;
    const char* name;
    const char* model;
};

void PrintTo(const journey& j, std::ostream* out)
{
    *out << j.asked;
}

class Journeys : public testing::TestWithParam<journey> {};

TEST_P(Journeys, EveryProvidersPathsAreFoundAndSentOnWhereTheyBelong)
{
    const auto& j = GetParam();
    const auto t = parsed(j.asked);
    const auto m = match_route(http::method::post, t, j.api);
    ASSERT_NE(m.found, nullptr) << j.asked << " as " << t.path;
    EXPECT_EQ(m.found->name, j.name);
    EXPECT_EQ(m.names.model, j.model);
    config::provider to;
    to.api = j.api;
    to.base_path = j.base;
    EXPECT_EQ(path_at(to, t), j.sent);
    http::request_head head;
    head.verb = http::method::post;
    if (t.provider.empty()) {
        EXPECT_EQ(dialect_of(t, head, &everything, nullptr), j.api);
    }
}

using config::dialect;
INSTANTIATE_TEST_SUITE_P(
    All, Journeys,
    testing::Values(
        journey{"/v1beta/models/gemini-2.5-flash:generateContent", dialect::gemini, "/v1beta",
                "/v1beta/models/gemini-2.5-flash:generateContent",
                "POST /v1beta/models/{model}:generateContent", "gemini-2.5-flash"},
        journey{"/models/gemini-2.5-flash:streamGenerateContent", dialect::gemini, "/v1beta",
                "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
                "POST /v1beta/models/{model}:streamGenerateContent", "gemini-2.5-flash"},
        journey{"/gemini/v1/models/a:b:countTokens", dialect::gemini, "/v1beta", "/v1/models/a:b:countTokens",
                "POST /v1beta/models/{model}:countTokens", "a:b"},
        journey{"/gemini/v1beta/openai/chat/completions", dialect::gemini, "/v1beta",
                "/v1beta/openai/chat/completions", "POST /v1/chat/completions", ""},
        journey{"/v1beta1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent",
                dialect::gemini, "/v1",
                "/v1beta1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent",
                "POST /v1beta/models/{model}:generateContent", "gemini-x"},
        journey{
            "/vertex/v1/projects/other/locations/there/publishers/anthropic/models/claude@1:streamRawPredict",
            dialect::gemini, "/v1/projects/own/locations/here",
            "/v1/projects/own/locations/here/publishers/anthropic/models/claude@1:streamRawPredict",
            "POST /v1/publishers/anthropic/models/{model}:streamRawPredict", "claude@1"},
        journey{"/v1beta/models/gemini-x:generateContent", dialect::gemini, "/team/vault",
                "/team/vault/models/gemini-x:generateContent", "POST /v1beta/models/{model}:generateContent",
                "gemini-x"},
        journey{"/model/us.anthropic.claude-v1%3A0/converse-stream", dialect::bedrock, "",
                "/model/us.anthropic.claude-v1:0/converse-stream", "POST /model/{model}/converse-stream",
                "us.anthropic.claude-v1:0"},
        journey{"/bedrock/model/arn:aws:bedrock:eu-1:1:inference-profile%2Fx/invoke", dialect::bedrock, "",
                "/model/arn:aws:bedrock:eu-1:1:inference-profile%2Fx/invoke", "POST /model/{model}/invoke",
                "arn:aws:bedrock:eu-1:1:inference-profile%2Fx"},
        journey{"/openai/deployments/gpt-4o/chat/completions", dialect::azure, "",
                "/openai/deployments/gpt-4o/chat/completions", "POST /v1/chat/completions", "gpt-4o"},
        journey{"/azure/openai/v1/responses", dialect::azure, "/openai/v1", "/openai/v1/responses",
                "POST /v1/responses", ""},
        journey{"/azure/v1/chat/completions", dialect::azure, "", "/openai/v1/chat/completions",
                "POST /v1/chat/completions", ""},
        journey{"/v2/chat", dialect::cohere, "/v2", "/v2/chat", "POST /v2/chat", ""},
        journey{"/v1/chat", dialect::cohere, "/v2", "/v1/chat", "POST /v2/chat", ""},
        journey{"/cohere/compatibility/v1/chat/completions", dialect::cohere, "",
                "/compatibility/v1/chat/completions", "POST /v1/chat/completions", ""},
        journey{"/api/chat", dialect::ollama, "", "/api/chat", "POST /api/chat", ""},
        journey{"/ollama/v1/chat/completions", dialect::ollama, "/api", "/v1/chat/completions",
                "POST /v1/chat/completions", ""},
        journey{"/groq/openai/v1/chat/completions", dialect::openai, "/openai/v1",
                "/openai/v1/chat/completions", "POST /v1/chat/completions", ""}));

TEST(Routes, WhatIsNotInTheTableOfAnApiIsNotServed)
{
    using http::method;
    for (const auto& [raw, api] : {std::pair{"/api/pull", dialect::ollama},
                                   {"/api/delete", dialect::ollama},
                                   {"/v2/chat/completions", dialect::openai},
                                   {"/v1/model/x/invoke", dialect::bedrock},
                                   {"/v1beta/models/x:fineTune", dialect::gemini},
                                   {"/v1beta/models/:generateContent", dialect::gemini},
                                   {"/deployments/x/y/chat/completions", dialect::azure},
                                   {"/v1/projects/p/models/x:generateContent", dialect::gemini}})
        EXPECT_EQ(match_route(method::post, parsed(raw), api).found, nullptr) << raw;
    target t;
    for (const auto* raw :
         {"/model/arn:aws:x%2F..%2Fy/invoke", "/model/x%2Fy/invoke", "/model/arn:%5C/invoke"})
        EXPECT_TRUE(parse_target(raw, &known, nullptr, t)) << raw;
}

TEST(Routes, EveryNameIsUniqueWithinItsApi)
{
    std::set<std::pair<int, std::string>> seen;
    for (const auto& r : route_table())
        EXPECT_TRUE(seen.emplace(static_cast<int>(r.api), std::string(r.name)).second) << r.name;
}

TEST(Routes, ModelsBelongToWhoeversHeadersSaySo)
{
    http::request_head head;
    head.verb = http::method::get;
    EXPECT_EQ(dialect_of(at("/models"), head, &everything, nullptr), config::dialect::openai);
    head.fields.push_back({"anthropic-version", "2023-06-01"});
    EXPECT_EQ(dialect_of(at("/models"), head, &everything, nullptr), config::dialect::anthropic);
    head.fields.push_back({"x-goog-api-key", "k"});
    EXPECT_EQ(dialect_of(at("/models"), head, &everything, nullptr), config::dialect::gemini);
    EXPECT_EQ(dialect_of(at("/messages"), head, &everything, nullptr), config::dialect::anthropic);
    EXPECT_EQ(dialect_of(at("/chat/completions"), head, &everything, nullptr), config::dialect::openai);
}

}  // namespace
}  // namespace keyhole::proxy
