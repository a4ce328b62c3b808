#include "bench/mock/answers.hpp"

#include <charconv>
#include <cstring>

namespace keyhole::bench {
namespace {

constexpr std::string_view chunk_start =
    R"(data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,)"
    R"("model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_)";
constexpr std::size_t time_digits = 20;

const std::string& filler()
{
    static const std::string text = [] {
        std::string made;
        while (made.size() < 420)
            made += "the keyhole shows a room ";
        made.resize(420);
        return made;
    }();
    return text;
}

std::string& append(std::string& out, std::uint64_t number)
{
    char digits[24];
    const auto [end, ec] = std::to_chars(digits, digits + sizeof digits, number);
    static_cast<void>(ec);
    return out.append(digits, end);
}

std::string& append_usage(std::string& out, const usage_numbers& u)
{
    append(out += R"("usage":{"prompt_tokens":)", u.prompt);
    append(out += R"(,"completion_tokens":)", u.completion);
    append(out += R"(,"total_tokens":)", u.prompt + u.completion);
    append(out += R"(,"prompt_tokens_details":{"cached_tokens":)", u.cached);
    return out +=
           R"(,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}})";
}

void append_chunk(std::string& out, std::string_view data)
{
    char digits[16];
    const auto [end, ec] = std::to_chars(digits, digits + sizeof digits, data.size(), 16);
    static_cast<void>(ec);
    out.append(digits, end).append("\r\n").append(data).append("\r\n");
}

}  // namespace

void write_json_answer(std::string& out, const usage_numbers& usage, bool close)
{
    thread_local std::string body;
    body.assign(
        R"({"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini",)"
        R"("choices":[{"index":0,"message":{"role":"assistant","content":")");
    body.append(filler()).append(R"(","refusal":null},"logprobs":null,"finish_reason":"stop"}],)");
    append_usage(body, usage) += '}';
    out += "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req_bench\r\n";
    if (close) out += "Connection: close\r\n";
    append(out += "Content-Length: ", body.size()).append("\r\n\r\n").append(body);
}

void write_stream_head(std::string& out, bool close)
{
    out += "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
           "X-Request-Id: req_bench\r\nTransfer-Encoding: chunked\r\n";
    out += close ? "Connection: close\r\n\r\n" : "\r\n";
}

std::string_view event_written_at(std::int64_t ns) noexcept
{
    struct prepared {
        std::string bytes;
        std::size_t time_at = 0;
    };
    thread_local prepared event = [] {
        prepared made;
        std::string data{chunk_start};
        data.append(time_digits, '0');
        data +=
            R"(","choices":[{"index":0,"delta":{"content":" keyhole"},"logprobs":null,"finish_reason":null}],)"
            R"("usage":null,"obfuscation":"a1B2c3D4e5"})"
            "\n\n";
        append_chunk(made.bytes, data);
        made.time_at = made.bytes.find("fp_") + 3;
        return made;
    }();
    char digits[24];
    const auto [end, ec] = std::to_chars(digits, digits + sizeof digits, ns);
    static_cast<void>(ec);
    const auto n = static_cast<std::size_t>(end - digits);
    std::memcpy(event.bytes.data() + event.time_at + time_digits - n, digits, n);
    return event.bytes;
}

void write_usage_event(std::string& out, const usage_numbers& usage)
{
    std::string data{chunk_start};
    data.append(time_digits, '0').append(R"(","choices":[],)");
    append_usage(data, usage) += "}\n\n";
    append_chunk(out, data);
}

std::string_view stream_end() noexcept
{
    return "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
}

void write_error(std::string& out, std::string_view status, std::string_view text)
{
    std::string body = R"({"error":{"message":")";
    body.append(text).append(R"(","type":"invalid_request_error","param":null,"code":null}})");
    out.append("HTTP/1.1 ").append(status).append("\r\nContent-Type: application/json\r\n");
    append(out += "Content-Length: ", body.size()).append("\r\n\r\n").append(body);
}

void write_control(std::string& out, std::string_view json)
{
    out += "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    append(out += "Content-Length: ", json.size()).append("\r\n\r\n").append(json);
}

}  // namespace keyhole::bench
