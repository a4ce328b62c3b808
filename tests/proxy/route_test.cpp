// ONE_TABLE: every path a client is known to send, in every form it sends it, and nothing else.
#include "proxy/route.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace keyhole::proxy {
namespace {

bool known(std::string_view name, const void*)
{
    return name == "openai" || name == "anthropic" || name == "groq";
}

target parsed(const std::string& raw)
{
    target t;
    EXPECT_FALSE(parse_target(raw, &known, nullptr, t)) << raw;
    return t;
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
        const auto m = match_route(r.verb, r.path, r.api);
        ASSERT_NE(m.found, nullptr) << r.path;
        EXPECT_EQ(m.found->name, r.name);
    }
    EXPECT_EQ(match_route(method::post, "/fine_tuning/jobs", dialect::openai).found, nullptr);
    EXPECT_EQ(match_route(method::get, "/models/a/b", dialect::openai).found, nullptr);
    EXPECT_EQ(match_route(method::get, "/models/", dialect::openai).found, nullptr);
    const auto wrong_method = match_route(method::get, "/chat/completions", dialect::openai);
    EXPECT_EQ(wrong_method.found, nullptr);
    EXPECT_TRUE(wrong_method.path_known);
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
    EXPECT_EQ(dialect_of("/models", head), config::dialect::openai);
    head.fields.push_back({"anthropic-version", "2023-06-01"});
    EXPECT_EQ(dialect_of("/models", head), config::dialect::anthropic);
    head.fields.push_back({"x-goog-api-key", "k"});
    EXPECT_EQ(dialect_of("/models", head), config::dialect::gemini);
    EXPECT_EQ(dialect_of("/messages", head), config::dialect::anthropic);
    EXPECT_EQ(dialect_of("/chat/completions", head), config::dialect::openai);
}

}  // namespace
}  // namespace keyhole::proxy
