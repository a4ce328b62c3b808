#include "metering/ledger_writer.hpp"

#include "metering/ledger_schema.hpp"

#include <sqlite3.h>

#include <filesystem>
#include <numeric>

namespace keyhole::metering {

namespace {

/// Rows of one statement: what SQLite does once a statement is a quarter of what a row costs.
constexpr std::size_t rows_at_once = 16;

}  // namespace

ledger_writer::ledger_writer(const std::string& path, bool sync_to_disk, int busy_ms)
{
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    sqlite::make_file(path, [&](sqlite::connection& db) {
        // Both take effect in a file without tables only. Larger pages: half as many to write to the log, to
        // copy out of it, and to split as the indexes grow.
        db.exec("PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL");
        schema::migrate(db, path);
    });
    db_ = sqlite::connection(path, sqlite::mode::read_write, busy_ms);
    db_.exec(sync_to_disk ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    db_.exec("PRAGMA journal_size_limit = 67108864");
    schema::migrate(db_, path);
    // After the owner of the file is known: this writes to one that is in another mode.
    db_.exec("PRAGMA journal_mode = WAL");
    insert_ = {db_, schema::insert_row(), 1};
    estimates_ =
        db_.prepare("SELECT " + schema::row_columns() +
                    " FROM requests WHERE answer_id = ?1 AND provider = ?2 AND source = 'estimated' AND "
                    "request_id <> ?3 AND " +
                    schema::stored_objects);
    give_up_ = db_.prepare(
        "UPDATE requests SET source = 'none', input = 0, cache_read = 0, cache_write_5m = 0, "
        "cache_write_1h = 0, output = 0, output_reasoning = 0, input_audio = 0, output_audio = 0, "
        "input_image = 0, output_image = 0, web_searches = 0, beyond_input = 0, beyond_cache_read = 0, "
        "beyond_cache_write_5m = 0, beyond_cache_write_1h = 0, beyond_output = 0, cost_nano_usd = 0, "
        "priced = 0, price_version = '' WHERE request_id = ?1");
    insert_new_ = {db_, schema::insert_rows(1), 1};
    insert_many_ = {db_, schema::insert_rows(rows_at_once), rows_at_once};
    sums_ = rollups::writer(db_);
}

void ledger_writer::wait_for_locks(int busy_ms)
{
    db_.exec("PRAGMA busy_timeout = " + std::to_string(busy_ms));
}

void ledger_writer::give_up_estimates(const record& final, rollups::pending& sums, std::deque<record>& moved)
{
    const std::size_t before = moved.size();
    estimates_.bind(1, final.answer_id.view())
        .bind(2, final.provider.view())
        .bind(3, std::span<const std::uint8_t>(final.request_id));
    while (estimates_.step())
        moved.push_back(schema::read_row(estimates_));
    estimates_.reset();
    const std::size_t found = moved.size() - before;
    for (std::size_t i = 0; i < found; ++i) {
        sums.remove(moved[before + i]);
        record is = moved[before + i];
        is.counts = {};
        is.beyond = {};
        is.source = usage_source::none;
        is.cost_nano_usd = 0;
        is.priced = false;
        is.price_version.length = 0;
        give_up_.bind(1, std::span<const std::uint8_t>(is.request_id)).run();
        moved.push_back(is);
        sums.add(moved.back());
    }
}

void ledger_writer::insert(std::span<const record* const> rows)
{
    for (; rows.size() >= insert_many_.size(); rows = rows.subspan(insert_many_.size()))
        insert_many_.run(rows.first(insert_many_.size()));
    for (; !rows.empty(); rows = rows.subspan(1))
        insert_new_.run(rows.first(1));
}

/// What a process wrote that died before it freed the slots is there already.
std::vector<std::size_t> ledger_writer::insert_what_is_new()
{
    std::vector<std::size_t> inserted;
    for (std::size_t i = 0; i < taken_.size(); ++i) {
        insert_.run(std::span(taken_).subspan(i, 1));
        if (db_.changes() != 0) inserted.push_back(i);
    }
    return inserted;
}

void ledger_writer::forget() noexcept
{
    taken_.clear();
    some_known_ = false;
    db_.rollback();
}

void ledger_writer::take(std::span<const record* const> rows)
{
    try {
        if (taken_.empty()) db_.exec("BEGIN IMMEDIATE");
        taken_.insert(taken_.end(), rows.begin(), rows.end());
        if (!some_known_) insert(rows);
    } catch (const sqlite::error& e) {
        if (e.code() == SQLITE_CONSTRAINT) {
            some_known_ = true;
            return;
        }
        forget();
        throw;
    } catch (...) {
        forget();
        throw;
    }
}

std::vector<std::size_t> ledger_writer::commit()
{
    try {
        std::vector<std::size_t> inserted(taken_.size());
        if (some_known_) {
            db_.exec("BEGIN IMMEDIATE");
            inserted = insert_what_is_new();
        } else {
            std::iota(inserted.begin(), inserted.end(), std::size_t{0});
        }
        rollups::pending sums;
        std::deque<record> moved;
        for (const std::size_t i : inserted) {
            sums.add(*taken_[i]);
            if (taken_[i]->settles_estimate) give_up_estimates(*taken_[i], sums, moved);
        }
        sums_.store(sums);
        db_.exec("COMMIT");
        forget();
        return inserted;
    } catch (...) {
        forget();
        throw;
    }
}

std::vector<std::size_t> ledger_writer::write(std::span<const record* const> rows)
{
    take(rows);
    return commit();
}

}  // namespace keyhole::metering
