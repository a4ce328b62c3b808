// The ledger: one SQLite database (WAL), one writer thread, many rows a transaction. A row's slot in the
// journal is freed after the commit that holds it, so a full disk or a locked database loses nothing: rows
// wait in the journal and are tried again. Rows are idempotent by request id. Roll-ups are maintained in the
// same transaction as the rows and always equal their sums. Thread rule: submit() from any thread, never
// blocks on the disk; queries open their own read connection and may run on any thread but a worker's.
#pragma once

#include "metering/journal.hpp"
#include "metering/record.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace keyhole::metering {

/// Sums over rows.
struct usage_sum {
    std::int64_t requests = 0;
    token_counts counts;
    std::int64_t beyond_tokens = 0;  ///< billed beside `counts` (record::beyond)
    std::int64_t cost_nano_usd = 0;
    std::int64_t unpriced_requests = 0;   ///< had tokens but no price
    std::int64_t estimated_requests = 0;  ///< usage_source estimated or provider_partial
    std::int64_t unknown_requests = 0;    ///< usage_source none on a metered route that answered < 400
    std::int64_t errors = 0;              ///< outcome other than ok
};

enum class group_by : std::uint8_t {
    none,
    session,
    account,
    sandbox,
    run,
    model,
    provider,
    route,
    day,
    outcome,
    source
};

struct usage_query {
    group_by by = group_by::none;
    std::int64_t since_us = 0;
    std::int64_t until_us = INT64_MAX;
    std::string session = {};  ///< empty: all
    std::string account = {};
    std::string sandbox = {};
    std::string provider = {};
    std::string model = {};
    unsigned limit = 1000;
    /// A row of an export's last page: rows() goes on behind it, oldest first.
    struct place {
        std::int64_t ended_us = 0;
        std::string id;  ///< as format_request_id writes it; empty: before all of that time
    };
    std::optional<place> after = std::nullopt;
};

struct ledger_health {
    std::uint64_t rows_written = 0;
    std::uint64_t commits = 0;
    std::uint64_t failed_commits = 0;
    std::size_t waiting = 0;        ///< settled, not yet committed
    bool failing = false;           ///< the last commit failed
    std::string last_error;         ///< SQLite's message; empty: none
    std::string chore = {};         ///< what runs beside the writing, as start() named it; empty: nothing
    std::string chore_error = {};   ///< why the last chore stopped early
    std::uint64_t rows_pruned = 0;  ///< by keep_rows()
};

class ledger_writer;

class ledger {
public:
    /// Opens or creates DIRECTORY/ledger.db, migrates its schema, writes what the journal recovered and frees
    /// those slots, then starts the writer thread. Throws std::runtime_error with the cause and the remedy.
    /// `on_committed` is called on the writer thread with each row after its commit (metrics follow the
    /// ledger).
    /// `on_recovered` is called before with each row that the last process left in flight: its slot says what
    /// was used, not what that costs.
    ledger(const std::string& directory, journal& inflight, bool sync_to_disk,
           std::function<void(const record&)> on_committed = {},
           const std::function<void(record&)>& on_recovered = {});
    /// Writes what is left (for at most a few seconds; the journal keeps the rest), checkpoints and closes.
    ~ledger();
    ledger(const ledger&) = delete;
    ledger& operator=(const ledger&) = delete;

    /// A settled slot: its record becomes a row. Never blocks.
    void submit(std::uint32_t slot);

    /// Waits until everything submitted before the call is committed, at most `seconds`; false: not in time.
    bool flush(double seconds);

    ledger_health health() const;

    /// A long piece of work on the file, done on the writer's thread between batches of rows, a slice of some
    /// milliseconds at a time: returns whether there is more to do.
    using chore = std::function<bool(ledger_writer&)>;
    /// Waits for its end; throws what it threw, std::runtime_error where the file can't be written.
    void run(chore work);
    /// Does not wait: health() tells of it. false: one that was started so is still at work.
    bool start(std::string name, chore work);
    /// Rows older than that many whole UTC days are pruned, now and then; 0: never. Sums stay.
    void keep_rows(unsigned days);
    const std::string& path() const noexcept;

    /// Grouped sums, largest cost first (days in order). The first of the pair is the group's name.
    std::vector<std::pair<std::string, usage_sum>> usage(const usage_query& q) const;
    /// The newest rows that match, newest first; with `after` the oldest ones behind it, oldest first.
    std::vector<record> rows(const usage_query& q) const;
    /// All rows that match, oldest first, one at a time (exports); stops when `each` returns false.
    void each_row(const usage_query& q, const std::function<bool(const record&)>& each) const;
    /// Whether an answer of that id has been billed already (a retrieved response repeats its usage: billed
    /// once per id).
    bool answer_billed(std::string_view answer_id) const;
    /// What the ledger holds of a stored object's usage.
    struct object_usage {
        bool final = false;  ///< its last word is in a row: what repeats it is not billed
        /// The sum of what stands for it until then.
        struct estimate {
            std::string session;
            std::string account;
            std::int64_t nano_usd = 0;
            std::int64_t tokens = 0;
            std::int64_t ended_us = 0;
        };
        std::vector<estimate> estimates;
    };
    object_usage usage_of(std::string_view answer_id, std::string_view provider) const;
    /// The session and account of the row that made the answer or object of that id; both empty: none did.
    struct maker {
        std::string session;
        std::string account;
    };
    maker made_by(std::string_view answer_id) const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::metering
