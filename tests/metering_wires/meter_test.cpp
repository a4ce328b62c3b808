#include "metering/meter.hpp"
#include "samples.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace keyhole::metering {

namespace {

using samples::sample;

reading read(const sample& s, std::initializer_list<std::size_t> cuts = {})
{
    meter m{s.format, {.content_type = s.content_type}};
    std::size_t at = 0;
    for (const std::size_t cut : cuts) {
        m.feed(std::string{s.body.substr(at, cut - at)});
        at = cut;
    }
    m.feed(std::string{s.body.substr(at)});
    return m.finish(true);
}

reading read_text(wire w, std::string_view body, std::string_view content_type, bool complete = true,
                  int status = 200)
{
    meter m{w, {.status = status, .content_type = content_type}};
    m.feed(body);
    return m.finish(complete);
}

bool same(const reading& a, const reading& b)
{
    return a.counts == b.counts && a.source == b.source && a.terminal == b.terminal && a.model == b.model &&
           a.id == b.id && a.text == b.text && a.error_event == b.error_event &&
           a.error_type == b.error_type && a.provider_total == b.provider_total &&
           a.provider_cost_nano_usd == b.provider_cost_nano_usd && a.damaged == b.damaged &&
           a.beyond == b.beyond;
}

class Wire : public testing::TestWithParam<sample> {};

}  // namespace

TEST_P(Wire, TokensExact)
{
    const sample& s = GetParam();
    const reading r = read(s);
    EXPECT_EQ(r.counts, s.counts);
    EXPECT_EQ(r.source, s.source);
    EXPECT_EQ(r.terminal, s.terminal);
    EXPECT_EQ(r.model, s.model);
    EXPECT_EQ(r.text.bytes, s.text_bytes);
    EXPECT_FALSE(r.error_event);
    EXPECT_FALSE(r.damaged);
}

TEST_P(Wire, ReadsTheSameHoweverItIsCut)
{
    const sample& s = GetParam();
    const reading whole = read(s);
    const std::size_t n = s.body.size();
    for (std::size_t a = 0; a <= n; ++a) {
        ASSERT_TRUE(same(whole, read(s, {a}))) << "cut at " << a;
        // Every second cut of short bodies, and those near the first one and at the end of long ones.
        for (std::size_t b = a; b <= n; ++b) {
            if (n > 250 && b > a + 3 && b + 3 < n) b = n - 3;
            ASSERT_TRUE(same(whole, read(s, {a, b}))) << "cut at " << a << " and " << b;
        }
    }
}

TEST_P(Wire, ReadsTheSameWithoutAContentType)
{
    sample s = GetParam();
    if (s.content_type.find("json") == std::string_view::npos || s.content_type == "application/json") {
        s.content_type = {};
        EXPECT_EQ(read(s).counts, s.counts);
    }
}

TEST_P(Wire, ACutAnywhereIsNeverTakenForWhole)
{
    const sample& s = GetParam();
    for (std::size_t n = 0; n < s.body.size(); ++n) {
        meter m{s.format, {.content_type = s.content_type}};
        m.feed(std::string_view{s.body}.substr(0, n));
        const reading& r = m.finish(false);
        EXPECT_TRUE(r.source != usage_source::provider || r.terminal) << n;
        EXPECT_GE(r.counts.input, 0);
        EXPECT_GE(r.counts.output, 0);
    }
}

INSTANTIATE_TEST_SUITE_P(All, Wire, testing::ValuesIn(samples::all()), [](const auto& test) {
    std::string name{test.param.name};
    for (char& c : name) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    }
    return name;
});

