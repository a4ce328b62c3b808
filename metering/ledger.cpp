#include "metering/ledger.hpp"

#include "metering/ledger_queries.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/sqlite.hpp"
#include "metering/storable.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <mutex>
#include <stdexcept>
#include <sys/stat.h>
#include <thread>
#include <tuple>
#include <unistd.h>

namespace keyhole::metering {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t most_rows_per_commit = 2048;
constexpr milliseconds linger{25};       ///< a commit waits this long for company
constexpr milliseconds first_pause{50};  ///< after a failed commit, doubled up to
constexpr milliseconds longest_pause{2000};
constexpr double closing_seconds = 3;
constexpr int startup_busy_ms = 5000;
/// Short while running: the writer tries again anyway, and health() should tell of a locked database soon.
constexpr int running_busy_ms = 250;

std::string remedy_for(int code)
{
    switch (code) {
    case SQLITE_NOTADB:
        return "this file is not a SQLite database; move it away, or choose another state.directory";
    case SQLITE_CORRUPT:
        return "the database is damaged; restore a copy, or move it away and a new one is begun";
    case SQLITE_FULL:
        return "the disk is full; free some space";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another process keeps it locked; find it with fuser and stop it";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return "check the owner, the mode and the mount of state.directory";
    default:
        return "check the disk and the mode of state.directory";
    }
}

/// Which file a path names now; a ledger that was moved away under a running writer must not swallow rows.
struct file_identity {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const file_identity&) const = default;
};

file_identity identity_of(const std::string& path)
{
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return {};
    return {status.st_dev, status.st_ino};
}

}  // namespace

struct ledger::impl {
    std::string path;
    journal& inflight;
    bool sync = false;
    std::function<void(const record&)> on_committed;

    // The writer's own: used by the constructor before the thread starts, by the thread afterwards.
    sqlite::connection db;
    file_identity opened;
    sqlite::statement insert;
    sqlite::statement add_hour;
    sqlite::statement add_day;

    mutable std::mutex mutex;
    std::condition_variable work;  ///< pending grew, somebody flushes, or the end came
    std::condition_variable done;  ///< committed grew
    std::deque<std::uint32_t>
        pending;  ///< settled slots whose rows are not committed, the batch being written at the front
    std::uint64_t submitted = 0;
    std::uint64_t committed = 0;
    std::uint64_t flush_target = 0;
    bool closing = false;
    ledger_health state;
    std::thread writer;

    impl(const std::string& directory, journal& j, bool sync_to_disk,
         std::function<void(const record&)> callback)
        : path(directory + "/ledger.db"), inflight(j), sync(sync_to_disk), on_committed(std::move(callback))
    {
    }

    void connect(int busy_ms);
    void write_leftovers();
    std::vector<std::size_t> write(std::span<record> rows);
    void add_to_rollups(std::span<const record> rows, std::span<const std::size_t> inserted);
    void announce(const record& row) const noexcept;

    void run();
    bool write_batch(std::unique_lock<std::mutex>& lock);
};

void ledger::impl::connect(int busy_ms)
{
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    // Created here, not by SQLite, because of its mode: SQLite gives its own files the mode of this one.
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) ::close(fd);

    sqlite::connection fresh(path, sqlite::mode::create, busy_ms);
    fresh.exec("PRAGMA journal_mode = WAL");
    fresh.exec(sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    fresh.exec("PRAGMA journal_size_limit = 67108864");
    schema::migrate(fresh, path);

    sqlite::statement rows = fresh.prepare(schema::insert_row());
    sqlite::statement hours = fresh.prepare(schema::upsert_rollup("usage_hourly"));
    sqlite::statement days = fresh.prepare(schema::upsert_rollup("usage_daily"));
    fresh.exec("PRAGMA busy_timeout = " + std::to_string(running_busy_ms));
    insert = std::move(rows);
    add_hour = std::move(hours);
    add_day = std::move(days);
    db = std::move(fresh);
    opened = identity_of(path);
}

/// One transaction. Returns which rows were new; throws after rolling back.
std::vector<std::size_t> ledger::impl::write(std::span<record> rows)
{
    std::vector<std::size_t> inserted;
    inserted.reserve(rows.size());
    sqlite::transaction t(db);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        record& r = rows[i];
        if (r.ended_us == 0) r.ended_us = now_us();
        schema::bind_row(insert, r);
        insert.run();
        if (db.changes() > 0) inserted.push_back(i);
    }
    add_to_rollups(rows, inserted);
    t.commit();
    return inserted;
}

