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

TEST(Meter, CountsTheSearchesOfServerTools)
{
    const auto searches = [](wire w, std::string_view body, std::string_view type = "application/json") {
        return read_text(w, body, type).counts.web_searches;
    };
    const std::string grounded =
        R"({"candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"],"groundingChunks":[{}]},)"
        R"("finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3}})";
    EXPECT_EQ(searches(wire::gemini, grounded), 2);
    // Later events of a stream repeat them.
    EXPECT_EQ(searches(wire::gemini, "data: " + grounded + "\r\n\r\ndata: " + grounded + "\r\n\r\n",
                       "text/event-stream"),
              2);
    EXPECT_EQ(searches(wire::gemini, R"({"usageMetadata":{"promptTokenCount":7}})"), 0);
    const std::string xai = R"("server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":3}}})";
    EXPECT_EQ(searches(wire::openai_chat, R"({"usage":{"prompt_tokens":1,"num_sources_used":0,)" + xai), 5);
    EXPECT_EQ(searches(wire::openai_responses, R"({"usage":{"input_tokens":1,)" + xai), 5);
    EXPECT_EQ(searches(wire::openai_chat, R"({"usage":{"prompt_tokens":1,"num_sources_used":4}})"), 4);
}

TEST(Meter, ABrokenRecordOfNdjsonHidesNoOther)
{
    const std::string_view body = "{\"model\":\"m\",\"done\":false}\nGARBAGE{\n"
                                  "{\"done\":true,\"prompt_eval_count\":4,\"eval_count\":9}\n";
    for (const auto* type : {"application/json", "application/x-ndjson", ""}) {
        const reading r = read_text(wire::ollama, body, type);
        EXPECT_EQ(r.counts, (token_counts{.input = 4, .output = 9})) << type;
        EXPECT_EQ(r.source, usage_source::provider) << type;
        EXPECT_TRUE(r.damaged) << type;
    }
}

TEST(Meter, SaysWhyItCouldNotRead)
{
    const auto why = [](std::string_view coding, std::string_view body) {
        meter m{wire::openai_chat, {.content_type = "application/json", .content_encoding = coding}};
        m.feed(body);
        return std::string(m.finish(true).unread);
    };
    EXPECT_EQ(why("compress", "xx"), "unknown_coding");
    EXPECT_EQ(why("gzip", "\x1f\x8b\x08 no more of it"), "undecodable");
    // A frame whose window is larger than any HTTP sender's may be (2 GiB).
    EXPECT_EQ(why("zstd", std::string_view("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00x", 10)), "undecodable");
    EXPECT_EQ(why("none", R"({"usage":{}})"), "");
}

TEST(Meter, FastModeIsATierOfItsOwn)
{
    const auto tier = [](std::string_view usage) {
        return read_text(wire::anthropic_messages,
                         R"({"usage":{"input_tokens":1,"output_tokens":2,)" + std::string(usage) + "}}",
                         "application/json")
            .service_tier;
    };
    EXPECT_EQ(tier(R"("speed":"fast","service_tier":"standard")"), "fast");
    EXPECT_EQ(tier(R"("service_tier":"standard","speed":"fast")"), "fast");
    EXPECT_EQ(tier(R"("service_tier":"priority","speed":"standard")"), "priority");
    EXPECT_EQ(tier(R"("service_tier":"batch","speed":null)"), "batch");
    const reading r = read_text(
        wire::anthropic_messages,
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"speed\":\"fast\","
        "\"service_tier\":\"standard\"}}}\n\n"
        "data: "
        "{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":2,\"service_tier\":\"standard\"}}\n\n",
        "text/event-stream");
    EXPECT_EQ(r.service_tier, "fast");
}

