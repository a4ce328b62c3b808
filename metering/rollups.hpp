// The roll-ups: sums of the ledger's rows, kept in the transaction that writes the rows, so a report on ten
// million rows reads some hundred lines. Two kinds. The cubes (usage_hourly, usage_daily) know every
// dimension at once, for filtered questions; the margins (usage_margins) know one dimension at a time, a day
// and over all time, for the unfiltered ones. Days are UTC. Daily lines and margins outlive the rows they
// were summed from. Thread rule: plain functions over the caller's connection.
#pragma once

#include "metering/ledger.hpp"
#include "metering/record.hpp"
#include "metering/sqlite.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

namespace keyhole::metering::rollups {

/// What a line is about, as stored in usage_margins.dimension: never renumbered. The rest are the columns of
/// the cubes, in their order.
enum class dimension : std::uint8_t {
    none,
    session,
    account,
    sandbox,
    run,
    provider,
    model,
    route,
    outcome,
    source
};
inline constexpr std::size_t dimension_count = 10;
/// The cubes' column of a dimension other than none.
const char* column_of(dimension d) noexcept;

/// The margins' day of the line over all time.
inline constexpr std::int64_t all_days = -1;

/// Creates the tables of schema version 2, empty.
void create(sqlite::connection& db);

/// What rows add, summed in memory. The texts are views into the records that were added: those must live, in
/// place, until store().
class pending {
public:
    void add(const record& r);
    /// A row that was in the roll-ups as `was` is now as `is`; they differ in costs and marks only.
    void change(const record& was, const record& is);
    /// A row that was in the roll-ups as `was` is there no more.
    void remove(const record& was);
    bool empty() const noexcept { return hours_.empty(); }
    void clear() { hours_.clear(); }

private:
    friend class writer;
    using names = std::array<std::string_view, dimension_count - 1>;
    static names names_of(const record& r) noexcept;
    std::map<std::pair<std::int64_t, names>, usage_sum> hours_;
};

/// Prepared once a connection.
class writer {
public:
    writer() = default;
    explicit writer(sqlite::connection& db);
    /// Within the caller's transaction.
    void store(const pending& p);

private:
    sqlite::statement hour_;
    sqlite::statement day_;
    sqlite::statement margin_;
};

/// Sums all rows anew into empty tables (migrations).
void rebuild(sqlite::connection& db);

}  // namespace keyhole::metering::rollups
