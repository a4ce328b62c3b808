// Long streams with and without known forms: fed whole, most events match a form; byte by byte, none does.
// The reading is the same to the last field.
#include "samples.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace keyhole::metering {
namespace {

reading read(wire w, std::string_view body, std::size_t step)
{
    meter m{w, {.content_type = "text/event-stream"}};
    for (std::size_t i = 0; i < body.size(); i += step)
        m.feed(std::string{body.substr(i, step)});
    return m.finish(true);
}

void expect_equal(const reading& a, const reading& b)
{
    EXPECT_EQ(a.counts, b.counts);
    EXPECT_EQ(a.source, b.source);
    EXPECT_EQ(a.provider_total, b.provider_total);
    EXPECT_EQ(a.total_mismatch, b.total_mismatch);
    EXPECT_EQ(a.terminal, b.terminal);
    EXPECT_EQ(a.error_event, b.error_event);
    EXPECT_EQ(a.error_type, b.error_type);
    EXPECT_EQ(a.model, b.model);
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.service_tier, b.service_tier);
    EXPECT_EQ(a.provider_cost_nano_usd, b.provider_cost_nano_usd);
    EXPECT_EQ(a.text, b.text);
    EXPECT_EQ(a.beyond, b.beyond);
    EXPECT_EQ(a.beyond_model, b.beyond_model);
    EXPECT_EQ(a.damaged, b.damaged);
}

/// Events of several wires, with $ for a text, # for a number and % for an id.
constexpr std::string_view chat[] = {
    R"({"id":"%","object":"chat.completion.chunk","created":#,"model":"m","service_tier":"default","choices":[{"index":0,"delta":{"content":"$"},"finish_reason":null}],"usage":null,"obfuscation":"%"})",
    R"({"id":"%","model":"m","service_tier":"flex","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"$"}}]}}]})",
    R"({"id":"%","model":"other","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"%","function":{"name":"$","arguments":""}}]}}]})",
    R"({"id":"%","model":"m","choices":[],"usage":{"prompt_tokens":#,"completion_tokens":#,"total_tokens":#}})",
    R"({"error":{"message":"$","type":"overloaded"}})",
    R"({"id":"%","service_tier":"default","choices":[],"usage":{"prompt_tokens":#,"service_tier":"%"}})",
    R"({"id":"%","choices":[],"usage":{"prompt_tokens":#,"service_tier":"%"},"service_tier":"scale"})",
};
constexpr std::string_view messages[] = {
    R"({"type":"content_block_delta","index":#,"delta":{"type":"text_delta","text":"$"}})",
    R"({"type":"content_block_delta","index":#,"delta":{"type":"input_json_delta","partial_json":"$"}})",
    R"({"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"%"}})",
    R"({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":#,"output_tokens":#}})",
    R"({"type":"content_block_start","index":#,"content_block":{"type":"tool_use","id":"%","name":"%"}})",
};
constexpr std::string_view gemini[] = {
    R"({"candidates":[{"content":{"parts":[{"text":"$"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":#,"candidatesTokenCount":#,"totalTokenCount":#,"promptTokensDetails":[{"modality":"TEXT","tokenCount":#}]},"modelVersion":"%","responseId":"%"})",
    R"({"candidates":[{"content":{"parts":[{"text":"$"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":#,"trafficType":"%"}})",
    R"({"candidates":[{"content":{"parts":[{"functionCall":{"name":"%","args":{"a":"$"}},"thoughtSignature":"%"}]}}]})",
};
constexpr std::string_view responses[] = {
    R"({"type":"response.output_text.delta","sequence_number":#,"item_id":"%","delta":"$","logprobs":[],"obfuscation":"%"})",
    R"({"type":"response.function_call_arguments.delta","sequence_number":#,"delta":"$"})",
    R"({"type":"response.output_item.added","sequence_number":#,"item":{"type":"reasoning","encrypted_content":"%"}})",
    R"({"type":"response.output_item.done","sequence_number":#,"item":{"type":"reasoning","encrypted_content":"%"}})",
    R"({"type":"response.completed","response":{"id":"%","output":[{"type":"web_search_call","action":{"type":"search"}}],"usage":{"input_tokens":#,"output_tokens":#,"total_tokens":#}}})",
};