TEST(Meter, TakesBedrocksTierFromTheHead)
{
    meter m{wire::bedrock_invoke, {.service_tier = "priority"}};
    m.feed(R"({"usage":{"input_tokens":1,"output_tokens":2}})");
    EXPECT_EQ(m.finish(true).service_tier, "priority");
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

TEST(Meter, ReadsWholeNumbersHoweverTheyAreWritten)
{
    for (const auto* usage :
         {R"("prompt_tokens":10.0,"completion_tokens":5,"total_tokens":15)",
          R"("prompt_tokens":1e1,"completion_tokens":5.0,"total_tokens":1.5e1)",
          R"("prompt_tokens":"10","completion_tokens":5,"total_tokens":"15")",
          R"("prompt_tokens":10,"completion_tokens":5,"total_tokens":null,"reasoning_tokens":null)"})
    {
        const reading r = read_text(wire::openai_chat, std::string(R"({"usage":{)") + usage + "}}", "");
        EXPECT_EQ(r.counts, (token_counts{.input = 10, .output = 5})) << usage;
        EXPECT_EQ(r.source, usage_source::provider) << usage;
        EXPECT_FALSE(r.total_mismatch) << usage;
    }
    EXPECT_EQ(read_text(wire::gemini_embed,
                        R"({"predictions":[{"embeddings":{"statistics":{"token_count":4.0}}},)"
                        R"({"embeddings":{"statistics":{"token_count":7.0}}}]})",
                        "")
                  .counts,
              (token_counts{.input = 11}));
}

// What can't be read is not nothing: the row must not say that the provider told it.
TEST(Meter, ACountThatIsNoneMakesTheUsageUnknown)
{
    for (const auto* bad : {"2.5", "\"many\"", "true", "1e-3", "\"\""}) {
        const std::string chat =
            std::string(R"({"usage":{"prompt_tokens":)") + bad + R"(,"completion_tokens":5}})";
        EXPECT_EQ(read_text(wire::openai_chat, chat, "").source, usage_source::none) << bad;
        const std::string details =
            std::string(R"({"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":)") +
            R"({"cached_tokens":)" + bad + "}}}";
        EXPECT_EQ(read_text(wire::openai_chat, details, "").source, usage_source::none) << bad;
        const std::string stream = R"(data: {"usage":{"prompt_tokens":1,"completion_tokens":1}})"
                                   "\n\ndata: " +
                                   chat + "\n\n";
        const reading cut = read_text(wire::openai_chat, stream, "text/event-stream");
        EXPECT_EQ(cut.source, usage_source::none) << bad;
        EXPECT_EQ(cut.counts, token_counts{}) << bad;
        const reading again =
            read_text(wire::openai_chat,
                      stream + R"(data: {"usage":{"prompt_tokens":3,"completion_tokens":2}})" + "\n\n",
                      "text/event-stream");
        EXPECT_EQ(again.counts, (token_counts{.input = 3, .output = 2})) << bad;
        const std::string results =
            std::string(R"({"predictions":[{"embeddings":{"statistics":{"token_count":)") + bad +
            R"(}}},{"embeddings":{"statistics":{"token_count":7}}}]})";
        EXPECT_EQ(read_text(wire::gemini_embed, results, "").source, usage_source::none) << bad;
    }
}

// A guardrail's answer, which no model gave.
TEST(Meter, ACountWithAFractionIsNoneOfTitans)
{
    EXPECT_EQ(
        read_text(wire::bedrock_invoke, R"({"inputTextTokenCount":6.0,"totalOutputTextTokenCount":3.0})", "")
            .source,
        usage_source::none);
}

TEST(Meter, ATotalBeyondItsPartsIsOutputOfGooglesOnly)
{
    const auto read_of = [](std::string_view model, std::string_view usage) {
        return read_text(wire::openai_chat,
                         R"({"usage":{)" + std::string(usage) + R"(},"model":")" + std::string(model) +
                             R"("})",
                         "application/json");
    };
    constexpr std::string_view usage = R"("prompt_tokens":10,"completion_tokens":5,"total_tokens":100)";
    for (const auto* model : {"gpt-4o", "mistral-small", "a-gemini"}) {
        const reading r = read_of(model, usage);
        EXPECT_EQ(r.counts, (token_counts{.input = 10, .output = 5})) << model;
        EXPECT_TRUE(r.total_mismatch) << model;
    }
    for (const auto* model :
         {"gemini-2.5-pro", "google/gemini-2.5-flash", "models/Gemini-3", "gemma-3-27b-it", ""})
    {
        const reading r = read_of(model, usage);
        EXPECT_EQ(r.counts, (token_counts{.input = 10, .output = 90})) << model;
        EXPECT_FALSE(r.total_mismatch) << model;
    }
    const reading voxtral =
        read_of("voxtral-mini", R"("prompt_audio_seconds":203,"prompt_tokens":4,"completion_tokens":635,)"
                                R"("total_tokens":3264)");
    EXPECT_EQ(voxtral.counts, (token_counts{.input = 4, .output = 635}));
    EXPECT_TRUE(voxtral.total_mismatch);
}

