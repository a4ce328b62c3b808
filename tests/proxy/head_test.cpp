// The strict head parser: what two readers could understand differently is refused (ONE_TABLE and
// NO_WAY_AROUND rest on it).
#include "proxy/http/head.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace keyhole::proxy::http {
namespace {

head_error request_error(const std::string& text)
{
    request_head head;
    return parse_request(text, head);
}

std::string with_fields(const std::string& fields)
{
    return "POST /v1/messages HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n";
}

TEST(RequestHead, ReadsVerbTargetAndFieldsAsWritten)
{
    request_head head;
    const std::string text = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: localhost:8080\r\nX-Under_score: "
                             " a b \r\nContent-Length: 12\r\n\r\n";
    ASSERT_EQ(parse_request(text, head), head_error::none);
    EXPECT_EQ(head.verb, method::post);
    EXPECT_EQ(head.target, "/v1/messages?beta=true");
    EXPECT_EQ(head.get("x-under_score"), "a b");
    EXPECT_EQ(head.framing, body_framing::length);
    EXPECT_EQ(head.content_length, 12U);
    EXPECT_TRUE(head.keep_alive);
    EXPECT_EQ(head.get("absent").data(), nullptr);
}

TEST(RequestHead, RefusesWhatSmugglesRequests)
{
    struct row {
        std::string text;
        head_error expected;
    };
    const std::vector<row> rows{
        {with_fields("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n"), head_error::bad_framing},
        {with_fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), head_error::bad_framing},
        {with_fields("Transfer-Encoding: xchunked\r\n"), head_error::bad_framing},
        {with_fields("Transfer-Encoding: chunked, identity\r\n"), head_error::bad_framing},
        {with_fields("Transfer-Encoding: gzip, chunked\r\n"), head_error::bad_framing},
        {with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
         head_error::bad_framing},
        {with_fields("Content-Length: 5\r\nContent-Length: 5\r\n"), head_error::bad_framing},
        {with_fields("Content-Length: 5, 5\r\n"), head_error::bad_framing},
        {with_fields("Content-Length: +5\r\n"), head_error::bad_framing},
        {with_fields("Content-Length: -1\r\n"), head_error::bad_framing},
        {with_fields("Content-Length: 0x5\r\n"), head_error::bad_framing},
        {with_fields("Content-Length: 99999999999999999999\r\n"), head_error::bad_framing},
        {with_fields("Content-Length:\r\n"), head_error::bad_framing},
        {"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", head_error::bad_framing},
        {with_fields("Host: other\r\n"), head_error::bad_host},
        {"GET / HTTP/1.1\r\nAccept: x\r\n\r\n", head_error::bad_host},
        {with_fields("X: a\r\n b\r\n"), head_error::bad_field},
        {with_fields("X : a\r\n"), head_error::bad_field},
        {with_fields("X: a\nY: b\r\n"), head_error::bad_field},
        {with_fields("X: a\rY: b\r\n"), head_error::bad_field},
        {with_fields(std::string("X: a\0b\r\n", 8)), head_error::bad_field},
        {with_fields("no colon\r\n"), head_error::bad_field},
        {with_fields(": empty\r\n"), head_error::bad_field},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", head_error::bad_version},
        {"PRI * HTTP/2.0\r\n\r\n", head_error::bad_version},
        {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", head_error::bad_line},
        {"GET /\r\nHost: h\r\n\r\n", head_error::bad_line},
        {"GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n", head_error::bad_line},
        {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", head_error::bad_line},
        {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", head_error::bad_line},
    };
    for (const auto& r : rows)
        EXPECT_EQ(request_error(r.text), r.expected) << r.text;
}

TEST(RequestHead, RefusesMoreFieldsThanTheLimit)
{
    std::string fields;
    for (std::size_t i = 0; i < max_fields; ++i)
        fields += "x-" + std::to_string(i) + ": 1\r\n";
    EXPECT_EQ(request_error(with_fields(fields)), head_error::too_large);
}

TEST(RequestHead, NeverReadsPastAnyCutOfItsText)
{
    const std::string whole =
        with_fields("Content-Length: 5\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\n");
    for (std::size_t n = 0; n < whole.size(); ++n) {
        const std::string cut = whole.substr(0, n);
        std::size_t searched = 0;
        EXPECT_EQ(head_length(cut, searched), 0U);
        request_head head;
        EXPECT_NE(parse_request(cut, head), head_error::none) << n;
    }
    std::size_t searched = 0;
    EXPECT_EQ(head_length(whole + "BODY", searched), whole.size());
}

TEST(RequestHead, NamesTheFieldsThatConnectionLists)
{
    request_head head;
    const std::string text = with_fields("Connection: close, X-Secret ,\r\nX-Secret: 1\r\n");
    ASSERT_EQ(parse_request(text, head), head_error::none);
    EXPECT_FALSE(head.keep_alive);
    ASSERT_EQ(head.connection_options.size(), 2U);
    EXPECT_EQ(head.connection_options[1], "X-Secret");
}

TEST(ResponseHead, DecidesTheFramingOnce)
{
    struct row {
        std::string text;
        bool was_head;
        head_error error;
        body_framing framing;
    };
    const std::vector<row> rows{
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, head_error::none, body_framing::length},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, head_error::none,
         body_framing::chunked},
        {"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", false, head_error::none, body_framing::until_close},
        {"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", false, head_error::none, body_framing::none},
        {"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", true, head_error::none, body_framing::none},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", false, head_error::none,
         body_framing::length},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", false, head_error::bad_framing,
         body_framing::none},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, head_error::bad_framing,
         body_framing::none},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", false,
         head_error::bad_framing, body_framing::none},
        {"HTTP/1.1 20 OK\r\n\r\n", false, head_error::bad_line, body_framing::none},
        {"ICY 200 OK\r\n\r\n", false, head_error::bad_line, body_framing::none},
    };
    for (const auto& r : rows) {
        response_head head;
        EXPECT_EQ(parse_response(r.text, r.was_head, head), r.error) << r.text;
        if (r.error == head_error::none) {
            EXPECT_EQ(head.framing, r.framing) << r.text;
        }
    }
}

}  // namespace
}  // namespace keyhole::proxy::http
