// Retention: old rows go, what they summed up to stays. Rows and hourly lines before a day go in small
// transactions on the ledger's own thread; the daily lines and the margins stay for ever, so totals, months
// and the budgets restored from them never lose what was pruned. The pages go back to the file system where
// the file can give them back (auto_vacuum = INCREMENTAL: files made by schema version 2, older ones after
// one compaction). Thread rule: plain functions; a pruner belongs to one thread.
#pragma once

#include "metering/ledger_writer.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace keyhole::metering {

/// The begin of the UTC day that holds `wanted_us`, but never later than today's: windows of a day and less
/// are restored from rows.
std::int64_t prune_limit(std::int64_t wanted_us, std::int64_t now_us) noexcept;

struct prune_report {
    std::int64_t before_us = 0;  ///< rows that ended earlier
    std::int64_t rows = 0;       ///< pruned, or (a dry run) to be pruned
    std::int64_t pages_freed = 0;
    bool gives_back =
        false;  ///< the file shrinks; false: its free pages are used again, and a compaction helps
    bool done = false;
};

/// What a pruner would do. Opens the file for reading.
prune_report would_prune(const std::string& path, std::int64_t before_us);

class pruner {
public:
    using clock = std::chrono::steady_clock;
    /// Stops after `longest`, done or not (a later one goes on where this one stopped).
    explicit pruner(std::int64_t before_us, std::chrono::milliseconds longest = std::chrono::hours(24));
    /// A few milliseconds of work in a transaction of its own; false: there is no more to do.
    bool slice(ledger_writer& to);
    const prune_report& report() const noexcept { return report_; }

private:
    enum class phase : std::uint8_t { rows, hours, pages, over };
    phase delete_rows(sqlite::connection& db, clock::time_point until);
    phase delete_hours(sqlite::connection& db, clock::time_point until);
    phase free_pages(sqlite::connection& db, clock::time_point until);

    prune_report report_;
    phase phase_ = phase::rows;
    clock::time_point end_;
};

/// What a compaction works on, and with how much room.
struct file_state {
    std::int64_t bytes = 0;
    std::int64_t free_bytes = 0;  ///< of pages that hold nothing
    bool gives_back = false;
};
file_state state_of(const std::string& path);
/// Writes the file anew without its free pages (VACUUM), able to give space back from then on. Other
/// connections go on reading; nothing is written meanwhile. Needs the file's size twice in free space: in
/// the directory of temporary files and beside the file.
void compact(ledger_writer& to);

}  // namespace keyhole::metering
