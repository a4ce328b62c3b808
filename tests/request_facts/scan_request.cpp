#include "metering/request_facts.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

using namespace keyhole::metering;

namespace {

std::string repeated(std::string_view part, std::size_t times)
{
    std::string out;
    for (std::size_t i = 0; i < times; ++i)
        out += part;
    return out;
}

TEST(ScanRequest, FindsWhatDecidesPolicyAndPrice)
{
    const auto facts =
        scan_request(R"( {"messages":[{"role":"user","content":"hi","model":"nested"}], "model" : "gpt-5",
        "stream":true,"max_tokens":5,"max_completion_tokens":70,"n":3,"best_of":4,"service_tier":"flex"} )");
    EXPECT_TRUE(facts.is_object);
    EXPECT_TRUE(facts.complete);
    EXPECT_EQ(facts.object_open, 1U);
    EXPECT_EQ(facts.ambiguous_member, "");
    EXPECT_EQ(facts.model, "gpt-5");
    EXPECT_TRUE(facts.stream);
    EXPECT_EQ(facts.max_tokens, 70);
    EXPECT_EQ(facts.choices, 4);
    EXPECT_EQ(facts.service_tier, "flex");
    EXPECT_FALSE(facts.include_usage);
}

TEST(ScanRequest, FindsTheBoundOfTheAnswerWhereEachApiHasIt)
{
    EXPECT_EQ(scan_request(R"({"generationConfig":{"maxOutputTokens":70,"candidateCount":2}})").max_tokens,
              70);
    EXPECT_EQ(scan_request(R"({"generationConfig":{"maxOutputTokens":70,"candidateCount":2}})").choices, 2);
    EXPECT_EQ(scan_request(R"({"generation_config":{"max_output_tokens":71}})").max_tokens, 71);
    EXPECT_EQ(scan_request(R"({"inferenceConfig":{"maxTokens":72}})").max_tokens, 72);
    EXPECT_EQ(scan_request(R"({"options":{"x":[{}],"num_predict":73}})").max_tokens, 73);
    EXPECT_FALSE(scan_request(R"({"options":{"num_predict":-1},"generationConfig":[7]})").max_tokens);
}

TEST(ScanRequest, NO_WAY_AROUND_NamesWhatTheRequestBuildsOn)
{
    const auto of = [](const std::string& body) { return scan_request(body).builds_on; };
    using ids = std::vector<std::string>;
    EXPECT_EQ(of(R"({"previous_response_id":"resp_1","conversation":"conv_1"})"), (ids{"resp_1", "conv_1"}));
    EXPECT_EQ(of(R"({"previous\u005fresponse_id":"resp\u005f1"})"), ids{"resp_1"});
    EXPECT_EQ(of(R"({"conversation":{"x":[{"id":"no"}],"id":"conv_1"}})"), ids{"conv_1"});
    EXPECT_EQ(of(R"({"previous_interaction_id":"int_1","cachedContent":"cachedContents/a"})"),
              (ids{"int_1", "cachedContents/a"}));
    EXPECT_EQ(of(R"({"previousInteractionId":"int_1","cached_content":"cachedContents/a"})"),
              (ids{"int_1", "cachedContents/a"}));
    EXPECT_EQ(
        of(R"({"extra_body":{"x":1,"google":{"cached\u005fcontent":"c"},"google":{"cachedContent":"d"}}})"),
        (ids{"c", "d"}));
    EXPECT_EQ(of(R"({"extra_body":[{"google":{"cached_content":"c"}}],"google":{"cached_content":"c"}})"),
              ids{});
    EXPECT_EQ(of(R"({"input_file_id":"a","training_file":"b","validation_file":"c"})"), (ids{"a", "b", "c"}));
    EXPECT_EQ(
        of(R"({"previous_response_id":null,"conversation":7,"input":{"previous_response_id":"nested"}})"),
        ids{});
    EXPECT_EQ(scan_request(R"({"previous_response_id":"a","previous_response_id":"b"})").ambiguous_member,
              "previous_response_id");
    EXPECT_EQ(of("{\"previous_response_id\":\"" + repeated("x", 500) + "\"}").front().size(), 128U);
}