template <std::size_t N>
std::string stream_of(const std::string_view (&events)[N], bool named, unsigned seed)
{
    std::mt19937 random{seed};
    const auto below = [&](std::size_t n) { return random() % n; };
    constexpr std::string_view texts[] = {
        "",        " key",     "hole",    "\\n\\n",         "say \\\"hi\\\"",
        "\\u00e9", "\xC3\xA9", "1234567", "\\ud83d\\ude00", " {\\\\}"};
    const std::string line_end = below(4) == 0 ? "\r\n" : "\n";
    std::string out;
    std::size_t kind = 0;
    for (std::size_t n = 60 + below(60); n != 0; --n) {
        // Events come in runs, as in life.
        if (below(3) == 0) kind = below(N);
        const auto& event = events[kind];
        if (named) out += "event: " + std::string{below(40) == 0 ? "error" : "delta"} + line_end;
        out += "data: ";
        for (const char c : event) {
            if (c == '$')
                for (std::size_t words = below(4); words != 0; --words)
                    out += texts[below(std::size(texts))];
            else if (c == '#')
                out += std::to_string(below(3) == 0 ? below(100'000) : 7);
            else if (c == '%')
                out += below(2) == 0 ? "same" : "id-" + std::to_string(below(1'000'000));
            else
                out += c;
        }
        out += line_end + line_end;
        if (below(30) == 0) out += ": ping" + line_end + line_end;
        if (below(60) == 0) out += "data: {\"broken\":" + line_end + line_end;
    }
    if (below(2) == 0) out += "data: [DONE]" + line_end + line_end;
    return out;
}

template <std::size_t N>
void same_with_and_without_forms(wire w, const std::string_view (&events)[N])
{
    for (unsigned seed = 0; seed < 60; ++seed) {
        const std::string body = stream_of(events, seed % 2 == 0, seed);
        const reading bytes = read(w, body, 1);
        for (const std::size_t step : {body.size(), std::size_t{700}, std::size_t{4096}, std::size_t{61}}) {
            SCOPED_TRACE(testing::Message() << "seed " << seed << ", reads of " << step);
            expect_equal(read(w, body, step), bytes);
        }
        if (testing::Test::HasFailure()) return;
    }
}

TEST(KnownEvents, OpenAiChatReadsTheSameWithThem)
{
    same_with_and_without_forms(wire::openai_chat, chat);
}

TEST(KnownEvents, AnthropicMessagesReadsTheSameWithThem)
{
    same_with_and_without_forms(wire::anthropic_messages, messages);
}

TEST(KnownEvents, GeminiReadsTheSameWithThem)
{
    same_with_and_without_forms(wire::gemini, gemini);
}

TEST(KnownEvents, OpenAiResponsesReadsTheSameWithThem)
{
    same_with_and_without_forms(wire::openai_responses, responses);
}

TEST(KnownEvents, EveryTwoReadsOfAStreamWithKnownForms)
{
    std::string body;
    for (const auto* text : {"a", "b\\n", "c"})
        body += std::string{R"(data: {"id":"x","choices":[{"delta":{"content":")"} + text + "\"}}]}\n\n";
    body +=
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
    const reading bytes = read(wire::openai_chat, body, 1);
    EXPECT_EQ(bytes.counts.output, 3);
    for (std::size_t cut = 0; cut <= body.size(); ++cut) {
        meter m{wire::openai_chat, {.content_type = "text/event-stream"}};
        m.feed(std::string{body.substr(0, cut)});
        m.feed(std::string{body.substr(cut)});
        expect_equal(m.finish(true), bytes);
    }
}

}  // namespace
}  // namespace keyhole::metering
