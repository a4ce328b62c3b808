// History at other prices: what the ledger's rows would cost by another table, beside what they were booked
// at. Nothing is changed. One rule finds a row's price, for the row as it is booked and for its history: the
// answered model's entry, else the requested one's. Thread rule: any thread that may wait for the disk.
#pragma once

#include "metering/ledger.hpp"
#include "metering/prices.hpp"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace keyhole::metering {

/// Whose rows tell the sum of many requests.
bool is_batch(wire w) noexcept;

/// What `r` costs by `prices`, with what is billed beside its counts; no cost where its usage is not known.
cost price_of(const record& r, const price_table& prices);

struct repriced {
    std::string provider;
    std::string model;  ///< as the roll-ups count it
    std::int64_t requests = 0;
    std::int64_t booked_nano_usd = 0;
    std::int64_t nano_usd = 0;  ///< by the other table
    std::int64_t booked_unpriced = 0;
    std::int64_t unpriced = 0;  ///< requests with usage that the other table has no price for
};

/// Sums by provider and model.
class repriced_groups {
public:
    /// One row as it is booked and as it would be.
    void add(const record& was, const record& is);
    /// Largest difference first.
    std::vector<repriced> sorted() const;

private:
    std::map<std::pair<std::string, std::string>, repriced> groups_;
};

/// Cost, mark and price version of `r` by `prices`. A row whose usage is not known stays as it is.
void book_at(record& r, const price_table& prices);

/// By provider and model, largest difference first. `q.by` and `q.limit` are not looked at.
std::vector<repriced> reprice(const ledger& books, const usage_query& q, const price_table& prices);

}  // namespace keyhole::metering
