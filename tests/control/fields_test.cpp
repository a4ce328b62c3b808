#include "proxy/control/api.hpp"
#include "proxy/control/fields.hpp"

#include <gtest/gtest.h>

namespace keyhole::proxy {
namespace {

constexpr std::int64_t now = 1'795'000'000'000'000;

TEST(Duration, IsANumberWithAUnit)
{
    EXPECT_EQ(parse_duration("90"), 90);
    EXPECT_EQ(parse_duration("90s"), 90);
    EXPECT_EQ(parse_duration("1.5m"), 90);
    EXPECT_EQ(parse_duration("24h"), 86'400);
    EXPECT_EQ(parse_duration("7d"), 604'800);
    EXPECT_EQ(parse_duration("2w"), 1'209'600);
    for (const char* bad : {"", "d", "-5", "-5d", "5x", "5 d", "inf", "nan", "1e300", "7dd", "999999w"}) {
        EXPECT_THROW(parse_duration(bad), std::invalid_argument) << bad;
    }
}

TEST(Time, IsADateOrADistanceOrMicroseconds)
{
    EXPECT_EQ(parse_time("2026-11-21", now), 1'795'219'200'000'000);
    EXPECT_EQ(parse_time("2026-11-21T10:00:01Z", now), 1'795'255'201'000'000);
    EXPECT_EQ(parse_time("2026-11-21T10:00:01", now), 1'795'255'201'000'000);
    EXPECT_EQ(parse_time("24h", now), now - 86'400'000'000);
    EXPECT_EQ(parse_time("1795255201000000", now), 1'795'255'201'000'000);
    for (const char* bad : {"", "yesterdayish", "2026", "2026-13-01", "2026-02-31", "2026-11-21x", "-7d",
                            "99999999999999999999", "2026-11-21T10:00:01+01:00"})
    {
        EXPECT_THROW(parse_time(bad, now), std::invalid_argument) << bad;
    }
}

TEST(Fields, AreOnlyTheKnownOnesAndEachOnce)
{
    const auto says = [](const char* body, const char* part) {
        try {
            const fields f(body, {"name", "labels"});
            ADD_FAILURE() << body;
        } catch (const std::invalid_argument& e) {
            EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
        }
    };
    says(R"({"nam": "x"})", R"(unknown field "nam" (one of: name, labels))");
    says(R"({"name": "x", "name": "y"})", "stands twice");
    says(R"({"name": "x", "n\u0061me": "y"})", "stands twice");
    says(R"({"labels": {"a": "1", "a": "2"}})", "stands twice");
    says("[1]", "must be a JSON object");
    says("", "not valid JSON");
    says(R"({"name": "x")", "not valid JSON");
    says("{\"name\": \"\xff\"}", "not valid JSON");
    says(R"({"name": "x"} {})", "not valid JSON");
    says((std::string(200'000, '[') + std::string(200'000, ']')).c_str(), "nested too deeply");
    const fields any(R"({"whatever": 1, "name": null})", {});
    EXPECT_EQ(any.text("name"), "");
}

TEST(Fields, AMistakeDoesNotRepeatWhatMayBeASecret)
{
    try {
        const fields f(R"({"api_key": "sk-very-secret" oops)", {});
        FAIL();
    } catch (const std::invalid_argument& e) {
        EXPECT_EQ(std::string(e.what()).find("sk-very"), std::string::npos) << e.what();
    }
}

TEST(Fields, AreOfTheirKind)
{
    const fields f(
        R"({"a": 1, "b": ["x", 2], "c": {"k": 1}, "d": "text", "e": ["usd=1", "coffee=3"], "t": "24h", "n": -5})",
        {});
    EXPECT_THROW(f.text("a"), std::invalid_argument);
    EXPECT_THROW(f.texts("b"), std::invalid_argument);
    EXPECT_THROW(f.texts("a"), std::invalid_argument);
    EXPECT_THROW(f.text_map("c"), std::invalid_argument);
    EXPECT_THROW(f.text_map("d"), std::invalid_argument);
    EXPECT_THROW(f.flag("d", false), std::invalid_argument);
    EXPECT_THROW(f.limits("e"), std::invalid_argument);
    EXPECT_THROW(f.duration("n", 0), std::invalid_argument);
    EXPECT_THROW(f.duration("d", 0), std::invalid_argument);
    EXPECT_EQ(f.duration("t", 0), 86'400);
    EXPECT_EQ(f.duration("absent", 5), 5);
    EXPECT_EQ(f.texts("d"), std::vector<std::string>{"text"});
}

TEST(Target, IsDecodedPerSegment)
{
    const admin_request r = read_target("GET", "/a/b%2Fc/d%20e/?x=1+2&y=%26&z");
    EXPECT_EQ(r.path, (std::vector<std::string>{"a", "b/c", "d e", ""}));
    EXPECT_EQ(r.query.at("x"), "1 2");
    EXPECT_EQ(r.query.at("y"), "&");
    EXPECT_EQ(r.query.at("z"), "");
}

TEST(Target, WithABrokenEscapeOrATwofoldParameterIsRefused)
{
    for (const char* bad : {"", "*", "http://x/y", "/%", "/%2", "/%zz", "/a%00b", "/a?x=%4", "/a?x=1&x=2"}) {
        EXPECT_THROW(read_target("GET", bad), admin_error) << bad;
    }
}

TEST(Route, AStrangerLearnsNothingOfThePaths)
{
    for (const char* path : {"/admin/v1/sessions", "/admin/v1/nothing", "/", "/v1/sessions", "/v1/health/x"})
    {
        admin_request r = read_target("GET", path);
        EXPECT_EQ(route_admin(r).refusal.status, 503) << path;
        r.token_configured = true;
        EXPECT_EQ(route_admin(r).refusal.status, 401) << path;
    }
    admin_request r = read_target("GET", "/v1/health");
    EXPECT_NE(route_admin(r).handler, nullptr);
}

TEST(Route, KnowsPathsAndTheirMethods)
{
    const auto status = [](const char* method, const char* path) {
        admin_request r = read_target(method, path);
        r.trusted = true;
        const admin_route way = route_admin(r);
        return way.handler != nullptr ? 0 : way.refusal.status;
    };
    EXPECT_EQ(status("GET", "/admin/v1/sessions"), 0);
    EXPECT_EQ(status("PUT", "/admin/v1/sessions"), 405);
    EXPECT_EQ(status("GET", "/admin/v1/sessions/"), 0);
    EXPECT_EQ(status("GET", "/admin/v1/sessions/x/y"), 404);
    EXPECT_EQ(status("GET", "/admin/v1"), 404);
    EXPECT_EQ(status("GET", "/"), 404);
    EXPECT_EQ(status("get", "/admin/v1/sessions"), 405);
    EXPECT_EQ(status("POST", "/v1/sessions/x/usage"), 405);
    EXPECT_EQ(status("DELETE", "/v1/sandboxes/x/sessions"), 0);
}

}  // namespace
}  // namespace keyhole::proxy
