#include "bridge/refusal.hpp"

#include <gtest/gtest.h>

namespace keyhole::bridge {
namespace {

TEST(Refusal, IsAResponseWhoseLengthIsTrue)
{
    const std::string answer = make_refusal({"proxy_socket_absent", "there is none", "make one"});
    const auto end = answer.find("\r\n\r\n");
    ASSERT_NE(end, std::string::npos);
    EXPECT_EQ(answer.substr(0, 13), "HTTP/1.1 503 ");
    EXPECT_NE(answer.find("Content-Type: application/json\r\n"), std::string::npos);
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_NE(answer.find("Content-Length: " + std::to_string(answer.size() - end - 4) + "\r\n"),
              std::string::npos);
}

TEST(Refusal, StaysJsonWhateverTheSocketIsCalled)
{
    const std::string answer = make_refusal({"x", "a\"b\\c\nd\x80", "r"});
    EXPECT_NE(answer.find(R"(a\"b\\c\u000ad\u0080)"), std::string::npos);
}

TEST(Upstream, KnowsWhatWaitingCanCure)
{
    for (const int error : {ENOENT, ECONNREFUSED, EAGAIN, EMFILE, ENOMEM})
        EXPECT_TRUE(is_worth_waiting(error)) << error;
    for (const int error : {EACCES, EPERM, ENOTDIR, ELOOP, EPROTOTYPE})
        EXPECT_FALSE(is_worth_waiting(error)) << error;
}

TEST(Upstream, NamesCauseAndRemedyForEveryError)
{
    for (const int error : {ENOENT, ECONNREFUSED, EAGAIN, EMFILE, EACCES, ENOTDIR}) {
        const upstream_problem problem = explain_upstream("/no/such/llm.sock", error);
        EXPECT_FALSE(problem.code.empty());
        EXPECT_FALSE(problem.cause.empty());
        EXPECT_FALSE(problem.remedy.empty());
    }
    EXPECT_EQ(explain_upstream("/etc/passwd", ECONNREFUSED).code, "proxy_socket_invalid");
}

}  // namespace
}  // namespace keyhole::bridge
