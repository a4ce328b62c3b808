// What the ledger answers. Each call opens a read-only connection of its own, so a long export never delays
// the writer, and a query needs no ledger object (the command line reads a running proxy's database this
// way). Thread rule: any thread that may wait for the disk. Throws std::runtime_error with the cause.
#pragma once

#include "metering/ledger.hpp"

namespace keyhole::metering::queries {

/// A row's time is the time it ended at (that is when it was billed); `until_us` is exclusive.
std::vector<std::pair<std::string, usage_sum>> usage(const std::string& path, const usage_query& q);
std::vector<record> rows(const std::string& path, const usage_query& q);
void each_row(const std::string& path, const usage_query& q, const std::function<bool(const record&)>& each);
/// `waiting`: rows of that object that are not committed yet, or were a moment ago.
ledger::object_usage usage_of(const std::string& path, std::string_view answer_id, std::string_view provider,
                              std::vector<record> waiting);
bool answer_billed(const std::string& path, std::string_view answer_id);
/// Session and account of the first row with that answer id (both empty: there is none), and the largest
/// row's tokens.
ledger::maker made_by(const std::string& path, std::string_view answer_id);

}  // namespace keyhole::metering::queries
