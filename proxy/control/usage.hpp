// What requests about the books share: the question in a query, and the prices to look at history with.
// Thread rule: plain functions of a request.
#pragma once

#include "metering/ledger.hpp"
#include "metering/prices.hpp"
#include "metering/reprice.hpp"
#include "proxy/control/api.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace keyhole::proxy::admin {

/// Throws std::invalid_argument. `grouped`: sums (by), else rows (after).
metering::usage_query query_of(const admin_request& r, bool grouped);
/// The prices in force with the request's body, a price file of Keyhole's format, laid over them; throws
/// admin_error (400).
metering::price_table prices_of(const control_surface& c, const admin_request& r);
/// The value of a time parameter; throws std::invalid_argument.
std::int64_t time_of(const std::string& name, const std::string& text, std::int64_t now_us);
/// What was answered before this question is in its answer, unless the disk is stuck: then it stands in the
/// journal.
void catch_up(control_surface& c);

/// What history costs by provider and model, as booked and at other prices.
nlohmann::json repriced_json(const std::vector<metering::repriced>& groups);

}  // namespace keyhole::proxy::admin