TEST(ScanRequest, OnlyLeadingWhitespaceMayStandBeforeTheObject)
{
    EXPECT_TRUE(scan_request(" \r\n\t{}").is_object);
    for (const auto* body :
         {"", " ", "[]", "\"{}\"", "x{}", "\xEF\xBB\xBF{}", "--boundary\r\n{}", "null", "\v{}"})
    {
        const auto facts = scan_request(body);
        EXPECT_FALSE(facts.is_object) << body;
        EXPECT_FALSE(facts.complete) << body;
        EXPECT_EQ(facts.text_bytes, 0U) << body;
    }
}

TEST(ScanRequest, DecodesKeysBeforeComparing)
{
    EXPECT_EQ(scan_request(R"({"\u006dod\u0065l":"a"})").model, "a");
    EXPECT_TRUE(scan_request(R"({"\u0073\u0074\u0072\u0065\u0061\u006D":true})").stream);
    EXPECT_EQ(scan_request(R"({"\\u006dodel":"a"})").model, "");
    EXPECT_EQ(scan_request(R"({"model\u0000":"a"})").model, "");
    EXPECT_EQ(scan_request(R"({"m\/odel":"a"})").model, "");
    EXPECT_EQ(
        scan_request(
            R"({"\u006d\u0061\u0078\u005f\u0063\u006f\u006d\u0070\u006c\u0065\u0074\u0069\u006f\u006e\u005f)"
            R"(\u0074\u006f\u006b\u0065\u006e\u0073":9})")
            .max_tokens,
        9);
}

TEST(ScanRequest, NamesAMemberThatStandsTwice)
{
    const std::vector<std::pair<std::string, std::string>> table = {
        {R"({"model":"a","model":"a"})", "model"},
        {R"({"model":"a","mod\u0065l":"b"})", "model"},
        {R"({"model":"a","Model":"b"})", "model"},
        {R"({"MODEL":"a","model":"b"})", "model"},
        {R"({"stream":true,"x":1,"stream":false})", "stream"},
        {"{\"stream\":true,\"\xC5\xBFtream\":false}", "stream"},
        {R"({"stream":true,"\u017ftream":false})", "stream"},
        {"{\"max_tokens\":1,\"max_to\xE2\x84\xAA"
         "ens\":2}",
         "max_tokens"},
        {R"({"max_tokens":1,"max_tokens":2})", "max_tokens"},
        {R"({"max_completion_tokens":1,"max_completion_tokens":2})", "max_completion_tokens"},
        {R"({"max_output_tokens":null,"max_output_tokens":2})", "max_output_tokens"},
        {R"({"n":1,"n":2})", "n"},
        {R"({"best_of":1,"best_of":2})", "best_of"},
        {R"({"stream_options":null,"stream_options":{}})", "stream_options"},
        {R"({"stream_options":{"include_usage":true,"include_usage":false}})", "include_usage"},
        {R"({"service_tier":"a","service_tier":"b"})", "service_tier"},
        {R"({"n":1,"n":2,"model":"a","model":"b"})", "n"},
    };
    for (const auto& [body, name] : table) {
        const auto facts = scan_request(body);
        EXPECT_EQ(facts.ambiguous_member, name) << body;
        EXPECT_TRUE(facts.complete) << body;
    }
}

