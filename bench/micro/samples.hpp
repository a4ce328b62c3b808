// What the micro-benchmarks feed: the shapes that agents and providers send. Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <string>

namespace keyhole::bench {

inline std::string stream_event()
{
    return R"(data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",)"
           R"("service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" keyhole"},)"
           R"("logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a1B2c3D4e5"})"
           "\n\n";
}

inline std::string usage_object()
{
    return R"("usage":{"prompt_tokens":2048,"completion_tokens":120,"total_tokens":2168,"prompt_tokens_details":{"cached_tokens":64,)"
           R"("audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}})";
}

/// A stream of `events` content events, the usage event and [DONE].
inline std::string stream(std::size_t events)
{
    std::string out;
    for (std::size_t i = 0; i < events; ++i)
        out += stream_event();
    return out +
           R"(data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[],)" +
           usage_object() + "}\n\ndata: [DONE]\n\n";
}

inline std::string prose(std::size_t bytes)
{
    std::string out;
    while (out.size() < bytes)
        out += "the keyhole shows a room and what stands in it, ";
    out.resize(bytes);
    return out;
}

inline std::string json_answer()
{
    return R"({"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,)"
           R"("message":{"role":"assistant","content":")" +
           prose(420) + R"("},"finish_reason":"stop"}],)" + usage_object() + "}";
}

/// A chat request of about `bytes` bytes with line ends and quotes in its text.
inline std::string prompt(std::size_t bytes)
{
    std::string body = R"({"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":")";
    while (body.size() + 64 < bytes)
        body += R"(int main()\n{\n    return run(\"keyhole\");\n}\n and some prose. )";
    return body += R"("}]})";
}

}  // namespace keyhole::bench
