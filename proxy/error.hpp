// Why a request is not (or no longer) served. One enumeration; reply.cpp's table turns each into a status, a
// code and a shape. Thread rule: values.
#pragma once

#include <cstdint>
#include <string>

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
/// stays in the log.
struct failure {
    errc code = errc::none;
    std::string message;
    std::string log_detail;
    int retry_after = 0;  ///< seconds; only for true rate limits
    explicit operator bool() const noexcept { return code != errc::none; }
};

}  // namespace keyhole::proxy
