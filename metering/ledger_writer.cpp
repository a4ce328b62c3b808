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

void ledger_writer::insert_new(std::span<const record* const> rows)
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

std::vector<std::size_t> ledger_writer::write(std::span<const record* const> rows)
{
    std::vector<std::size_t> inserted(rows.size());
    std::iota(inserted.begin(), inserted.end(), std::size_t{0});
    try {
        sqlite::transaction t(db_);
        rollups::pending sums;
        insert_new(rows);
        for (const record* r : rows) {
            sums.add(*r);
        }
        sums_.store(sums);
        t.commit();
        return inserted;
    } catch (const sqlite::error& e) {
        if (e.code() != SQLITE_CONSTRAINT) throw;
    }
    // One of them was there: what a process wrote that died before it freed the slots.
    inserted.clear();
    sqlite::transaction t(db_);
    rollups::pending sums;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        schema::bind_row(insert_, *rows[i]);
        insert_.run();
        if (db_.changes() == 0) continue;
        inserted.push_back(i);
        sums.add(*rows[i]);
    }
    sums_.store(sums);
    t.commit();
    return inserted;
}

}  // namespace keyhole::metering
