#include "metering/ledger_trouble.hpp"

#include "metering/sqlite.hpp"

#include <sqlite3.h>

#include <sys/stat.h>

namespace keyhole::metering {

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

std::string words_of(const std::exception_ptr& error)
{
    if (!error) return {};
    try {
        std::rethrow_exception(error);
    } catch (const sqlite::error& e) {
        return std::string(e.what()) + " (" + remedy_for(e.code()) + ")";
    } catch (const std::exception& e) {
        return e.what();
    }
}

file_identity identity_of(const std::string& path)
{
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return {};
    return {status.st_dev, status.st_ino};
}

}  // namespace keyhole::metering
