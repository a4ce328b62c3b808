// What is said of a ledger's file that cannot be used, and how one that was replaced is noticed. Thread rule:
// plain functions.
#pragma once

#include <exception>
#include <string>
#include <sys/types.h>

namespace keyhole::metering {

/// What an operator does about a result code of SQLite.
std::string remedy_for(int code);

/// What was thrown, with the remedy where there is one; empty: nothing was.
std::string words_of(const std::exception_ptr& error);

/// Which file a path names now; a ledger that was moved away under a running writer must not swallow rows.
struct file_identity {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const file_identity&) const = default;
};
file_identity identity_of(const std::string& path);

}  // namespace keyhole::metering