void ledger::impl::add_to_rollups(std::span<const record> rows, std::span<const std::size_t> inserted)
{
    using key =
        std::tuple<std::string_view, std::string_view, std::string_view, std::string_view, std::string_view>;
    std::map<std::pair<std::int64_t, key>, usage_sum> hours;
    std::map<std::pair<std::int64_t, key>, usage_sum> days;
    for (const std::size_t i : inserted) {
        const record& r = rows[i];
        const key k{r.session.view(), r.account.view(), r.sandbox.view(), r.provider.view(),
                    schema::counted_model(r)};
        const usage_sum sum = schema::sum_of(r);
        schema::add(hours[{r.ended_us / schema::hour_us, k}], sum);
        schema::add(days[{r.ended_us / schema::day_us, k}], sum);
    }
    const auto store = [](sqlite::statement& s, const auto& sums) {
        for (const auto& [at, sum] : sums) {
            const auto& [bucket, k] = at;
            int parameter = 6;
            s.bind(1, bucket).bind(2, std::get<0>(k)).bind(3, std::get<1>(k)).bind(4, std::get<2>(k));
            s.bind(5, std::get<3>(k)).bind(6, std::get<4>(k));
            schema::each_sum(sum, [&](const char*, std::int64_t value) { s.bind(++parameter, value); });
            s.run();
        }
    };
    store(add_hour, hours);
    store(add_day, days);
}

void ledger::impl::announce(const record& row) const noexcept
{
    if (!on_committed) return;
    try {
        on_committed(row);
        // NOLINTNEXTLINE(bugprone-empty-catch): the row is safe; a listener's failure is not the ledger's
    } catch (...) {
    }
}

/// EVERY_REQUEST_ONE_ROW: what the last process did not get to write.
void ledger::impl::write_leftovers()
{
    std::vector<journal::leftover> left = inflight.recover();
    std::vector<record> rows;
    const std::int64_t now = now_us();
    for (journal::leftover& l : left) {
        if (l.row.end == outcome::interrupted && l.row.ended_us == 0) l.row.ended_us = now;
        rows.push_back(l.row);
    }
    for (std::size_t at = 0; at < rows.size(); at += most_rows_per_commit) {
        const std::size_t n = std::min(most_rows_per_commit, rows.size() - at);
        const std::span<record> part(rows.data() + at, n);
        const std::vector<std::size_t> inserted = write(part);
        state.rows_written += inserted.size();
        ++state.commits;
        for (const std::size_t i : inserted) {
            announce(part[i]);
        }
        for (std::size_t i = at; i < at + n; ++i) {
            inflight.free_slot(left[i].slot);
        }
    }
}

/// Writes the front of the queue; false: it failed and everything is as it was. Called and left with the lock
/// held.
bool ledger::impl::write_batch(std::unique_lock<std::mutex>& lock)
{
    const std::size_t n = std::min(pending.size(), most_rows_per_commit);
    const std::vector<std::uint32_t> slots(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(n));
    lock.unlock();

    std::vector<record> rows;
    std::vector<std::size_t> inserted;
    std::string failure;
    try {
        rows.reserve(n);
        for (const std::uint32_t slot : slots) {
            rows.push_back(inflight.at(slot));
        }
        if (!db || identity_of(path) != opened) connect(running_busy_ms);
        inserted = write(rows);
    } catch (const sqlite::error& e) {
        failure = std::string(e.what()) + " (" + remedy_for(e.code()) + ")";
        if (!e.passing()) db = {};  // begin anew: the file may have been repaired or replaced by then
    } catch (const std::exception& e) {
        failure = e.what();
    }
    if (failure.empty()) {
        for (const std::size_t i : inserted) {
            announce(rows[i]);
        }
    }
    lock.lock();
    state.failing = !failure.empty();
    if (state.failing) {
        ++state.failed_commits;
        state.last_error = std::move(failure);
        return false;
    }
    ++state.commits;
    state.rows_written += inserted.size();
    // Out of the queue before the slot is free: answer_billed() reads the slots that the queue names.
    pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(n));
    for (const std::uint32_t slot : slots) {
        inflight.free_slot(slot);
    }
    committed += n;
    done.notify_all();
    return true;
}

