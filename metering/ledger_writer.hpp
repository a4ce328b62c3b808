// Rows into the ledger's file: one connection with its statements, a transaction a batch. Idempotent by
// request id; the roll-ups change in the same transaction. Thread rule: one thread at a time.
#pragma once

#include "metering/record.hpp"
#include "metering/rollups.hpp"
#include "metering/row_insert.hpp"
#include "metering/sqlite.hpp"

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

namespace keyhole::metering {

class ledger_writer {
public:
    ledger_writer() = default;
    /// Opens or creates the file and brings its schema up to date; waits `busy_ms` for other processes'
    /// locks. Throws sqlite::error or std::runtime_error.
    ledger_writer(const std::string& path, bool sync_to_disk, int busy_ms);

    /// How long a later statement waits for other processes.
    void wait_for_locks(int busy_ms);
    /// Rows of one transaction come a few at a time, so that a batch is no long stretch of work: take()
    /// begins it or adds to it, commit() ends it and returns which of the rows were new, as indexes into all
    /// that were taken. The rows stay where they are until then. Whatever throws rolls the batch back and
    /// forgets it.
    void take(std::span<const record* const> rows);
    std::vector<std::size_t> commit();
    /// Both at once.
    std::vector<std::size_t> write(std::span<const record* const> rows);

    /// Changes to the roll-ups, within the caller's transaction.
    void store(const rollups::pending& sums) { sums_.store(sums); }

    sqlite::connection& db() noexcept { return db_; }
    explicit operator bool() const noexcept { return static_cast<bool>(db_); }

private:
    /// EVERY_REQUEST_ONE_ROW, and each token in one of them: what was estimated of an object whose final
    /// usage has come counts no more. `moved` keeps what the sums' names point into.
    void give_up_estimates(const record& final, rollups::pending& sums, std::deque<record>& moved);

    void insert(std::span<const record* const> rows);
    std::vector<std::size_t> insert_what_is_new();
    void forget() noexcept;

    // Statements go before their connection.
    sqlite::connection db_;
    row_insert insert_;       ///< one row, which may be there already
    row_insert insert_new_;   ///< one that is not
    row_insert insert_many_;  ///< several that are not
    sqlite::statement estimates_;
    sqlite::statement give_up_;
    rollups::writer sums_;

    std::vector<const record*> taken_;
    bool some_known_ = false;  ///< one of them was there already, which has ended their transaction
};

}  // namespace keyhole::metering
