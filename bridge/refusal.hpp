// The answer an agent gets when the proxy cannot be reached: HTTP/1.1 503 with a JSON body that both OpenAI's
// and Anthropic's clients show to the person. The only HTTP the bridge knows.
#pragma once

#include "bridge/upstream.hpp"

#include <string>

namespace keyhole::bridge {

std::string make_refusal(const upstream_problem& problem);

}  // namespace keyhole::bridge
