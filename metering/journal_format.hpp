// The bytes of a journal file: one header page, then slots of equal size. Pure functions over bytes, so that
// any damage can be tried in a test or a fuzzer without files. Thread rule: plain functions; a slot's state
// is the only field that two threads touch, always through std::atomic_ref.
#pragma once

#include "metering/record.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace keyhole::metering::journal_format {

inline constexpr std::size_t header_page = 4096;
inline constexpr std::uint32_t version = 1;
inline constexpr unsigned most_slots = 1U << 22U;

/// Values that neither a zeroed nor an overwritten page holds by accident.
enum slot_state : std::uint32_t { slot_free = 0, slot_open = 0x6E65704FU, slot_settled = 0x6C746553U };

struct alignas(64) slot {
    std::uint32_t state =
        slot_free;  ///< stays at offset 0 in every version: a later one must see whether a slot is free
    std::uint32_t reserved = 0;
    std::uint64_t sequence = 0;  ///< order in which slots were opened
    std::uint64_t checksum = 0;  ///< of sequence and row; written when it settles
    record row;
};
static_assert(std::is_trivially_copyable_v<slot> && offsetof(slot, state) == 0);

struct header {
    std::array<char, 8> magic{};
    std::uint32_t version = 0;
    std::uint32_t slot_bytes = 0;
    std::uint32_t slots = 0;
    std::uint32_t reserved = 0;
    std::uint64_t layout =
        0;  ///< fingerprint of record's layout: two programs of one version may still disagree on it
    std::uint64_t checksum = 0;
};

header make_header(unsigned slots) noexcept;
/// Puts the checksum right after a change.
void seal(header& h) noexcept;
std::uint64_t checksum_of(const slot& s) noexcept;
constexpr std::size_t file_bytes(std::size_t slots)
{
    return header_page + slots * sizeof(slot);
}

enum class verdict {
    fresh,  ///< nothing was ever in it
    good,
    damaged,        ///< some of it cannot be what this program wrote; `found` has what could be read
    other_version,  ///< a whole journal of another version; `held` slots of it are not free
};

struct leftover_slot {
    std::uint32_t index = 0;
    std::uint64_t sequence = 0;
    bool was_settled = false;
    record row;  ///< storable; of an open slot: end = interrupted
};

struct scan_result {
    verdict what = verdict::fresh;
    unsigned slots = 0;            ///< as the header says (good)
    std::uint32_t written_by = 0;  ///< the header's version (other_version)
    unsigned held = 0;             ///< other_version: slots that are not free
    unsigned repaired = 0;         ///< slots whose checksum or state was wrong but whose record could be read
    unsigned lost = 0;             ///< slots of which nothing could be read
    std::vector<leftover_slot> found;  ///< in the order they were opened
};

/// Reads whatever a file holds. Never throws but for memory, never reads outside `file`.
scan_result scan(std::span<const std::byte> file);

}  // namespace keyhole::metering::journal_format