TEST(ScanRequest, RepeatedMembersElsewhereAreNoAmbiguity)
{
    for (const auto* body : {
             R"({"model":"a","metadata":{"model":"b","model":"c"}})",
             R"({"model":"a","messages":[{"model":1},{"model":2}],"user":"x","user":"y"})",
             R"({"model":"\"model\":\"b\",","x":"model"})",
             R"({"include_usage":true,"stream_options":{"include_usage":true,"x":{"include_usage":1}}})",
             R"({"stream_options":{"model":"x"},"model":"a"})",
             R"({"max_tokens":1,"max_completion_tokens":1,"max_output_tokens":1})",
             R"({"Model":"a"})",
         })
    {
        EXPECT_EQ(scan_request(body).ambiguous_member, "") << body;
    }
}

TEST(ScanRequest, NothingHidesBehindWhatOtherReadersAccept)
{
    for (const auto* body : {
             R"({"model":"a","t":NaN,"model":"b"})",
             R"({"model":"a","t":-Infinity,"model":"b"})",
             "{\"model\":\"a\",\"t\":\"raw\nnewline\",\"model\":\"b\"}",
             R"({"model":"a","t":"\q","model":"b"})",
             R"({"model":"a","t":"\u12","model":"b"})",
             R"({"model":"a","t":[1,],"model":"b"})",
             R"({"model":"a","t":{"x":1,},"model":"b"})",
             R"({"model":"a","t":007,"model":"b"})",
             R"({"model":"a","model":"b",})",
         })
    {
        const auto facts = scan_request(body);
        EXPECT_EQ(facts.ambiguous_member, "model") << body;
        EXPECT_FALSE(facts.complete) << body;
    }
}

TEST(ScanRequest, InvalidJsonKeepsWhatWasFoundBefore)
{
    const std::string head = R"({"model":"a","stream":true)";
    for (const auto* tail : {"",
                             ",",
                             ",}",
                             ",\"",
                             ",\"x",
                             ",\"x\"",
                             ",\"x\":",
                             ",\"x\":}",
                             ",\"x\":[}",
                             ",\"x\":{]}",
                             ",x:1}",
                             "]",
                             "} x",
                             "}{}",
                             "};",
                             ",\"x\":'a'}",
                             ",\"x\":/**/1}",
                             ",\"x\" 1}",
                             ",\"x\":\"\\",
                             ",\"x\":1 2}",
                             ",\"x\":tru}",
                             ",\"x\":-}",
                             ",\"x\":1.}",
                             ",\"x\":.5}",
                             ",\"x\":1e}",
                             ",\"x\":+1}",
                             ",\"x\":[1,,2]}",
                             ",\"x\":{1:2}}"})
    {
        const auto facts = scan_request(head + tail);
        EXPECT_TRUE(facts.is_object) << tail;
        EXPECT_FALSE(facts.complete) << tail;
        EXPECT_EQ(facts.model, "a") << tail;
        EXPECT_TRUE(facts.stream) << tail;
        EXPECT_FALSE(include_usage_edit(facts)) << tail;
    }
}

TEST(ScanRequest, AcceptsEveryFormOfValidValues)
{
    for (const auto* value : {"0", "-0", "1.5", "-1.5e+10", "2E3", "1e-7", "true", "false", "null", "\"\"",
                              "[]", "{}", "[ ]", "{ }", "[[],{},[{}]]", R"({"a":[1,{"b":null}],"c":"d"})",
                              R"("\"\\\/\b\f\n\r\t\u00e9")", "\"\xE2\x82\xAC\"", R"("\ud83d\ude00")"})
    {
        EXPECT_TRUE(scan_request(std::string(R"({"x": )") + value + "\n}").complete) << value;
    }
}

TEST(ScanRequest, TruncationAnywhereIsIncompleteAndHarmless)
{
    const std::string body =
        R"({"model":"a\u00e9\"","m":[{"x":"y"},-1.5e3,[true]],"stream_options":{"include_usage":false},"n":2})";
    ASSERT_TRUE(scan_request(body).complete);
    for (std::size_t length = 0; length < body.size(); ++length) {
        const std::vector<char> exact(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_FALSE(scan_request({exact.data(), exact.size()}).complete) << length;
    }
}

