#include "metering/ledger_writer.hpp"

#include "metering/ledger_schema.hpp"

#include <filesystem>

namespace keyhole::metering {

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
    sums_ = rollups::writer(db_);
}

void ledger_writer::wait_for_locks(int busy_ms)
{
    db_.exec("PRAGMA busy_timeout = " + std::to_string(busy_ms));
}

std::vector<std::size_t> ledger_writer::write(std::span<record> rows)
{
    std::vector<std::size_t> inserted;
    inserted.reserve(rows.size());
    sqlite::transaction t(db_);
    rollups::pending sums;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        record& r = rows[i];
        if (r.ended_us == 0) r.ended_us = now_us();
        schema::bind_row(insert_, r);
        insert_.run();
        if (db_.changes() == 0) continue;
        inserted.push_back(i);
        sums.add(r);
    }
    sums_.store(sums);
    t.commit();
    return inserted;
}

}  // namespace keyhole::metering
