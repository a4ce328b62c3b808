#include "metering/sqlite.hpp"

#include <sqlite3.h>

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace keyhole::metering::sqlite {

namespace {

[[noreturn]] void fail(sqlite3* db, int code)
{
    std::string what = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    if (db != nullptr && (code & 0xFF) == SQLITE_IOERR) {
        what += " (" + std::string(sqlite3_errstr(sqlite3_extended_errcode(db))) + ")";
    }
    throw error(code, what);
}

[[noreturn]] void fail(const std::string& what)
{
    const int code = errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_CANTOPEN;
    throw error(code, what + ": " + std::generic_category().message(errno));
}

/// Everything that was written under `path` is on the disk.
void sync(const std::string& path, int flags)
{
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
    if (fd < 0) fail("cannot open " + path);
    const int done = ::fsync(fd);
    ::close(fd);
    if (done != 0) fail("cannot sync " + path);
}

}  // namespace

bool error::passing() const noexcept
{
    return code() == SQLITE_BUSY || code() == SQLITE_LOCKED || code() == SQLITE_FULL ||
           code() == SQLITE_NOMEM;
}

void connection::closer::operator()(sqlite3* db) const noexcept
{
    sqlite3_close_v2(db);
}

connection::connection(const std::string& path, mode m, int busy_timeout_ms)
{
    // SQLite counts its memory under one mutex; nobody asks for that count, and each row takes it dozens of
    // times.
    [[maybe_unused]] static const int uncounted = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    switch (m) {
    case mode::read_only:
        flags |= SQLITE_OPEN_READONLY;
        break;
    case mode::read_write:
        flags |= SQLITE_OPEN_READWRITE;
        break;
    case mode::create:
        flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
        break;
    }
    sqlite3* db = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
    db_.reset(db);
    if (code != SQLITE_OK) fail(db, code);
    sqlite3_busy_timeout(db, busy_timeout_ms);
}

void connection::exec(const std::string& sql)
{
    const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) fail(db_.get(), code);
}

statement connection::prepare(std::string_view sql)
{
    statement s;
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    s.stmt_.reset(raw);
    if (code != SQLITE_OK) fail(db_.get(), code);
    return s;
}

std::int64_t connection::integer(std::string_view sql)
{
    statement s = prepare(sql);
    return s.step() ? s.integer(0) : 0;
}

int connection::changes() const noexcept
{
    return sqlite3_changes(db_.get());
}

bool connection::in_transaction() const noexcept
{
    return db_ != nullptr && sqlite3_get_autocommit(db_.get()) == 0;
}

void connection::rollback() noexcept
{
    if (in_transaction()) sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void statement::closer::operator()(sqlite3_stmt* s) const noexcept
{
    sqlite3_finalize(s);
}

void statement::check(int code) const
{
    if (code != SQLITE_OK) fail(sqlite3_db_handle(stmt_.get()), code);
}

statement& statement::bind(int at, std::int64_t value)
{
    check(sqlite3_bind_int64(stmt_.get(), at, value));
    return *this;
}

statement& statement::bind(int at, std::string_view text)
{
    // A null pointer would bind NULL; an empty text is not NULL.
    const char* bytes = text.data() == nullptr ? "" : text.data();
    check(sqlite3_bind_text64(stmt_.get(), at, bytes, text.size(), nullptr, SQLITE_UTF8));
    return *this;
}

statement& statement::bind(int at, std::span<const std::uint8_t> blob)
{
    check(sqlite3_bind_blob64(stmt_.get(), at, blob.data(), blob.size(), nullptr));
    return *this;
}

bool statement::step()
{
    const int code = sqlite3_step(stmt_.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    fail(sqlite3_db_handle(stmt_.get()), code);
}

void statement::reset() noexcept
{
    sqlite3_reset(stmt_.get());
}

void statement::run()
{
    struct resetting {
        statement& s;
        ~resetting() { s.reset(); }
    } at_end{*this};
    while (step()) {
    }
}

std::int64_t statement::integer(int column) const noexcept
{
    return sqlite3_column_int64(stmt_.get(), column);
}

std::string_view statement::text(int column) const noexcept
{
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(stmt_.get(), column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(stmt_.get(), column))};
}

std::span<const std::uint8_t> statement::blob(int column) const noexcept
{
    const auto* bytes = static_cast<const std::uint8_t*>(sqlite3_column_blob(stmt_.get(), column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(stmt_.get(), column))};
}

transaction::transaction(connection& db) : db_(db)
{
    db_.exec("BEGIN IMMEDIATE");
}

transaction::~transaction()
{
    db_.rollback();
}

void transaction::commit()
{
    db_.exec("COMMIT");
}

void make_file(const std::string& path, const std::function<void(connection&)>& fill)
{
    struct stat there{};
    if (::stat(path.c_str(), &there) == 0 && there.st_size != 0) return;
    const std::string fresh = path + ".new";
    for (const char* tail : {"", "-wal", "-shm"})
        ::unlink((fresh + tail).c_str());  // of a start that died
    try {
        // Created here, not by SQLite, because of its mode: SQLite gives its own files the mode of this one.
        const int fd = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) fail("cannot create " + fresh);
        ::close(fd);
        {
            connection db(fresh, mode::create, 0);
            db.exec("PRAGMA journal_mode = MEMORY");
            db.exec("PRAGMA synchronous = OFF");
            fill(db);
            db.exec("PRAGMA journal_mode = WAL");
        }
        sync(fresh, O_RDWR);
        // A log that lies here belongs to a file that was moved away: it must not be laid over this one.
        for (const char* tail : {"-wal", "-shm"})
            ::unlink((path + tail).c_str());
        if (::rename(fresh.c_str(), path.c_str()) != 0) fail("cannot rename " + fresh);
        sync(std::filesystem::absolute(path).parent_path().string(), O_RDONLY | O_DIRECTORY);
    } catch (...) {
        ::unlink(fresh.c_str());
        throw;
    }
}

}  // namespace keyhole::metering::sqlite
