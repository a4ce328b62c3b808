// What step 6 consists of: single requests (reserve.cpp), batches of them (reserve_batch.cpp), and how a
// limit that stands in the way is told (limit_words.cpp). Thread rule: the exchange's worker.
#pragma once

#include "metering/budget.hpp"
#include "proxy/error.hpp"
#include "proxy/exchange.hpp"

#include <cstdint>
#include <string_view>

namespace keyhole::proxy {

/// The refusal as the agent reads it.
/// `never`: the request would not fit an empty window either.
failure explain(const metering::refusal& r, std::int64_t now_us, bool never);
/// Whether the least that a request asks for is more than the whole limit.
bool never_fits(const metering::refusal& r, const metering::demand& least) noexcept;
failure unpriced(std::string_view model);
/// Whether the session may use that model, by name; empty names are refused where only certain ones may be.
failure check_model_name(const exchange& x, std::string_view model);

/// The service tiers that a request asks for outside its body: by a header of the agent's that is sent on, or
/// one that the operator adds (asked_tiers.cpp).
void add_tiers(const exchange& x, metering::request_demand& asked);

/// A batch is held at the sum of its requests' bounds.
failure reserve_batch(exchange& x);

}  // namespace keyhole::proxy