// A total alone is input only where nothing else of the usage is known, under whichever of its names.
TEST(Meter, ATotalStandsBehindPartsThatAreNamedOtherwise)
{
    struct told {
        wire format;
        std::string_view usage;
        token_counts counts;
        bool mismatch = false;
    };
    constexpr token_counts both{.input = 10, .output = 5};
    for (
        const auto& [format, usage, counts, mismatch] : {
            told{wire::openai_chat, R"("input_tokens":10,"output_tokens":5,"total_tokens":15)", both},
            told{wire::openai_chat, R"("total_tokens":15,"output_tokens":5,"input_tokens":10)", both},
            told{wire::openai_completions, R"("input_tokens":10,"output_tokens":5,"total_tokens":15)", both},
            told{wire::openai_images, R"("prompt_tokens":10,"completion_tokens":5,"total_tokens":15)", both},
            told{wire::openai_audio, R"("prompt_tokens":10,"completion_tokens":5,"total_tokens":15)", both},
            told{wire::openai_responses, R"("prompt_tokens":10,"completion_tokens":5,"total_tokens":15)",
                 both},
            told{
                wire::openai_chat,
                R"("prompt_tokens":0,"completion_tokens":0,"total_tokens":15,"input_tokens":10,"output_tokens":5)",
                both},
            told{
                wire::openai_chat,
                R"("prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"input_tokens":0,"output_tokens":0)",
                both},
            told{wire::openai_chat, R"("total_tokens":15)", {.input = 15}},
            told{wire::openai_embeddings, R"("total_tokens":15)", {.input = 15}},
            told{wire::openai_embeddings, R"("input_tokens":10,"total_tokens":10)", {.input = 10}},
            told{wire::openai_moderations, R"("input_tokens":10,"total_tokens":10)", {.input = 10}},
            told{wire::openai_chat, R"("prompt_tokens":0,"completion_tokens":0,"total_tokens":15)", {}, true},
        })
    {
        const reading r =
            read_text(format, R"({"model":"m","usage":{)" + std::string(usage) + "}}", "application/json");
        EXPECT_EQ(r.counts, counts) << usage;
        EXPECT_EQ(r.source, usage_source::provider) << usage;
        EXPECT_EQ(r.total_mismatch, mismatch) << usage;
    }
    const reading later = read_text(wire::openai_chat,
                                    R"(data: {"usage":{"prompt_tokens":10,"completion_tokens":5}})"
                                    "\n\n"
                                    R"(data: {"usage":{"total_tokens":15}})"
                                    "\n\n",
                                    "text/event-stream");
    EXPECT_EQ(later.counts, both) << "a total in a later event takes no known parts away";
}

// The rows of what is billed by the piece tell no tokens, and still cost something.
TEST(Meter, CountsThePagesOfADocumentAndNoTokens)
{
    const reading r = read_text(wire::mistral_ocr,
                                R"({"pages":[{"index":0,"markdown":"a"}],"model":"mistral-ocr-latest",)"
                                R"("usage_info":{"pages_processed":29,"doc_size_bytes":3002783}})",
                                "application/json");
    EXPECT_EQ(r.counts, (token_counts{.web_searches = 29}));
    EXPECT_EQ(r.source, usage_source::none);
    EXPECT_EQ(r.model, "mistral-ocr-latest");
}

TEST(Meter, KnowsAnEventStreamOfAmazonsUnderAnyLabel)
{
    for (const sample& s : samples::all()) {
        if (s.content_type != "application/vnd.amazon.eventstream") continue;
        for (const auto* label : {"application/json", "text/event-stream", "x/y", ""}) {
            sample other = s;
            other.content_type = label;
            EXPECT_TRUE(same(read(s), read(other))) << s.name << " as " << label;
        }
    }
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