TEST(Meter, KnowsOnTheWay)
{
    meter m{wire::anthropic_messages, {.content_type = "text/event-stream"}};
    EXPECT_EQ(m.so_far().source, usage_source::none);
    m.feed("data: "
           "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":25,"
           "\"output_tokens\":1}}}\n\n");
    EXPECT_EQ(m.so_far().source, usage_source::provider_partial);
    EXPECT_EQ(m.so_far().counts.input, 25);
    EXPECT_EQ(m.so_far().id, "msg_1");
    m.feed("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":30}}\n\ndata: "
           "{\"type\":\"message_stop\"}\n\n");
    EXPECT_EQ(m.so_far().source, usage_source::provider);
    EXPECT_EQ(m.so_far().counts.output, 30);
    EXPECT_EQ(m.finish(false).source, usage_source::provider) << "cut only behind the last event";
    m.feed("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":99}}\n\n");
    EXPECT_EQ(m.finish(true).counts.output, 30) << "nothing counts after finish()";
}

TEST(Meter, CutAnswerKeepsTheProvidersNumbersAsPartial)
{
    const std::string_view body =
        "data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\n\ndata: {\"choi";
    const reading r = read_text(wire::openai_chat, body, "text/event-stream", false);
    EXPECT_EQ(r.source, usage_source::provider_partial);
    EXPECT_EQ(r.counts.all_output(), 5);
}

TEST(Meter, BodyCutBehindItsUsageIsPartial)
{
    const reading r = read_text(wire::openai_chat, R"({"usage":{"prompt_tokens":7,"completion_tokens":5},"x)",
                                "application/json", false);
    EXPECT_EQ(r.source, usage_source::provider_partial);
    EXPECT_EQ(r.counts.all_input(), 7);
    const reading half =
        read_text(wire::openai_chat, R"({"usage":{"prompt_tokens":7,)", "application/json", false);
    EXPECT_EQ(half.source, usage_source::none) << "half a usage object says nothing";
}

TEST(Meter, BrokenEventTellsNothing)
{
    const std::string_view body = "data: "
                                  "{\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_"
                                  "tokens\":3,\"output_tokens\":1}}\n\n"
                                  "data: {\"type\":\"x\"}\n\n";
    const reading r = read_text(wire::openai_responses, body, "text/event-stream");
    EXPECT_EQ(r.source, usage_source::none);
    EXPECT_FALSE(r.terminal);
}

TEST(Meter, BrokenLineCostsOnlyItself)
{
    const std::string_view body = "{\"done\":false}\n{\"oops\" 1}\n{\"done\":true,\"eval_count\":3}\n";
    const reading r = read_text(wire::ollama, body, "application/x-ndjson");
    EXPECT_EQ(r.counts.output, 3);
    EXPECT_EQ(r.source, usage_source::provider);
    EXPECT_TRUE(r.damaged);
}

TEST(Meter, RefusalsUseNothing)
{
    struct refusal {
        wire format;
        std::string_view body;
        std::string_view type;
    };
    for (
        const auto& [format, body, type] : {
            refusal{
                wire::openai_chat,
                R"({"error":{"message":"no","type":"invalid_request_error","code":"x"},"usage":{"prompt_tokens":3}})",
                "invalid_request_error"},
            refusal{wire::openai_chat, R"({"error":{"message":"no","code":429}})", "429"},
            refusal{wire::openai_chat, R"({"object":"error","type":"invalid_request_prompt","code":"1210"})",
                    "invalid_request_prompt"},
            refusal{wire::anthropic_messages,
                    R"({"type":"error","error":{"type":"overloaded_error","message":"x"}})",
                    "overloaded_error"},
            refusal{wire::gemini, R"([{"error":{"code":404,"status":"NOT_FOUND"}}])", "not_found"},
            refusal{wire::none, R"({"error":{"type":"authentication_error"}})", "authentication_error"},
            refusal{wire::ollama, R"({"error":"model not found"})", ""},
            refusal{wire::openai_chat, R"({"error":{"type":"Bad <b>type</b>"}})", "bad__b_type__b_"},
        })
    {
        const reading r = read_text(format, body, "application/json", true, 400);
        EXPECT_EQ(r.source, usage_source::none) << body;
        EXPECT_EQ(r.counts, token_counts{}) << body;
        EXPECT_EQ(r.error_type, type);
        EXPECT_FALSE(r.error_event) << "that is for answers that began well";
    }
}

