// What a row says of usage that comes later than its answer, or again: responses in the background, batches,
// and whatever is retrieved under the id of a stored object. Each object's usage is billed once. Until its
// last word is seen, the row that made it holds the most that was reserved for it, marked `estimated`; the
// row that sees the last word bills it, and the estimate is given up in the transaction that writes that row.
// So what is never looked at, or only half, is never free, and nothing is counted twice. Thread rule: the
// exchange's worker.
#pragma once

#include "metering/meter.hpp"
#include "metering/record.hpp"

namespace keyhole::proxy {

struct exchange;

/// The answer to a request that made an object: false where it says (or, cut, lets expect) that the work goes
/// on; the row then holds the estimate.
bool is_made_whole(exchange& x, metering::record& row, const metering::reading& seen, bool complete);

/// The answer to a request that looked at one.
void take_stored(exchange& x, metering::record& row, const metering::reading& seen, bool complete);

/// After the row is submitted: budgets follow.
void give_back_estimates(exchange& x, bool settled);

}  // namespace keyhole::proxy
