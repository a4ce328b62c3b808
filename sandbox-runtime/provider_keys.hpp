// The tripwire's eye: does a value look like a real key of a model provider? A sandbox with one has no need
// of a proxy, and no safety.
#pragma once

#include <string_view>

namespace keyhole::runtime {

/// Keys of OpenAI, Anthropic and the many that copy their form (sk-…), Google (AIza…), Groq (gsk_…), xAI
/// (xai-…) and Bedrock (ABSK…), alone or inside a header list. Placeholders (sk-test, sk-xxxx…) and session
/// tokens (kh_…, session-…) are none.
bool looks_like_provider_key(std::string_view value) noexcept;

/// Whether a session token of this proxy's (kh_ and 32 or more characters) is somewhere in it.
bool holds_session_token(std::string_view value) noexcept;

}  // namespace keyhole::runtime