TEST(Meter, StreamsThatTurnIntoErrors)
{
    struct failure {
        wire format;
        std::string_view body;
        std::string_view type;
    };
    for (const auto& [format, body, type] : {
             failure{wire::openai_chat,
                     "data: {\"error\":{\"code\":502,\"message\":\"up\"},\"choices\":[]}\n\n", "502"},
             failure{wire::anthropic_messages,
                     "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
                     "overloaded_error"},
             failure{wire::openai_responses,
                     "data: "
                     "{\"type\":\"response.failed\",\"response\":{\"usage\":null,\"error\":{\"code\":"
                     "\"server_error\"}}}\n\n",
                     "server_error"},
             failure{wire::openai_responses,
                     "data: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\"}\n\n",
                     "rate_limit_exceeded"},
             failure{wire::openai_chat, "error: {\"detail\":\"failed\"}\n\n", "error"},
             failure{
                 wire::cohere,
                 "data: "
                 "{\"type\":\"message-end\",\"delta\":{\"error\":\"bad\",\"error_type\":\"INVALID\"}}\n\n",
                 "invalid"},
         })
    {
        const reading r = read_text(format, body, "text/event-stream");
        EXPECT_TRUE(r.error_event) << body;
        EXPECT_EQ(r.error_type, type);
        EXPECT_EQ(r.source, usage_source::none);
    }
}

TEST(Meter, BedrockExceptionInAStream)
{
    meter m{wire::bedrock_converse, {.content_type = "application/vnd.amazon.eventstream"}};
    m.feed(samples::message("throttlingException", R"({"message":"slow down"})", "exception"));
    const reading& r = m.finish(true);
    EXPECT_TRUE(r.error_event);
    EXPECT_EQ(r.error_type, "throttlingexception");
}

TEST(Meter, BedrockHeadCountsStandInForABodyWithout)
{
    const answer_head head{.content_type = "application/json", .counts = {.input = 23, .output = 66}};
    meter without{wire::bedrock_invoke, head};
    without.feed(R"({"generations":[{"text":"x"}]})");
    EXPECT_EQ(without.finish(true).counts, (token_counts{.input = 23, .output = 66}));
    EXPECT_EQ(without.finish(true).source, usage_source::provider);
    meter with{wire::bedrock_invoke, head};
    with.feed(R"({"usage":{"input_tokens":1,"output_tokens":2}})");
    EXPECT_EQ(with.finish(true).counts, (token_counts{.input = 1, .output = 2}));
}

TEST(Meter, AnthropicIterationsAreReportedBeside)
{
    const std::string_view body =
        R"({"usage":{"input_tokens":181,"output_tokens":8,"iterations":[)"
        R"({"type":"compaction","input_tokens":100,"output_tokens":83,"cache_read_input_tokens":55096},)"
        R"({"type":"message","input_tokens":181,"output_tokens":8}]}})";
    const reading r = read_text(wire::anthropic_messages, body, "application/json");
    EXPECT_EQ(r.counts, (token_counts{.input = 181, .output = 8}));
    EXPECT_EQ(r.beyond, (token_counts{.input = 100, .cache_read = 55096, .output = 83}));
}

TEST(Meter, SaysWhoseWorkStandsBeside)
{
    const std::string_view body =
        R"({"model":"claude-opus-4-8","usage":{"input_tokens":10,"output_tokens":8,"iterations":[)"
        R"({"type":"message","input_tokens":10,"output_tokens":8},)"
        R"({"type":"advisor_message","model":"claude-fable-5","input_tokens":2564,"output_tokens":99}]}})";
    const reading r = read_text(wire::anthropic_messages, body, "application/json");
    EXPECT_EQ(r.beyond, (token_counts{.input = 2564, .output = 99}));
    EXPECT_EQ(r.beyond_model, "claude-fable-5");
}

