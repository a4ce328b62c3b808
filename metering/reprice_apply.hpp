// History booked anew: costs and price versions of rows become those of another table, and the roll-ups
// change in the same transaction. A slice at a time on the ledger's own thread. Idempotent: a row that says
// already what the table says is left alone, so what a kill interrupted is simply begun again. Rows of
// unknown usage and what was pruned stay as booked. Thread rule: one thread.
#pragma once

#include "metering/ledger_writer.hpp"
#include "metering/prices.hpp"
#include "metering/reprice.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace keyhole::metering {

/// Rows in the order they ended in.
struct row_place {
    std::int64_t ended_us = 0;
    std::int64_t row = 0;
};

class repricer {
public:
    using clock = std::chrono::steady_clock;
    /// `from`: the place where an earlier one stopped. Stops after `longest`, done or not.
    repricer(usage_query q, price_table prices, row_place from = {},
             std::chrono::milliseconds longest = std::chrono::hours(24));
    /// A few milliseconds of work in a transaction of its own; false: there is no more to do.
    bool slice(ledger_writer& to);

    bool done() const noexcept { return done_; }
    row_place reached() const noexcept { return at_; }
    std::int64_t changed() const noexcept { return changed_; }
    /// Of the rows that were looked at: booked before, and now. Largest change first.
    std::vector<repriced> groups() const;

private:
    usage_query q_;
    price_table prices_;
    row_place at_;
    clock::time_point end_;
    bool done_ = false;
    std::int64_t changed_ = 0;
    repriced_groups groups_;
};

}  // namespace keyhole::metering
