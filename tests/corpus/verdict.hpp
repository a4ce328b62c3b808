// What arrived, and what was entered, against what was sent and what a meter must report. Plain functions.
#pragma once

#include "agent.hpp"
#include "metering/record.hpp"
#include "recorded_provider.hpp"

#include <string>

namespace keyhole::corpus {

/// Byte for byte; empty: the same. `inserted`: the proxy asked for the usage, so its chunk, and nothing else,
/// must be missing.
std::string compare_bytes(const test_case& c, const recorded_answer& sent, const answer& got, bool inserted);

/// The row against expected.json; empty: as it must be. `billed_before`: the same stored answer was retrieved
/// earlier, so this row must not bill it again.
std::string compare_row(const test_case& c, const metering::record& row, bool billed_before);

}  // namespace keyhole::corpus
