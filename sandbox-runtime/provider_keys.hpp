// The tripwire's eye: does a value look like a real key of a model provider? A sandbox with one has no need
// of a proxy, and no safety.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keyhole::runtime {

/// Keys of OpenAI, Anthropic and the many that copy their form (sk-…), Google (AIza…), Groq (gsk_…), xAI
/// (xai-…) and Bedrock (ABSK…), alone or inside a header list. Placeholders (sk-test, sk-xxxx…) and session
/// tokens (kh_…, session-…) are none.
bool looks_like_provider_key(std::string_view value) noexcept;

/// Whether a session token of this proxy's (kh_ and 32 or more characters) is somewhere in it.
bool holds_session_token(std::string_view value) noexcept;

/// A secret among the words of the agent's command, which everybody in the container may read: where it
/// stands and what helps, never what it is; empty: none. `allowed` may hold `arguments` (provider's keys) and
/// `session_token`; `token` is this session's, or empty.
std::string find_secret_argument(const std::vector<std::string>& words,
                                 const std::vector<std::string>& allowed, std::string_view token);

}  // namespace keyhole::runtime
