// Every answer that the proxy makes itself, in the shape that the agent's SDK understands. Nothing else picks
// status numbers. Statuses are those after which real agents stop instead of storming (docs/decisions/0004):
// budget 402, policy and identity 403, 401 only without any credential, both with x-should-retry: false; true
// rate limits 429 with a retry-after of at most 30 s.
#pragma once

#include "config/providers.hpp"
#include "proxy/error.hpp"

#include <string>
#include <string_view>

namespace keyhole::proxy {

struct reply_context {
    config::dialect api = config::dialect::openai;
    bool codex = false;         ///< originator: codex_*: budget refusals as 429 insufficient_quota
    bool head_request = false;  ///< no body
    bool keep_alive = false;
    std::string_view request_id;  ///< ours
};

/// The status that `reply_to()` uses.
int status_of(errc code, bool codex) noexcept;
/// The machine-readable code, also the metric's label: "budget_exceeded", …
std::string_view code_of(errc code) noexcept;

/// A whole response: head and body.
std::string reply_to(const failure& why, const reply_context& context);

/// A whole response with a body of our own (health, OPTIONS, HEAD probes).
std::string reply_with(int status, std::string_view content_type, std::string_view body,
                       const reply_context& context, std::string_view extra_fields = {});

/// JSON string literal with its quotes.
std::string json_quote(std::string_view text);

}  // namespace keyhole::proxy
