// What a row says of an answer's usage when the answer is over, however it ended: the provider's numbers
// where it gave them, and what is missing estimated and marked. Thread rule: pure.
#pragma once

#include "metering/meter.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace keyhole::metering {

struct best_known {
    token_counts counts;
    usage_source source = usage_source::none;
};

/// What decides beside the reading.
struct answer_context {
    wire format = wire::none;
    bool streamed = false;
    bool complete = false;                                     ///< the answer came to its end
    std::string_view request_body = {};                        ///< JSON, or empty
    std::optional<std::int64_t> counted_input = std::nullopt;  ///< instead: what estimate_input() said of it
    std::int64_t kept_input = 0;                               ///< what the provider keeps and reads with it
};

/// TOKENS_EXACT: `provider` counts stay as they are; a cut answer keeps what the provider said until then,
/// and what it wrote beyond that is estimated.
best_known best_known_usage(const reading& seen, const answer_context& of);

}  // namespace keyhole::metering
