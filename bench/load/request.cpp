#include "bench/load/request.hpp"

#include <stdexcept>
#include <string_view>

namespace keyhole::bench {
namespace {

// What agents send: text with quotes, line ends and code in it, so that a scanner of JSON meets its escapes.
constexpr std::string_view sample =
    "Read src/main.cpp and tell me why \\\"connect\\\" fails.\\n\\n```cpp\\nint main(int argc, char** "
    "argv)\\n{\\n    return run(argc, "
    "argv);\\n}\\n```\\nThe log says: {\\\"level\\\": \\\"error\\\", \\\"path\\\": \\\"C:\\\\\\\\temp\\\"}. ";
constexpr std::size_t turn_bytes = 4096;

}  // namespace

std::string request_body(const plan& p)
{
    std::string start = R"({"model":")" + p.model + R"(",)";
    if (p.stream) start += R"("stream":true,"stream_options":{"include_usage":true},)";
    start +=
        R"("messages":[{"role":"system","content":"You are a helpful engineer."},{"role":"user","content":")";
    const std::string_view end = R"("}]})";
    const std::string_view turn = R"("},{"role":"user","content":")";
    if (start.size() + end.size() > p.body_bytes)
        throw std::invalid_argument{"--body is too small for a request"};
    std::string body = std::move(start);
    body.reserve(p.body_bytes);
    const auto room = [&] { return p.body_bytes - end.size() - body.size(); };
    std::size_t in_turn = 0;
    while (room() >= sample.size() + turn.size()) {
        body += sample;
        in_turn += sample.size();
        if (in_turn < turn_bytes) continue;
        body += turn;
        in_turn = 0;
    }
    body.append(room(), 'x');
    return body += end;
}

std::string request_head(const plan& p)
{
    std::string head = "POST " + p.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + p.token +
                       "\r\nContent-Type: application/json\r\nAccept: */*\r\nUser-Agent: keyhole-bench\r\n";
    if (!p.script.empty()) head += "X-Bench-Script: " + p.script + "\r\n";
    for (const auto& h : p.headers)
        head += h + "\r\n";
    if (p.new_connections) head += "Connection: close\r\n";
    return head + "Content-Length: " + std::to_string(p.body_bytes) + "\r\n\r\n";
}

}  // namespace keyhole::bench
