#include "samples.hpp"

#include <zlib.h>

namespace keyhole::metering::samples {

namespace {

constexpr std::string_view sse = "text/event-stream; charset=utf-8";
constexpr std::string_view json = "application/json";

void put(std::string& out, std::uint32_t value, unsigned bytes)
{
    for (unsigned i = bytes; i-- != 0;)
        out.push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * i) & 0xff)));
}

std::uint32_t crc(std::string_view bytes)
{
    return static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

void put_header(std::string& out, std::string_view name, std::string_view value)
{
    put(out, static_cast<std::uint32_t>(name.size()), 1);
    out += name;
    put(out, 7, 1);
    put(out, static_cast<std::uint32_t>(value.size()), 2);
    out += value;
}

std::string chunk(std::string_view event)
{
    return message("chunk", R"({"bytes":")" + base64(event) + R"(","p":"ab"})");
}

std::vector<sample> make()
{
    return {
        {"chat body",
         wire::openai_chat,
         json,
         R"({"id":"chatcmpl-1","model":"m-1","choices":[{"message":{"content":"hi \u00e9"}}],"usage":{"prompt_tokens":100,)"
         R"("completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60,"audio_tokens":10},)"
         R"("completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5}}})",
         {.input = 30,
          .cache_read = 60,
          .output = 25,
          .output_reasoning = 20,
          .input_audio = 10,
          .output_audio = 5},
         usage_source::provider,
         true,
         "m-1",
         5},
        {"chat body after keep-alive blanks",
         wire::openai_chat,
         json,
         "\n   \n\t {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n",
         {.input = 1, .output = 2}},
        {"chat stream",
         wire::openai_chat,
         sse,
         "data: "
         "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"He\"}}],\"usage\":null}\n\n"
         ": keep-alive\n\n"
         "data: "
         "{\"choices\":[{\"delta\":{\"content\":\"llo\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n"
         "data: "
         "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\n"
         "data: [DONE]\n\n",
         {.input = 7, .output = 2},
         usage_source::provider,
         true,
         "m",
         5},
        {"chat stream without usage is unknown, not zero",
         wire::openai_chat,
         sse,
         "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"He\"}}],\"usage\":null}\n\ndata: "
         "[DONE]\n\n",
         {},
         usage_source::none,
         true,
         "m",
         2},
        {"chat stream that counts in every chunk",
         wire::openai_chat,
         sse,
         "data:{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\r\n\r\n"
         "data:{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\r\n\r\n",
         {.input = 7, .output = 3},
         usage_source::provider,
         false},
        {"chat stream with data on several lines, CR only",
         wire::openai_chat,
         sse,
         "data: {\"usage\":\rdata: {\"prompt_tokens\":4,\rdata:\"completion_tokens\":6}}\r\rdata: [DONE]\r\r",
         {.input = 4, .output = 6}},
        {"chat stream cut off behind its last event",
         wire::openai_chat,
         sse,
         "\xEF\xBB\xBF"
         "data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}",
         {.input = 4, .output = 6},
         usage_source::provider,
         false},
        {"Groq",
         wire::openai_chat,
         sse,
         "data: "
         "{\"choices\":[],\"x_groq\":{\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}}\n\ndata: "
         "[DONE]\n\n",
         {.input = 4, .output = 6}},
        {"xAI: reasoning beside completion",
         wire::openai_chat,
         json,
         R"({"usage":{"prompt_tokens":36,"completion_tokens":10,"total_tokens":736,)"
         R"("completion_tokens_details":{"reasoning_tokens":690}}})",
         {.input = 36, .output = 10, .output_reasoning = 690}},
        {"Gemini's compatible endpoint: thinking in the total only",
         wire::openai_chat,
         json,
         R"({"usage":{"prompt_tokens":7,"completion_tokens":12,"total_tokens":402},"model":"gemini-2.5-flash"})",
         {.input = 7, .output = 395},
         usage_source::provider,
         true,
         "gemini-2.5-flash"},
        {"Mistral: audio beside the prompt",
         wire::openai_chat,
         json,
         R"({"usage":{"prompt_tokens":9,"completion_tokens":201,"total_tokens":585,)"
         R"("prompt_tokens_details":{"cached_tokens":0,"audio_tokens":375}}})",
         {.input = 9, .output = 201, .input_audio = 375}},
        {"DeepSeek",
         wire::openai_chat,
         json,
         R"({"usage":{"prompt_tokens":20,"completion_tokens":1,"total_tokens":21,"prompt_cache_hit_tokens":16,)"
         R"("prompt_cache_miss_tokens":4}})",
         {.input = 4, .cache_read = 16, .output = 1}},
        {"OpenRouter's cache writes",
         wire::openai_chat,
         json,
         R"({"usage":{"prompt_tokens":20,"completion_tokens":1,"total_tokens":21,)"
         R"("prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":16},"cost":0.00000345}})",
         {.input = 1, .cache_read = 3, .cache_write_5m = 16, .output = 1}},
        {"embedding",
         wire::openai_embeddings,
         json,
         R"({"data":[{"embedding":[0.1,-2e-3]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}})",
         {.input = 8},
         usage_source::provider,
         true,
         "e"},
        {"rerank: nothing but a total",
         wire::openai_embeddings,
         json,
         R"({"usage":{"total_tokens":8}})",
         {.input = 8}},
        {"responses body",
         wire::openai_responses,
         json,
         R"({"id":"resp_1","model":"m","error":null,"output":[{"content":[{"text":"hi"}]}],"usage":{"input_tokens":10,)"
         R"("input_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"output_tokens":6,)"
         R"("output_tokens_details":{"reasoning_tokens":5},"total_tokens":16}})",
         {.input = 5, .cache_read = 4, .cache_write_5m = 1, .output = 1, .output_reasoning = 5},
         usage_source::provider,
         true,
         "m",
         2},
        {"responses stream that ended incomplete",
         wire::openai_responses,
         sse,
         "event: response.created\ndata: "
         "{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\","
         "\"usage\":null}}\n\n"
         "event: response.output_text.delta\ndata: "
         "{\"type\":\"response.output_text.delta\",\"delta\":\"hello\"}\n\n"
         "event: response.incomplete\ndata: "
         "{\"type\":\"response.incomplete\",\"response\":{\"error\":null,\"usage\":"
         "{\"input_tokens\":9,\"output_tokens\":6,\"total_tokens\":15}}}\n\n",
         {.input = 9, .output = 6},
         usage_source::provider,
         true,
         "m",
         5},
        {"responses stream without its last event",
         wire::openai_responses,
         sse,
         "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
         {},
         usage_source::none,
         false},
        {"messages body",
         wire::anthropic_messages,
         json,
         R"({"id":"msg_1","type":"message","model":"c","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":3,)"
         R"("cache_creation_input_tokens":100,"cache_read_input_tokens":50,"cache_creation":)"
         R"({"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":60},"output_tokens":7,)"
         R"("output_tokens_details":{"thinking_tokens":2},"server_tool_use":{"web_search_requests":2}}})",
         {.input = 3,
          .cache_read = 50,
          .cache_write_5m = 40,
          .cache_write_1h = 60,
          .output = 5,
          .output_reasoning = 2,
          .web_searches = 2},
         usage_source::provider,
         true,
         "c",
         2},
        {"messages stream",
         wire::anthropic_messages,
         sse,
         "event: message_start\ndata: "
         "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"c\",\"usage\":"
         "{\"input_tokens\":25,\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":4,\"output_"
         "tokens\":1}}}\n\n"
         "event: ping\ndata: {\"type\": \"ping\"}\n\n"
         "event: content_block_delta\ndata: "
         "{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hello\"}}\n\n"
         "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":20,"
         "\"cache_read_input_tokens\":null,\"output_tokens\":15}}\n\n"
         "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
         {.input = 20, .cache_read = 4, .cache_write_5m = 5, .output = 15},
         usage_source::provider,
         true,
         "c",
         5},
        {"messages stream without message_stop",
         wire::anthropic_messages,
         sse,
         "data: "
         "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
         {.input = 25, .output = 1},
         usage_source::provider_partial,
         false},
        {"batch results: many answers in one body",
         wire::anthropic_batch_results,
         "application/x-jsonl",
         "{\"custom_id\":\"a\",\"result\":{\"type\":\"succeeded\",\"message\":{\"usage\":{\"input_tokens\":3,"
         "\"output_tokens\":1}}}}\n"
         "{\"custom_id\":\"b\",\"result\":{\"type\":\"errored\"}}\n"
         "{\"custom_id\":\"c\",\"result\":{\"type\":\"succeeded\",\"message\":{\"usage\":{\"input_tokens\":4,"
         "\"output_tokens\":2}}}}\n",
         {.input = 7, .output = 3},
         usage_source::provider,
         false},
        {"Gemini stream",
         wire::gemini,
         sse,
         "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}]}}],\"modelVersion\":\"g\","
         "\"usageMetadata\":{\"promptTokenCount\":30,\"candidatesTokenCount\":9}}\r\n\r\n"
         "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":20,"
         "\"cachedContentTokenCount\":8,\"toolUsePromptTokenCount\":5,\"thoughtsTokenCount\":3,"
         "\"totalTokenCount\":28,"
         "\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":16},{\"tokenCount\":4,\"modality\":"
         "\"AUDIO\"}]}}\r\n\r\n"
         "data: {\"usageMetadata\":{\"trafficType\":\"ON_DEMAND\"}}\r\n\r\n",
         {.input = 13, .cache_read = 8, .output_reasoning = 3, .input_audio = 4},
         usage_source::provider,
         true,
         "g",
         2},
        {"Gemini stream as one array",
         wire::gemini,
         json,
         "[{\"usageMetadata\":{\"promptTokenCount\":2}}\r\n,\r\n{\"usageMetadata\":{\"promptTokenCount\":2,"
         "\"candidatesTokenCount\":1}}]",
         {.input = 2, .output = 1}},
        {"Vertex embeddings",
         wire::gemini_embed,
         json,
         R"({"predictions":[{"embeddings":{"statistics":{"token_count":4,"truncated":false},"values":[1]}},)"
         R"({"embeddings":{"statistics":{"token_count":7}}}]})",
         {.input = 11}},
        {"Gemini interaction",
         wire::gemini_interactions,
         sse,
         "event: interaction.completed\ndata: "
         "{\"event_type\":\"interaction.completed\",\"interaction\":{\"id\":\"v1\","
         "\"model\":\"g\",\"usage\":{\"total_tokens\":60,\"total_input_tokens\":40,\"input_tokens_by_"
         "modality\":"
         "[{\"modality\":\"image\",\"tokens\":30}],\"total_cached_tokens\":0,\"total_output_tokens\":3,"
         "\"total_tool_use_tokens\":10,\"total_thought_tokens\":7}}}\n\nevent: done\ndata: [DONE]\n\n",
         {.input = 20, .output = 3, .output_reasoning = 7, .input_image = 30},
         usage_source::provider,
         true,
         "g"},
        {"Bedrock converse",
         wire::bedrock_converse,
         json,
         R"({"output":{"message":{"content":[{"text":"abc"}]}},"usage":{"inputTokens":5,"outputTokens":4,"totalTokens":109,)"
         R"("cacheReadInputTokens":80,"cacheReadInputTokenCount":80,"cacheWriteInputTokens":20,)"
         R"("cacheDetails":[{"ttl":"1h","inputTokens":15},{"ttl":"5m","inputTokens":5}]}})",
         {.input = 5, .cache_read = 80, .cache_write_5m = 5, .cache_write_1h = 15, .output = 4},
         usage_source::provider,
         true,
         {},
         3},
        {"Bedrock converse stream",
         wire::bedrock_converse,
         "application/vnd.amazon.eventstream",
         message("messageStart", R"({"role":"assistant"})") +
             message("contentBlockDelta", R"({"contentBlockIndex":0,"delta":{"text":"Hi"}})") +
             message("metadata", R"({"usage":{"inputTokens":5,"outputTokens":4,"totalTokens":9}})"),
         {.input = 5, .output = 4},
         usage_source::provider,
         true,
         {},
         2},
        {"Bedrock invoke stream of an Anthropic model",
         wire::bedrock_invoke,
         "application/vnd.amazon.eventstream",
         chunk(
             R"({"type":"message_start","message":{"model":"c","usage":{"input_tokens":3,"output_tokens":1}}})") +
             chunk(R"({"type":"message_delta","usage":{"output_tokens":9}})") +
             chunk(
                 R"({"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}})"),
         {.input = 3, .output = 9},
         usage_source::provider,
         true,
         "c"},
        {"Bedrock invoke stream with nothing but metrics",
         wire::bedrock_invoke,
         "application/vnd.amazon.eventstream",
         chunk(
             R"({"completion":" Hi","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}})"),
         {.input = 3, .output = 2},
         usage_source::provider,
         true,
         {},
         3},
        {"Titan",
         wire::bedrock_invoke,
         json,
         R"({"inputTextTokenCount":3,"results":[{"tokenCount":4,"outputText":"a"},{"tokenCount":5,"outputText":"b"}]})",
         {.input = 3, .output = 9},
         usage_source::provider,
         true,
         {},
         2},
        {"Llama on Bedrock",
         wire::bedrock_invoke,
         json,
         R"({"generation":"xy","prompt_token_count":9,"generation_token_count":26,"stop_reason":"stop"})",
         {.input = 9, .output = 26},
         usage_source::provider,
         true,
         {},
         2},
        {"Cohere on Bedrock",
         wire::bedrock_invoke,
         "application/vnd.amazon.eventstream",
         chunk(R"({"is_finished":false,"event_type":"text-generation","text":"Hi"})") +
             chunk(R"({"is_finished":true,"event_type":"stream-end","response":{"text":"Hi"}})") +
             chunk(R"({"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":1}})"),
         {.input = 3, .output = 1},
         usage_source::provider,
         true,
         {},
         2},
        {"Cohere v2 stream",
         wire::cohere,
         sse,
         "event: message-end\ndata: "
         "{\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":"
         "{\"billed_units\":{\"input_tokens\":2,\"output_tokens\":1},\"tokens\":{\"input_tokens\":70,"
         "\"output_tokens\":5},"
         "\"cached_tokens\":30}}}\n\ndata: [DONE]\n\n",
         {.input = 40, .cache_read = 30, .output = 5}},
        {"Cohere v1 stream",
         wire::cohere,
         "application/stream+json",
         "{\"is_finished\":false,\"event_type\":\"text-generation\",\"text\":\"Hi\"}\n"
         "{\"is_finished\":true,\"event_type\":\"stream-end\",\"response\":{\"text\":\"Hi\",\"meta\":{"
         "\"tokens\":"
         "{\"input_tokens\":70,\"output_tokens\":5}}}}\n",
         {.input = 70, .output = 5},
         usage_source::provider,
         true,
         {},
         2},
        {"Cohere embeddings: billed units, images beside",
         wire::cohere,
         json,
         R"({"meta":{"billed_units":{"input_tokens":7,"image_tokens":10,"images":1}}})",
         {.input = 7, .input_image = 10}},
        {"Ollama stream",
         wire::ollama,
         "application/x-ndjson",
         "{\"model\":\"l\",\"message\":{\"content\":\"Hi\"},\"done\":false}\n"
         "{\"model\":\"l\",\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":26,\"eval_"
         "count\":298}\n",
         {.input = 26, .output = 298},
         usage_source::provider,
         true,
         "l",
         2},
        {"Ollama with a cached prompt",
         wire::ollama,
         json,
         R"({"response":"Hi","done":true,"eval_count":2})",
         {.output = 2},
         usage_source::provider,
         true,
         {},
         2},
        {"images",
         wire::openai_images,
         json,
         R"({"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":50,"output_tokens":4160,"total_tokens":4210,)"
         R"("input_tokens_details":{"text_tokens":10,"image_tokens":40}}})",
         {.input = 10, .input_image = 40, .output_image = 4160}},
        {"transcription",
         wire::openai_audio,
         sse,
         "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\n"
         "data: "
         "{\"type\":\"transcript.text.done\",\"text\":\"Hi\",\"usage\":{\"type\":\"tokens\",\"total_tokens\":"
         "49,"
         "\"input_tokens\":37,\"input_token_details\":{\"text_tokens\":2,\"audio_tokens\":35},\"output_"
         "tokens\":12}}\n\n",
         {.input = 2, .output = 12, .input_audio = 35},
         usage_source::provider,
         true,
         {},
         2},
        {"transcription by seconds",
         wire::openai_audio,
         json,
         R"({"text":"Hi","usage":{"type":"duration","seconds":7}})",
         {},
         usage_source::none,
         true,
         {},
         2},
        {"moderation",
         wire::openai_moderations,
         json,
         R"({"id":"modr-1","model":"omni","results":[]})",
         {},
         usage_source::none,
         true,
         "omni"},
        {"assistants run",
         wire::openai_assistants,
         sse,
         "event: thread.run.step.delta\ndata: "
         "{\"object\":\"thread.run.step.delta\",\"delta\":{\"step_details\":"
         "{\"tool_calls\":[{\"code_interpreter\":{\"input\":\"1+\"}}]}}}\n\n"
         "event: thread.message.delta\ndata: {\"object\":\"thread.message.delta\",\"delta\":{\"content\":"
         "[{\"type\":\"text\",\"text\":{\"value\":\"two\"}}]}}\n\n"
         "event: thread.run.step.completed\ndata: "
         "{\"id\":\"step_1\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n"
         "event: thread.run.completed\ndata: "
         "{\"id\":\"run_1\",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,"
         "\"total_tokens\":7,\"prompt_token_details\":{\"cached_tokens\":1}}}\n\nevent: done\ndata: "
         "[DONE]\n\n",
         {.input = 4, .cache_read = 1, .output = 2},
         usage_source::provider,
         true,
         {},
         5},
        {"watsonx",
         wire::watsonx,
         sse,
         "data: {\"model_id\":\"w\",\"results\":[{\"generated_token_count\":0,\"input_token_count\":8}]}\n\n"
         "data: "
         "{\"results\":[{\"generated_text\":\"a\",\"generated_token_count\":1,\"input_token_count\":0}]}\n\n",
         {.input = 8, .output = 1},
         usage_source::provider,
         false,
         "w",
         1},
        {"counting tokens is not using them",
         wire::none,
         json,
         R"({"input_tokens":500,"usage":{"input_tokens":3}})",
         {},
         usage_source::none,
         false},
    };
}

}  // namespace

std::string base64(std::string_view bytes)
{
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t j = 0; j < 3; ++j)
            group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
        for (std::size_t j = 0; j < 4; ++j)
            out.push_back(i + j > bytes.size() ? '=' : digits[group >> (18 - 6 * j) & 63]);
    }
    return out;
}

std::string message(std::string_view event_type, std::string_view payload, std::string_view message_type)
{
    std::string headers;
    put_header(headers, message_type == "event" ? ":event-type" : ":exception-type", event_type);
    put_header(headers, ":content-type", "application/json");
    put_header(headers, ":message-type", message_type);
    std::string out;
    put(out, static_cast<std::uint32_t>(16 + headers.size() + payload.size()), 4);
    put(out, static_cast<std::uint32_t>(headers.size()), 4);
    put(out, crc(out), 4);
    out += headers;
    out += payload;
    put(out, crc(out), 4);
    return out;
}

const std::vector<sample>& all()
{
    static const std::vector<sample> samples = make();
    return samples;
}

}  // namespace keyhole::metering::samples
