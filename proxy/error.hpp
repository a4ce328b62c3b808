// Why a request is not (or no longer) served. One enumeration; reply.cpp's table turns each into a status, a
// code and a shape. Thread rule: values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace keyhole::proxy {

enum class errc : std::uint8_t {
    none,
    bad_request,
    head_too_large,
    body_too_large,
    request_timeout,
    missing_token,
    unknown_token,
    session_expired,
    session_revoked,
    conflicting_credentials,
    too_many_connections,
    unknown_route,
    method_not_allowed,
    upgrade_required,
    provider_not_configured,
    provider_not_allowed,
    model_not_allowed,
    operation_not_allowed,
    unknown_object,
    model_unpriced,
    batch_unbounded,
    budget_exceeded,
    rate_limited,
    concurrency_limited,
    ledger_unavailable,
    shutting_down,
    provider_unreachable,
    provider_timeout,
    provider_bad_answer,
    internal_error,
};

/// A refusal on its way to the agent. `message` is text we wrote; `log_detail` may hold what others said and
/// stays in the log. What it says lies elsewhere: frames that wait for minutes have room for many of these,
/// and hardly any request needs one.
class failure {
public:
    failure() noexcept = default;
    /// `retry_after`: seconds; only for true rate limits.
    failure(errc code, std::string message, std::string log_detail, int retry_after)
        : why_(std::make_unique<words>(words{code, retry_after, std::move(message), std::move(log_detail)}))
    {
    }
    explicit operator bool() const noexcept { return why_ != nullptr; }

    // Of one that is set:
    errc code() const noexcept { return why_->code; }
    const std::string& message() const noexcept { return why_->message; }
    const std::string& log_detail() const noexcept { return why_->log_detail; }
    int retry_after() const noexcept { return why_->retry_after; }

private:
    struct words {
        errc code;
        int retry_after;
        std::string message;
        std::string log_detail;
    };
    std::unique_ptr<words> why_;
};

}  // namespace keyhole::proxy