TEST(Meter, CountsSearchesThatResponsesListAsItems)
{
    const std::string output =
        R"("output":[{"type":"reasoning"},{"type":"web_search_call","action":{"type":"search","query":"a"}},)"
        R"({"type":"web_search_call","action":{"type":"open_page","url":"b"}},)"
        R"({"action":{"type":"find_in_page"},"type":"web_search_call"},)"
        R"({"type":"web_search_call","status":"completed"},{"type":"message"}],)";
    const std::string usage = R"("usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12)";
    EXPECT_EQ(read_text(wire::openai_responses, "{" + output + usage + "}}", "application/json").counts,
              (token_counts{.input = 5, .output = 7, .web_searches = 2}));
    const std::string growing =
        "data: {\"type\":\"response.in_progress\",\"response\":{\"output\":[]}}\n\n"
        "data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"web_search_call\"}}\n\n"
        "data: {\"type\":\"response.completed\",\"response\":{";
    EXPECT_EQ(read_text(wire::openai_responses, growing + output + usage + "}}}\n\n", "text/event-stream")
                  .counts.web_searches,
              2);
    // A provider that counts them itself is believed.
    EXPECT_EQ(
        read_text(wire::openai_responses,
                  "{" + output + usage + R"(,"server_side_tool_usage_details":{"web_search_calls":9}}})",
                  "application/json")
            .counts.web_searches,
        9);
}

TEST(Meter, ReadsTheProvidersOwnPrice)
{
    EXPECT_EQ(read_text(wire::openai_chat,
                        R"({"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":3.45e-06}})", "")
                  .provider_cost_nano_usd,
              3450);
    EXPECT_EQ(read_text(wire::openai_images, R"({"usage":{"cost_in_usd_ticks":700000000}})", "")
                  .provider_cost_nano_usd,
              70000000);
}

TEST(Meter, NotesATotalThatDiffers)
{
    const reading r =
        read_text(wire::openai_responses,
                  R"({"usage":{"input_tokens":3,"output_tokens":1,"total_tokens":9}})", "application/json");
    EXPECT_TRUE(r.total_mismatch);
    EXPECT_EQ(r.provider_total, 9);
    EXPECT_EQ(r.counts.total(), 4);
}

TEST(Meter, DepthHidesNothing)
{
    // A tool call's input is the model's to write, and it may write brackets only.
    const std::string deep(200'000, '[');
    const std::string body = R"({"content":[{"input":)" + deep + std::string(200'000, ']') +
                             R"(}],"usage":{"input_tokens":3,"output_tokens":100000}})";
    EXPECT_EQ(read_text(wire::anthropic_messages, body, "application/json").counts,
              (token_counts{.input = 3, .output = 100000}));
}

TEST(Meter, HostileBytesAreOnlyBytes)
{
    for (const std::string_view body :
         {"{", "}", "[", "]", "\"", "{\"a", "{\"usage\":{\"prompt_tokens\":999999999999999999999999999}}",
          "{\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e400}}", "[[[[", "{\"usage\":[{}]}",
          "data: \\", "data: {\"\\ud800", "\0\0\0\x10", "nul", "{\"usage\":{\"\\u007", "\x1f\x8b\x08"})
    {
        for (int w = 0; w <= static_cast<int>(last_wire); ++w) {
            for (const std::string_view type :
                 {"", "application/json", "text/event-stream", "application/x-ndjson",
                  "application/vnd.amazon.eventstream", "audio/mpeg"})
            {
                const reading r = read_text(static_cast<wire>(w), body, type);
                EXPECT_GE(r.counts.input, 0);
                EXPECT_GE(r.counts.output, 0);
            }
        }
    }
}

}  // namespace keyhole::metering
