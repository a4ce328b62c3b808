#include "bridge/refusal.hpp"

#include "bridge/json_text.hpp"

namespace keyhole::bridge {

std::string make_refusal(const upstream_problem& problem)
{
    std::string body = R"({"type":"error","error":{"type":"api_error","code":")";
    sys::append_json_text(body, problem.code);
    body += R"(","message":"keyhole-bridge: )";
    sys::append_json_text(body, problem.cause);
    body += "; ";
    sys::append_json_text(body, problem.remedy);
    body += R"(","cause":")";
    sys::append_json_text(body, problem.cause);
    body += R"(","remedy":")";
    sys::append_json_text(body, problem.remedy);
    body += "\"}}\n";
    return "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: "
           "close\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace keyhole::bridge
