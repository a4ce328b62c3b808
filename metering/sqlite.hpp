// SQLite as values: a connection and its statements close themselves, every failure is an exception with
// SQLite's own words. Thread rule: a connection and its statements belong to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace keyhole::metering::sqlite {

class error : public std::runtime_error {
public:
    error(int code, const std::string& what) : std::runtime_error(what), code_(code) {}
    /// The primary result code (SQLITE_BUSY, SQLITE_FULL …).
    int code() const noexcept { return code_ & 0xFF; }
    /// Nothing is wrong with the connection; the same statement may work a little later.
    bool passing() const noexcept;

private:
    int code_;
};

enum class mode : std::uint8_t { read_only, read_write, create };

class statement;

class connection {
public:
    connection() = default;
    connection(const std::string& path, mode m, int busy_timeout_ms);

    /// One or more statements without results.
    void exec(const std::string& sql);
    statement prepare(std::string_view sql);
    /// First column of the first row; 0 without a row.
    std::int64_t integer(std::string_view sql);
    /// Rows that the last INSERT, UPDATE or DELETE changed.
    int changes() const noexcept;
    bool in_transaction() const noexcept;
    /// Ends a transaction that failed; never throws (SQLite may have rolled it back already).
    void rollback() noexcept;
    explicit operator bool() const noexcept { return db_ != nullptr; }

private:
    struct closer {
        void operator()(sqlite3* db) const noexcept;
    };
    std::unique_ptr<sqlite3, closer> db_;
};

class statement {
public:
    statement() = default;

    /// Parameters count from 1. Texts and blobs are not copied: they must live until the next reset().
    statement& bind(int at, std::int64_t value);
    statement& bind(int at, std::string_view text);
    statement& bind(int at, std::span<const std::uint8_t> blob);

    /// True: a row is there.
    bool step();
    void reset() noexcept;
    /// step() to the end and reset(), whatever happens.
    void run();

    /// Columns count from 0; texts and blobs live until the next step() or reset().
    std::int64_t integer(int column) const noexcept;
    std::string_view text(int column) const noexcept;
    std::span<const std::uint8_t> blob(int column) const noexcept;

private:
    friend class connection;
    struct closer {
        void operator()(sqlite3_stmt* s) const noexcept;
    };
    void check(int code) const;
    std::unique_ptr<sqlite3_stmt, closer> stmt_;
};

/// BEGIN IMMEDIATE … COMMIT; rolled back when it goes out of scope without commit().
class transaction {
public:
    explicit transaction(connection& db);
    ~transaction();
    transaction(const transaction&) = delete;
    transaction& operator=(const transaction&) = delete;
    void commit();

private:
    connection& db_;
};

/// Makes the database `path` (mode 0600, WAL) where there is no file or an empty one: `fill` runs on a file
/// of another name, unsynced since nobody knows it yet, which is then synced once, as a whole, and takes the
/// name. A file that is there stays as it is. For one process at a time. Throws what `fill` throws, or error.
void make_file(const std::string& path, const std::function<void(connection&)>& fill);

}  // namespace keyhole::metering::sqlite
