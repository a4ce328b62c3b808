// A journal and a ledger in a directory of their own.
#pragma once

#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"

namespace keyhole::metering::test {

/// As the proxy does when a request ends.
inline void submit(journal& j, ledger& books, const record& r)
{
    const auto slot = j.open(r);
    ASSERT_TRUE(slot);
    j.settle(*slot);
    books.submit(*slot);
}

struct books_on_disk {
    temp_dir dir;
    journal inflight{dir / "inflight", 4096, false};
    ledger books{dir.path(), inflight, false};

    void add(const record& r) { submit(inflight, books, r); }
};

}  // namespace keyhole::metering::test
