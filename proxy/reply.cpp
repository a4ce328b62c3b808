#include "proxy/reply.hpp"

#include <array>

namespace keyhole::proxy {
namespace {

struct row {
    errc code;
    int status;
    std::string_view name;
    std::string_view openai_type;
    std::string_view anthropic_type;
    bool may_retry;  ///< false: x-should-retry: false
};

constexpr std::array rows{
    row{errc::none, 500, "internal_error", "server_error", "api_error", false},
    row{errc::bad_request, 400, "bad_request", "invalid_request_error", "invalid_request_error", false},
    row{errc::head_too_large, 431, "head_too_large", "invalid_request_error", "invalid_request_error", false},
    row{errc::body_too_large, 413, "body_too_large", "invalid_request_error", "request_too_large", false},
    row{errc::request_timeout, 408, "request_timeout", "invalid_request_error", "timeout_error", true},
    row{errc::missing_token, 401, "missing_token", "authentication_error", "authentication_error", false},
    row{errc::unknown_token, 403, "unknown_token", "permission_error", "permission_error", false},
    row{errc::session_expired, 403, "session_expired", "permission_error", "permission_error", false},
    row{errc::session_revoked, 403, "session_revoked", "permission_error", "permission_error", false},
    row{errc::conflicting_credentials, 403, "conflicting_credentials", "permission_error", "permission_error",
        false},
    row{errc::too_many_connections, 503, "too_many_connections", "server_error", "overloaded_error", true},
    row{errc::unknown_route, 404, "unknown_route", "invalid_request_error", "not_found_error", false},
    row{errc::method_not_allowed, 405, "method_not_allowed", "invalid_request_error", "invalid_request_error",
        false},
    row{errc::upgrade_required, 426, "upgrade_required", "invalid_request_error", "invalid_request_error",
        false},
    row{errc::provider_not_configured, 503, "provider_not_configured", "server_error", "api_error", false},
    row{errc::provider_not_allowed, 403, "provider_not_allowed", "permission_error", "permission_error",
        false},
    row{errc::model_not_allowed, 403, "model_not_allowed", "permission_error", "permission_error", false},
    row{errc::operation_not_allowed, 403, "operation_not_allowed", "permission_error", "permission_error",
        false},
    row{errc::unknown_object, 404, "unknown_object", "invalid_request_error", "not_found_error", false},
    row{errc::batch_unbounded, 403, "batch_unbounded", "permission_error", "permission_error", false},
    row{errc::model_unpriced, 403, "model_unpriced", "permission_error", "permission_error", false},
    row{errc::budget_exceeded, 402, "budget_exceeded", "insufficient_quota", "billing_error", false},
    row{errc::rate_limited, 429, "rate_limited", "rate_limit_error", "rate_limit_error", true},
    row{errc::concurrency_limited, 429, "concurrency_limited", "rate_limit_error", "rate_limit_error", true},
    row{errc::ledger_unavailable, 503, "ledger_unavailable", "server_error", "overloaded_error", true},
    row{errc::shutting_down, 503, "shutting_down", "server_error", "overloaded_error", true},
    row{errc::provider_unreachable, 502, "provider_unreachable", "server_error", "api_error", true},
    row{errc::provider_timeout, 504, "provider_timeout", "server_error", "timeout_error", true},
    row{errc::provider_bad_answer, 502, "provider_bad_answer", "server_error", "api_error", true},
    row{errc::internal_error, 500, "internal_error", "server_error", "api_error", false},
};

const row& row_of(errc code) noexcept
{
    for (const auto& r : rows)
        if (r.code == code) return r;
    return rows.front();
}

std::string_view reason_of(int status) noexcept
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 402:
        return "Payment Required";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 426:
        return "Upgrade Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Internal Server Error";
    }
}

std::string_view gemini_status(int status) noexcept
{
    switch (status) {
    case 400:
        return "INVALID_ARGUMENT";
    case 401:
        return "UNAUTHENTICATED";
    case 403:
        return "PERMISSION_DENIED";
    case 404:
        return "NOT_FOUND";
    case 402:
    case 429:
        return "RESOURCE_EXHAUSTED";
    case 503:
        return "UNAVAILABLE";
    case 504:
        return "DEADLINE_EXCEEDED";
    default:
        return "INTERNAL";
    }
}

