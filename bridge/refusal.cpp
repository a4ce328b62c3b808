#include "bridge/refusal.hpp"

namespace keyhole::bridge {
namespace {

// A path may hold any byte; JSON may not.
void add_json_text(std::string& out, std::string_view text)
{
    constexpr char hex[] = "0123456789abcdef";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte >= 0x7F) {
            out += "\\u00";
            out += hex[byte >> 4];
            out += hex[byte & 15];
        } else
            out += c;
    }
}

}  // namespace

std::string make_refusal(const upstream_problem& problem)
{
    std::string body = R"({"type":"error","error":{"type":"api_error","code":")";
    add_json_text(body, problem.code);
    body += R"(","message":"keyhole-bridge: )";
    add_json_text(body, problem.cause);
    body += "; ";
    add_json_text(body, problem.remedy);
    body += R"(","cause":")";
    add_json_text(body, problem.cause);
    body += R"(","remedy":")";
    add_json_text(body, problem.remedy);
    body += "\"}}\n";
    return "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: "
           "close\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace keyhole::bridge