TEST(ScanRequest, ModelIsDecodedBoundedAndValidUtf8)
{
    EXPECT_EQ(scan_request(R"({"model":"a\/b\u002dc\n"})").model, "a/b-c\n");
    EXPECT_EQ(scan_request(R"({"model":"\ud83d\ude00\ud83d"})").model, "\xF0\x9F\x98\x80\xEF\xBF\xBD");
    EXPECT_EQ(scan_request("{\"model\":\"a\xFF\xC3\"}").model, "a\xEF\xBF\xBD\xEF\xBF\xBD");
    for (const auto* value : {"null", "1", "true", "[\"a\"]", "{\"model\":\"a\"}"}) {
        const auto facts = scan_request(std::string("{\"model\":") + value + "}");
        EXPECT_EQ(facts.model, "") << value;
        EXPECT_TRUE(facts.complete) << value;
    }
    const auto at_limit = scan_request("{\"model\":\"" + std::string(256, 'm') + "\"}");
    EXPECT_EQ(at_limit.model, std::string(256, 'm'));
    EXPECT_EQ(at_limit.ambiguous_member, "");
    const auto over = scan_request("{\"model\":\"" + std::string(257, 'm') + "\"}");
    EXPECT_EQ(over.model, std::string(256, 'm'));
    EXPECT_EQ(over.ambiguous_member, "model");
    EXPECT_EQ(scan_request("{\"model\":\"x" + repeated("\xC3\xA9", 128) + "\"}").model,
              "x" + repeated("\xC3\xA9", 127));
}

TEST(ScanRequest, OnlyNonNegativeIntegersCount)
{
    for (const auto* value : {"-1", "1.0", "1e3", "\"5\"", "null", "[5]", "{}", "true"}) {
        const std::string body =
            std::string(R"({"max_tokens":)") + value + R"(,"n":)" + value + R"(,"best_of":)" + value + "}";
        const auto facts = scan_request(body);
        EXPECT_FALSE(facts.max_tokens) << value;
        EXPECT_EQ(facts.choices, 1) << value;
        EXPECT_TRUE(facts.complete) << value;
    }
    EXPECT_EQ(scan_request(R"({"max_tokens":0,"n":0})").max_tokens, 0);
    EXPECT_EQ(scan_request(R"({"n":0})").choices, 1);
    EXPECT_EQ(scan_request(R"({"max_tokens": 99999999999999999999999})").max_tokens, 1'000'000'000'000);
    EXPECT_EQ(scan_request(R"({"max_output_tokens":8,"max_tokens":-1})").max_tokens, 8);
}

TEST(ScanRequest, OnlyTheLiteralTrueStreams)
{
    for (const auto* value : {"false", "null", "\"true\"", "1", "[true]"})
        EXPECT_FALSE(scan_request(std::string("{\"stream\":") + value + "}").stream) << value;
}

TEST(ScanRequest, ServiceTierIsCut)
{
    EXPECT_EQ(scan_request("{\"service_tier\":\"" + std::string(40, 't') + "\"}").service_tier,
              std::string(32, 't'));
    EXPECT_EQ(scan_request(R"({"service_tier":null})").service_tier, "");
}

