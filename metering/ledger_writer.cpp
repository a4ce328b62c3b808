#include "metering/ledger_writer.hpp"

#include "metering/ledger_schema.hpp"

#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace keyhole::metering {

ledger_writer::ledger_writer(const std::string& path, bool sync_to_disk, int busy_ms)
{
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    // Created here, not by SQLite, because of its mode: SQLite gives its own files the mode of this one.
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) ::close(fd);

    db_ = sqlite::connection(path, sqlite::mode::create, busy_ms);
    // Takes effect in a file without tables only, and must come before the journal mode, which writes the
    // first page.
    if (db_.integer("SELECT count(*) FROM sqlite_schema") == 0) db_.exec("PRAGMA auto_vacuum = INCREMENTAL");
    db_.exec("PRAGMA journal_mode = WAL");
    db_.exec(sync_to_disk ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    db_.exec("PRAGMA journal_size_limit = 67108864");
    schema::migrate(db_, path);
    insert_ = db_.prepare(schema::insert_row());
    estimates_ = db_.prepare("SELECT " + schema::row_columns() +
                             " FROM requests WHERE answer_id = ?1 AND answer_id <> '' AND provider = ?2 AND "
                             "source = 'estimated' AND request_id <> ?3");
    give_up_ = db_.prepare(
        "UPDATE requests SET source = 'none', input = 0, cache_read = 0, cache_write_5m = 0, "
        "cache_write_1h = 0, output = 0, output_reasoning = 0, input_audio = 0, output_audio = 0, "
        "input_image = 0, output_image = 0, web_searches = 0, beyond_input = 0, beyond_cache_read = 0, "
        "beyond_cache_write_5m = 0, beyond_cache_write_1h = 0, beyond_output = 0, cost_nano_usd = 0, "
        "priced = 0, price_version = '' WHERE request_id = ?1");
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

std::vector<std::size_t> ledger_writer::write(std::span<record> rows)
{
    std::vector<std::size_t> inserted;
    inserted.reserve(rows.size());
    sqlite::transaction t(db_);
    rollups::pending sums;
    std::deque<record> moved;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        record& r = rows[i];
        if (r.ended_us == 0) r.ended_us = now_us();
        schema::bind_row(insert_, r);
        insert_.run();
        if (db_.changes() == 0) continue;
        inserted.push_back(i);
        sums.add(r);
        if (r.settles_estimate) give_up_estimates(r, sums, moved);
    }
    sums_.store(sums);
    t.commit();
    return inserted;
}

}  // namespace keyhole::metering