void ledger::impl::run()
{
    std::unique_lock lock(mutex);
    milliseconds pause{0};
    while (true) {
        work.wait(lock, [&] { return closing || !pending.empty(); });
        if (pending.empty()) return;
        const auto in_a_hurry = [&] {
            return closing || committed < flush_target || pending.size() >= most_rows_per_commit;
        };
        work.wait_until(lock, std::chrono::system_clock::now() + linger, in_a_hurry);
        if (write_batch(lock)) {
            pause = milliseconds{0};
            continue;
        }
        if (closing) return;
        pause = std::clamp(pause * 2, first_pause, longest_pause);
        work.wait_until(lock, std::chrono::system_clock::now() + pause, [&] { return closing; });
    }
}

ledger::ledger(const std::string& directory, journal& inflight, bool sync_to_disk,
               std::function<void(const record&)> on_committed)
    : impl_(std::make_unique<impl>(directory, inflight, sync_to_disk, std::move(on_committed)))
{
    try {
        impl_->connect(startup_busy_ms);
        impl_->write_leftovers();
    } catch (const sqlite::error& e) {
        throw std::runtime_error("cannot use the ledger " + impl_->path + ": " + e.what() + " (" +
                                 remedy_for(e.code()) + ")");
    } catch (const std::filesystem::filesystem_error& e) {
        throw std::runtime_error("cannot create " + directory + ": " + e.code().message() +
                                 " (create it, or choose another state.directory)");
    }
    impl_->writer = std::thread([this] { impl_->run(); });
}

ledger::~ledger()
{
    flush(closing_seconds);
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->closing = true;
    }
    impl_->work.notify_all();
    impl_->writer.join();
    try {
        if (impl_->db) impl_->db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        // NOLINTNEXTLINE(bugprone-empty-catch): the log stays beside the database for the next start
    } catch (const sqlite::error&) {
    }
}

void ledger::submit(std::uint32_t slot)
{
    bool wake = false;
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->pending.push_back(slot);
        ++impl_->submitted;
        // Between the first row and a full batch the writer lingers anyway.
        wake = impl_->pending.size() == 1 || impl_->pending.size() == most_rows_per_commit;
    }
    if (wake) impl_->work.notify_one();
}

bool ledger::flush(double seconds)
{
    std::unique_lock lock(impl_->mutex);
    const std::uint64_t target = impl_->submitted;
    impl_->flush_target = std::max(impl_->flush_target, target);
    impl_->work.notify_one();
    const auto limit = std::chrono::duration_cast<std::chrono::system_clock::duration>(
        std::chrono::duration<double>(seconds));
    return impl_->done.wait_until(lock, std::chrono::system_clock::now() + limit,
                                  [&] { return impl_->committed >= target; });
}

ledger_health ledger::health() const
{
    const std::lock_guard lock(impl_->mutex);
    ledger_health h = impl_->state;
    h.waiting = impl_->pending.size();
    return h;
}

std::vector<std::pair<std::string, usage_sum>> ledger::usage(const usage_query& q) const
{
    return queries::usage(impl_->path, q);
}

std::vector<record> ledger::rows(const usage_query& q) const
{
    return queries::rows(impl_->path, q);
}

void ledger::each_row(const usage_query& q, const std::function<bool(const record&)>& each) const
{
    queries::each_row(impl_->path, q, each);
}

bool ledger::answer_billed(std::string_view answer_id) const
{
    if (answer_id.empty()) return false;
    {
        // First what is not committed yet: a row moves from here into the database, never back.
        const std::lock_guard lock(impl_->mutex);
        for (const std::uint32_t slot : impl_->pending) {
            const record& r = impl_->inflight.at(slot);
            if (r.source != usage_source::none && r.answer_id.view() == answer_id) return true;
        }
    }
    return queries::answer_billed(impl_->path, answer_id);
}

ledger::maker ledger::made_by(std::string_view answer_id) const
{
    if (answer_id.empty()) return {};
    {
        const std::lock_guard lock(impl_->mutex);
        for (const std::uint32_t slot : impl_->pending) {
            const record& r = impl_->inflight.at(slot);
            if (r.answer_id.view() == answer_id)
                return {std::string(r.session.view()), std::string(r.account.view())};
        }
    }
    maker out;
    std::tie(out.session, out.account) = queries::made_by(impl_->path, answer_id);
    return out;
}

}  // namespace keyhole::metering