TEST(ScanRequest, CountsTextAndLeavesBlobsOut)
{
    EXPECT_EQ(scan_request(R"({"a":"bc"})").text_bytes, 10U);
    EXPECT_EQ(scan_request("\n{ \"a\" : \"b c\",\n\t\"d\":[1 , 2] } ").text_bytes, 21U);

    const auto with = [](const std::string& text) { return scan_request("{\"a\":\"" + text + "\"}"); };
    const auto short_string = with(std::string(4096, 'A'));
    EXPECT_EQ(short_string.blobs, 0U);
    EXPECT_EQ(short_string.text_bytes, 4096U + 8);
    const auto blob = with(std::string(4097, 'A'));
    EXPECT_EQ(blob.blobs, 1U);
    EXPECT_EQ(blob.text_bytes, 6U);
    EXPECT_EQ(blob.unbroken_bytes, 4099U);
    EXPECT_EQ(with(repeated("ab+\\/", 2000)).blobs, 1U);

    // Long strings of text: a space anywhere, escaped whitespace, quotes, or a script that does without
    // spaces.
    for (std::size_t at = 0; at < 5000; at += 7) {
        std::string text(5000, 'A');
        text[at] = ' ';
        EXPECT_EQ(with(text).blobs, 0U) << at;
    }
    for (const auto* part : {"\\n", "\\t", "\\u0020", "\\\"", "\\u4e2d", "\xE4\xB8\xAD", "\n"})
        EXPECT_EQ(with(std::string(5000, 'A') + part + std::string(5000, 'A')).blobs, 0U) << part;

    const auto two =
        scan_request("{\"m\":[\"" + std::string(9000, 'A') + "\",\"" + std::string(9000, 'B') + "\"]}");
    EXPECT_EQ(two.blobs, 2U);
    EXPECT_EQ(two.text_bytes, 9U);
    EXPECT_EQ(two.unbroken_bytes, 18004U);
    EXPECT_EQ(estimate_input_tokens(two), 5 + 4000);
}

TEST(ScanRequest, WhatCannotBeFollowedStillCountsAsText)
{
    const std::string body = R"({"a":1 oops)" + std::string(1000, 'x');
    EXPECT_GE(scan_request(body).text_bytes, 1000U);
}

TEST(ScanRequest, NestingIsBoundedWithoutRecursion)
{
    const auto nested = [](std::size_t depth) {
        return R"({"model":"a","x":)" + repeated("[", depth) + repeated("]", depth) + R"(,"stream":true})";
    };
    EXPECT_TRUE(scan_request(nested(9'999)).stream);
    EXPECT_TRUE(scan_request(nested(10'000)).complete);
    const auto deep = scan_request(nested(10'001));
    EXPECT_FALSE(deep.complete);
    EXPECT_EQ(deep.model, "a");
    EXPECT_FALSE(scan_request(repeated("{\"a\":", 1'000'000)).complete);
    EXPECT_FALSE(scan_request("{\"a\":" + std::string(5'000'000, '[')).complete);
}

// Strings are read eight bytes at a time: what ends them must be seen at each place of a word.
TEST(ScanRequest, FindsTheStringsEndAtEveryPlaceOfAWord)
{
    for (std::size_t length = 0; length < 40; ++length) {
        for (const auto* stop : {"", "\\\"", "\\\\", "\\u0041", "\xC3\xA9", "!#[]", "\x7F"}) {
            const std::string content = std::string(length, 'x') + stop;
            const std::string body = "{\"y\":\"" + content + "\",\"model\":\"m\"}";
            const std::vector<char> exact(body.begin(), body.end());
            const auto facts = scan_request({exact.data(), exact.size()});
            EXPECT_TRUE(facts.complete) << body;
            EXPECT_EQ(facts.model, "m") << body;
        }
        for (char c = 1; c < 0x20; ++c)
            EXPECT_FALSE(scan_request("{\"y\":\"" + std::string(length, 'x') + c + "zzzzzzzzz\"}").complete);
    }
}

TEST(ScanRequest, SaysWhetherTheAnswerComesLaterAndThatOnlyOnce)
{
    EXPECT_TRUE(scan_request(R"({"input":"x","background":true})").background);
    EXPECT_FALSE(scan_request(R"({"background":false,"input":"\"background\":true"})").background);
    EXPECT_FALSE(scan_request(R"({"background":"transparent"})").background);
    EXPECT_EQ(scan_request(R"({"background":false,"background":true})").ambiguous_member, "background");
    EXPECT_EQ(scan_request(R"({"Background":true,"background":false})").ambiguous_member, "background");
}

}  // namespace
