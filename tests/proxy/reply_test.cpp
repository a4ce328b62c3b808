// Refusals as the agents' SDKs understand them, in their own shape, with the status after which they stop.
#include "proxy/reply.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace keyhole::proxy {
namespace {

nlohmann::json body_of(const std::string& reply)
{
    return nlohmann::json::parse(reply.substr(reply.find("\r\n\r\n") + 4));
}

TEST(Reply, EachApiGetsItsOwnShape)
{
    const failure why{errc::budget_exceeded, "The limit \"usd\" is reached.\n", {}, 0};
    reply_context c;
    c.request_id = "0190";
    c.api = config::dialect::openai;
    auto b = body_of(reply_to(why, c));
    EXPECT_EQ(b["error"]["code"], "budget_exceeded");
    EXPECT_EQ(b["error"]["message"], why.message());
    EXPECT_TRUE(b["error"]["param"].is_null());
    c.api = config::dialect::anthropic;
    b = body_of(reply_to(why, c));
    EXPECT_EQ(b["type"], "error");
    EXPECT_EQ(b["error"]["type"], "billing_error");
    EXPECT_EQ(b["request_id"], "0190");
    c.api = config::dialect::gemini;
    b = body_of(reply_to(why, c));
    EXPECT_EQ(b["error"]["status"], "RESOURCE_EXHAUSTED");
}

TEST(Reply, BudgetAndPolicyEndTheAgentsRun)
{
    reply_context c;
    auto reply = reply_to({errc::budget_exceeded, "m", {}, 0}, c);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 402 "));
    EXPECT_NE(reply.find("x-should-retry: false\r\n"), std::string::npos);
    EXPECT_EQ(reply.find("retry-after"), std::string::npos);
    reply = reply_to({errc::unknown_token, "m", {}, 0}, c);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 403 "));
    EXPECT_NE(reply.find("x-should-retry: false\r\n"), std::string::npos);
    EXPECT_TRUE(reply_to({errc::missing_token, "m", {}, 0}, c).starts_with("HTTP/1.1 401 "));
}

TEST(Reply, CodexIsToldInTheFormItStopsAt)
{
    reply_context c;
    c.codex = true;
    const auto reply = reply_to({errc::budget_exceeded, "m", {}, 0}, c);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 429 "));
    EXPECT_EQ(body_of(reply)["error"]["code"], "insufficient_quota");
}

TEST(Reply, RateLimitsSayWhenToComeBack)
{
    const auto reply = reply_to({errc::rate_limited, "m", {}, 17}, {});
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 429 "));
    EXPECT_NE(reply.find("retry-after: 17\r\n"), std::string::npos);
    EXPECT_EQ(reply.find("x-should-retry"), std::string::npos);
}

TEST(Reply, ContentLengthIsTheBodysAndHeadHasNone)
{
    reply_context c;
    auto reply = reply_to({errc::unknown_route, "m", {}, 0}, c);
    const auto at = reply.find("content-length: ");
    EXPECT_EQ(std::stoul(reply.substr(at + 16)), reply.size() - reply.find("\r\n\r\n") - 4);
    c.head_request = true;
    reply = reply_to({errc::unknown_route, "m", {}, 0}, c);
    EXPECT_TRUE(reply.ends_with("\r\n\r\n"));
}

}  // namespace
}  // namespace keyhole::proxy
