#include "metering/ledger_writer.hpp"

#include "metering/ledger_schema.hpp"

#include <sqlite3.h>

#include <filesystem>
#include <numeric>

namespace keyhole::metering {

namespace {

/// Rows of one statement: what SQLite does once a statement is a quarter of what a row costs.
constexpr int rows_at_once = 16;

}  // namespace

ledger_writer::ledger_writer(const std::string& path, bool sync_to_disk, int busy_ms)
{
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    sqlite::make_file(path, [&](sqlite::connection& db) {
        // Takes effect in a file without tables only.
        db.exec("PRAGMA auto_vacuum = INCREMENTAL");
        schema::migrate(db, path);
    });
    db_ = sqlite::connection(path, sqlite::mode::read_write, busy_ms);
    db_.exec(sync_to_disk ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    db_.exec("PRAGMA journal_size_limit = 67108864");
    schema::migrate(db_, path);
    // After the owner of the file is known: this writes to one that is in another mode.
    db_.exec("PRAGMA journal_mode = WAL");
    insert_ = db_.prepare(schema::insert_row());
    insert_new_ = db_.prepare(schema::insert_rows(1));
    insert_many_ = db_.prepare(schema::insert_rows(rows_at_once));
    sums_ = rollups::writer(db_);
}

void ledger_writer::wait_for_locks(int busy_ms)
{
    db_.exec("PRAGMA busy_timeout = " + std::to_string(busy_ms));
}

void ledger_writer::insert(std::span<const record* const> rows)
{
    const int columns = schema::row_column_count();
    while (rows.size() >= rows_at_once) {
        int before = 0;
        for (const record* r : rows.first(rows_at_once)) {
            schema::bind_row(insert_many_, *r, before);
            before += columns;
        }
        insert_many_.run();
        rows = rows.subspan(rows_at_once);
    }
    for (const record* r : rows) {
        schema::bind_row(insert_new_, *r);
        insert_new_.run();
    }
}

/// What a process wrote that died before it freed the slots is there already.
std::vector<std::size_t> ledger_writer::insert_what_is_new()
{
    std::vector<std::size_t> inserted;
    for (std::size_t i = 0; i < taken_.size(); ++i) {
        schema::bind_row(insert_, *taken_[i]);
        insert_.run();
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
        for (const std::size_t i : inserted) {
            sums.add(*taken_[i]);
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
