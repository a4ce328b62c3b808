#include "metering/prune.hpp"

#include "metering/ledger_schema.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

constexpr std::chrono::milliseconds longest_slice{3};
constexpr int busy_ms = 5000;
/// Between two looks at the clock.
constexpr const char* rows_at_once = "16";
constexpr const char* pages_at_once = "16";

constexpr const char* oldest_rows = "(SELECT id FROM requests WHERE ended_us < ?1 ORDER BY ended_us LIMIT ";

}  // namespace

std::int64_t prune_limit(std::int64_t wanted_us, std::int64_t now_us) noexcept
{
    const std::int64_t limit = std::clamp<std::int64_t>(wanted_us, 0, std::max<std::int64_t>(now_us, 0));
    return limit / schema::day_us * schema::day_us;
}

prune_report would_prune(const std::string& path, std::int64_t before_us)
{
    sqlite::connection db(path, sqlite::mode::read_only, busy_ms);
    prune_report r;
    r.before_us = before_us;
    sqlite::statement count = db.prepare("SELECT count(*) FROM requests WHERE ended_us < ?1");
    count.bind(1, before_us);
    if (count.step()) r.rows = count.integer(0);
    r.gives_back = db.integer("PRAGMA auto_vacuum") == 2;
    r.done = true;
    return r;
}

pruner::pruner(std::int64_t before_us, std::chrono::milliseconds longest) : end_(clock::now() + longest)
{
    report_.before_us = before_us;
}

bool pruner::slice(ledger_writer& to)
{
    sqlite::connection& db = to.db();
    const auto until = clock::now() + longest_slice;
    sqlite::transaction t(db);
    phase next = phase::over;
    switch (phase_) {
    case phase::rows:
        next = delete_rows(db, until);
        break;
    case phase::hours:
        next = delete_hours(db, until);
        break;
    case phase::pages:
        next = free_pages(db, until);
        break;
    case phase::over:
        break;
    }
    t.commit();
    phase_ = next;
    report_.done = phase_ == phase::over;
    return !report_.done && clock::now() < end_;
}

pruner::phase pruner::delete_rows(sqlite::connection& db, clock::time_point until)
{
    // Said before the first row goes: whoever reads counts those days from their daily lines from now on.
    sqlite::statement mark = db.prepare(
        "INSERT INTO facts (name, value) SELECT 'pruned_before_us', ?1 WHERE EXISTS (SELECT 1 FROM requests "
        "WHERE ended_us < ?1) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)");
    mark.bind(1, report_.before_us).run();
    const std::string oldest = std::string(oldest_rows) + rows_at_once + ")";
    // What may still be asked for outlives its row.
    sqlite::statement keep = db.prepare(
        "INSERT INTO pruned_answers SELECT answer_id, session, account, source <> 'none' FROM requests "
        "WHERE id IN " +
        oldest + " AND " + schema::stored_objects +
        " ORDER BY ended_us ON CONFLICT (answer_id) DO UPDATE SET billed = max(billed, excluded.billed)");
    sqlite::statement drop = db.prepare("DELETE FROM requests WHERE id IN " + oldest);
    keep.bind(1, report_.before_us);
    drop.bind(1, report_.before_us);
    do {
        keep.run();
        drop.run();
        if (db.changes() == 0) return phase::hours;
        report_.rows += db.changes();
    } while (clock::now() < until);
    return phase::rows;
}

pruner::phase pruner::delete_hours(sqlite::connection& db, clock::time_point until)
{
    // A line can be needed as long as a row of its hour is there.
    sqlite::statement drop = db.prepare(
        "DELETE FROM usage_hourly WHERE (bucket, session) IN (SELECT bucket, session FROM usage_hourly "
        "WHERE bucket < ?1 LIMIT 1) AND bucket < ?1");
    drop.bind(1, report_.before_us / schema::hour_us);
    do {
        drop.run();
        if (db.changes() == 0) return phase::pages;
    } while (clock::now() < until);
    return phase::hours;
}

pruner::phase pruner::free_pages(sqlite::connection& db, clock::time_point until)
{
    report_.gives_back = db.integer("PRAGMA auto_vacuum") == 2;
    if (!report_.gives_back) return phase::over;
    do {
        const std::int64_t before = db.integer("PRAGMA freelist_count");
        if (before == 0) return phase::over;
        db.exec(std::string("PRAGMA incremental_vacuum(") + pages_at_once + ")");
        const std::int64_t freed = before - db.integer("PRAGMA freelist_count");
        if (freed <= 0) return phase::over;
        report_.pages_freed += freed;
    } while (clock::now() < until);
    return phase::pages;
}

file_state state_of(const std::string& path)
{
    sqlite::connection db(path, sqlite::mode::read_only, busy_ms);
    const std::int64_t page = db.integer("PRAGMA page_size");
    return {.bytes = page * db.integer("PRAGMA page_count"),
            .free_bytes = page * db.integer("PRAGMA freelist_count"),
            .gives_back = db.integer("PRAGMA auto_vacuum") == 2};
}

void compact(ledger_writer& to)
{
    to.db().exec("PRAGMA auto_vacuum = INCREMENTAL");
    to.db().exec("VACUUM");
    to.db().exec("PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace keyhole::metering
