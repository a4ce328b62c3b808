// The bytes of the one request that a run repeats. Thread rule: pure functions.
#pragma once

#include "bench/load/plan.hpp"

#include <string>

namespace keyhole::bench {

/// A chat completion of exactly plan.body_bytes bytes. Errors: std::invalid_argument where that is too
/// little.
std::string request_body(const plan& p);
std::string request_head(const plan& p);

}  // namespace keyhole::bench
