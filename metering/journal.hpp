// The in-flight journal: a memory-mapped file of fixed slots, one a request in flight. Writing it costs
// nanoseconds (plain stores into the page cache) and survives kill -9 (EVERY_REQUEST_ONE_ROW). open ->
// settled -> free; a slot is freed only after its row is committed to the ledger. What the slots hold at
// start-up becomes rows. Thread rule: open() and free_slot() from any thread; a slot's record belongs to the
// thread that opened it until settle().
#pragma once

#include "metering/record.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace keyhole::metering {

class journal {
public:
    /// Opens or creates the file `path` with `slots` slots (a file with more non-free slots than that keeps
    /// its size), takes an exclusive lock on it (a second instance is refused), checks magic, version and
    /// checksums. Throws std::runtime_error with the cause and the remedy. A file that is damaged is set
    /// aside as PATH.damaged-<time> after every readable slot has been taken from it.
    journal(const std::string& path, unsigned slots, bool sync_to_disk);
    ~journal();
    journal(const journal&) = delete;
    journal& operator=(const journal&) = delete;

    /// What the previous process left: open slots come back with end = interrupted, settled ones as they
    /// were. Their slots stay taken until free_slot(): call it for each after its row is committed.
    struct leftover {
        std::uint32_t slot;
        record row;
    };
    std::vector<leftover> recover();

    /// Takes a free slot, copies `r` into it and marks it open; nullopt when all are taken (the request must
    /// then be refused, 503).
    std::optional<std::uint32_t> open(const record& r) noexcept;

    /// The slot's record, in place: write what becomes known as it becomes known.
    record& at(std::uint32_t slot) noexcept;

    /// The record is final (it ends now, where it does not say when): checksums it and marks the slot
    /// settled. The owner may not touch it afterwards.
    void settle(std::uint32_t slot) noexcept;

    /// Its row is committed.
    void free_slot(std::uint32_t slot) noexcept;

    /// After a busy time: gives the memory back that its slots' pages take. What they hold stays in the
    /// file's page cache, where a later process finds it, too. Any thread, any time.
    void rest() noexcept;

    /// Slots in use / in all.
    unsigned used() const noexcept;
    unsigned capacity() const noexcept;
    /// Remarks of the start ("recovered 3 requests in flight, 1 settled"; damage found).
    const std::vector<std::string>& remarks() const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::metering
