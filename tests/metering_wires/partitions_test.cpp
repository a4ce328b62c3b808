// Every one- and two-cut partition of small streams: wherever two reads of the network end, the reading is
// the same. Each wire that streams, and each oddity of framing that providers were seen with.
#include "samples.hpp"

#include <gtest/gtest.h>

namespace keyhole::metering {
namespace {

struct small_stream {
    std::string_view name;
    wire format;
    std::string_view content_type;
    std::string body;
    std::int64_t input;
    std::int64_t output;
    bool terminal = true;
    bool error = false;
};

void PrintTo(const small_stream& s, std::ostream* out)
{
    *out << s.name;
}

const std::string events = "text/event-stream";

reading read(const small_stream& s, std::size_t a, std::size_t b)
{
    meter m{s.format, {.content_type = s.content_type}};
    const std::string_view body{s.body};
    // Copies of exactly that size: a sanitizer sees a read beyond them.
    for (const std::string_view piece : {body.substr(0, a), body.substr(a, b - a), body.substr(b)})
        m.feed(std::string{piece});
    return m.finish(true);
}

std::vector<small_stream> streams()
{
    using samples::message;
    return {
        {"OpenAI chat", wire::openai_chat, events,
         "data: {\"choices\":[{\"delta\":{\"content\":\"h\\u00e9\"}}],\"usage\":null}\n\n"
         "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
         9, 2},
        {"OpenAI completions, usage in every chunk", wire::openai_completions, events,
         "data: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n"
         "data: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
         9, 3},
        {"a byte order mark", wire::openai_chat, events,
         "\xEF\xBB\xBF"
         "data: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
         9, 2},
        {"lone CR", wire::openai_chat, events,
         "event: x\rdata: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\r\rdata: [DONE]\r\r", 9,
         2},
        {"CR LF and comments", wire::openai_chat, events,
         ": ping\r\n\r\ndata: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\r\n\r\n: ping\r\n\r\n"
         "data: [DONE]\r\n\r\n",
         9, 2},
        {"data on several lines", wire::openai_chat, events,
         "data: {\"usage\":\ndata: {\"prompt_tokens\":9,\ndata:\ndata: \"completion_tokens\":2}}\n\ndata: "
         "[DONE]\n\n",
         9, 2},
        {"no blank line at the end", wire::openai_chat, events,
         "data: {\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}", 9, 2,
         false},
        {"Responses", wire::openai_responses, events,
         "event: response.completed\ndata: "
         "{\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"usage\":"
         "{\"input_tokens\":9,\"output_tokens\":2}}}\n\n",
         9, 2},
        {"Responses that failed", wire::openai_responses, events,
         "data: "
         "{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"},\"usage\":{\"input_tokens\":"
         "9,"
         "\"output_tokens\":2}}}\n\n",
         9, 2, true, true},
        {"Anthropic", wire::anthropic_messages, events,
         "data: "
         "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n"
         "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\n\ndata: "
         "{\"type\":\"message_stop\"}\n\n",
         9, 4},
        {"Anthropic, an error in the middle", wire::anthropic_messages, events,
         "data: "
         "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n"
         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
         9, 1, false, true},
        {"Gemini", wire::gemini, events,
         "data: "
         "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{"
         "\"promptTokenCount\":9}}"
         "\n\ndata: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":9,"
         "\"candidatesTokenCount\":2}}\n\n",
         9, 2},
        {"Gemini as one array", wire::gemini, "application/json",
         "[{\"usageMetadata\":{\"promptTokenCount\":9}}\n,\r\n{\"candidates\":[{\"finishReason\":\"STOP\"}],"
         "\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":2}}]\n",
         9, 2},
        {"Ollama", wire::ollama, "application/x-ndjson",
         "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true,\"prompt_eval_count\":9,\"eval_"
         "count\":2}\n",
         9, 2},
        {"Cohere", wire::cohere, events,
         "data: "
         "{\"type\":\"message-end\",\"delta\":{\"usage\":{\"tokens\":{\"input_tokens\":9,\"output_tokens\":2}"
         "}}}\n\n",
         9, 2},
        {"Bedrock converse", wire::bedrock_converse, "application/vnd.amazon.eventstream",
         message("contentBlockDelta", "{\"delta\":{\"text\":\"a\"}}") +
             message("metadata", "{\"usage\":{\"inputTokens\":9,\"outputTokens\":2}}"),
         9, 2},
    };
}

class Partition : public testing::TestWithParam<small_stream> {};

}  // namespace

TEST_P(Partition, EveryOneAndTwoCutPartitionReadsTheSame)
{
    const small_stream& s = GetParam();
    const std::size_t n = s.body.size();
    const reading whole = read(s, n, n);
    EXPECT_EQ(whole.counts.all_input(), s.input);
    EXPECT_EQ(whole.counts.all_output(), s.output);
    EXPECT_EQ(whole.terminal, s.terminal);
    EXPECT_EQ(whole.error_event, s.error);
    EXPECT_FALSE(whole.damaged);
    for (std::size_t a = 0; a <= n; ++a) {
        for (std::size_t b = a; b <= n; ++b) {
            const reading r = read(s, a, b);
            ASSERT_TRUE(r.counts == whole.counts && r.source == whole.source &&
                        r.terminal == whole.terminal && r.error_event == whole.error_event &&
                        r.error_type == whole.error_type && r.text == whole.text && r.id == whole.id &&
                        !r.damaged)
                << s.name << " cut at " << a << " and " << b;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Small, Partition, testing::ValuesIn(streams()), [](const auto& test) {
    std::string name{test.param.name};
    for (char& c : name) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    }
    return name;
});

}  // namespace keyhole::metering