/// What the AWS SDKs make their exception of.
std::string_view bedrock_type(int status) noexcept
{
    switch (status) {
    case 401:
    case 402:
    case 403:
        return "AccessDeniedException";
    case 404:
        return "ResourceNotFoundException";
    case 408:
    case 504:
        return "ModelTimeoutException";
    case 429:
        return "ThrottlingException";
    case 500:
    case 502:
        return "InternalServerException";
    case 503:
        return "ServiceUnavailableException";
    default:
        return "ValidationException";
    }
}

std::string error_body(const row& r, int status, std::string_view name, std::string_view message,
                       const reply_context& context)
{
    std::string out;
    switch (context.api) {
    case config::dialect::anthropic:
        out = R"({"type":"error","error":{"type":")";
        out += r.anthropic_type;
        out += R"(","message":)" + json_quote(message) + R"(,"code":")";
        out += name;
        out += R"("},"request_id":)" + json_quote(context.request_id) + "}";
        return out;
    case config::dialect::gemini:
        out = R"({"error":{"code":)" + std::to_string(status) + R"(,"message":)" + json_quote(message) +
              R"(,"status":")";
        out += gemini_status(status);
        out += R"(","details":[{"reason":")";
        out += name;
        out += R"("}]}})";
        return out;
    case config::dialect::bedrock:
    case config::dialect::cohere:
        out = R"({"message":)" + json_quote(message) + R"(,"code":")";
        out += name;
        out += R"("})";
        return out;
    case config::dialect::ollama:
        out = R"({"error":)" + json_quote(message) + R"(,"code":")";
        out += name;
        out += R"("})";
        return out;
    case config::dialect::openai:
    case config::dialect::azure:
        break;
    }
    out = R"({"error":{"message":)" + json_quote(message) + R"(,"type":")";
    out += r.openai_type;
    out += R"(","param":null,"code":")";
    out += name;
    out += R"("}})";
    return out;
}

bool as_quota(errc code, bool codex) noexcept
{
    return codex && code == errc::budget_exceeded;
}

}  // namespace

std::string json_quote(std::string_view text)
{
    std::string out;
    out.reserve(text.size() + 2);
    out += '"';
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (u < 0x20) {
            constexpr std::string_view hex = "0123456789abcdef";
            out += "\\u00";
            out += hex[u >> 4U];
            out += hex[u & 15U];
        } else
            out += c;
    }
    out += '"';
    return out;
}

int status_of(errc code, bool codex) noexcept
{
    return as_quota(code, codex) ? 429 : row_of(code).status;
}

std::string_view code_of(errc code) noexcept
{
    return row_of(code).name;
}

std::string reply_with(int status, std::string_view content_type, std::string_view body,
                       const reply_context& context, std::string_view extra_fields)
{
    std::string out;
    out.reserve(256 + extra_fields.size() + body.size());
    out += "HTTP/1.1 " + std::to_string(status) + ' ';
    out += reason_of(status);
    out += "\r\n";
    if (!content_type.empty()) {
        out += "content-type: ";
        out += content_type;
        out += "\r\n";
    }
    if (status != 204) out += "content-length: " + std::to_string(body.size()) + "\r\n";
    out += extra_fields;
    if (!context.request_id.empty()) {
        out += "x-keyhole-request-id: ";
        out += context.request_id;
        out += "\r\n";
    }
    out += context.keep_alive ? "\r\n" : "connection: close\r\n\r\n";
    if (!context.head_request && status != 204) out += body;
    return out;
}

std::string reply_to(const failure& why, const reply_context& context)
{
    const row& r = row_of(why.code());
    const bool quota = as_quota(why.code(), context.codex);
    const int status = status_of(why.code(), context.codex);
    std::string extra;
    if (!r.may_retry) extra += "x-should-retry: false\r\n";
    if (why.retry_after() > 0) extra += "retry-after: " + std::to_string(why.retry_after()) + "\r\n";
    if (context.api == config::dialect::bedrock) {
        extra += "x-amzn-errortype: ";
        extra += bedrock_type(status);
        extra += "\r\n";
    }
    if (why.code() == errc::upgrade_required) extra += "upgrade: HTTP/1.1\r\n";
    if (context.api == config::dialect::anthropic && !context.request_id.empty()) {
        extra += "request-id: ";
        extra += context.request_id;
        extra += "\r\n";
    }
    const auto body = error_body(r, status, quota ? "insufficient_quota" : r.name, why.message(), context);
    return reply_with(status, "application/json", body, context, extra);
}

}  // namespace keyhole::proxy
