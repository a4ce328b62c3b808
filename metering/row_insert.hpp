// Rows on their way into SQLite: an INSERT of a fixed number of rows that remembers what its parameters hold.
// Of a row's fifty columns hardly a dozen differ from the row that stood in the same place before, and only
// those are bound anew. Thread rule: its connection's.
#pragma once

#include "metering/record.hpp"
#include "metering/sqlite.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace keyhole::metering {

class row_insert {
public:
    row_insert() = default;
    /// `sql` has the parameters of `rows` rows, each in the order of schema::row_columns().
    row_insert(sqlite::connection& db, const std::string& sql, std::size_t rows);

    /// How many rows run() takes.
    std::size_t size() const noexcept { return places_.size(); }
    void run(std::span<const record* const> rows);

private:
    struct place {
        record bound;        ///< what the parameters hold; texts are bound where they lie here
        bool known = false;  ///< all of it is bound
    };

    // The texts outlive the statement that points to them.
    std::vector<place> places_;
    sqlite::statement statement_;
};

}  // namespace keyhole::metering
