#include "metering/journal_format.hpp"

#include "metering/storable.hpp"

#include <algorithm>
#include <utility>

namespace keyhole::metering::journal_format {

namespace {

constexpr std::array<char, 8> magic{'K', 'E', 'Y', 'H', 'O', 'L', 'E', 'J'};

using word = std::uint64_t;

word word_at(const std::byte* bytes) noexcept
{
    word w = 0;
    std::memcpy(&w, bytes, sizeof w);
    return w;
}

word mixed(word h, word w) noexcept
{
    h = (h ^ w) * 0xD6E8FEB86659FD93U;
    return h ^ h >> 32U;
}

/// A multiply-and-fold hash over whole words: it has to notice damage, not an adversary (who could write rows
/// anyway).
template <std::size_t Size>
word hash_words(const std::byte* bytes, word seed) noexcept
{
    static_assert(Size % sizeof(word) == 0);
    word h = seed ^ 0x9E3779B97F4A7C15U;
    for (std::size_t at = 0; at < Size; at += sizeof(word))
        h = mixed(h, word_at(bytes + at));
    return h == 0 ? 1 : h;
}

/// The same for a row: of its words four at a time, since each step of one waits for the step before.
word hash_row(const std::byte* bytes, word sequence) noexcept
{
    constexpr std::size_t lanes = 4;
    constexpr std::size_t words = sizeof(record) / sizeof(word);
    static_assert(sizeof(record) % sizeof(word) == 0);
    std::array<word, lanes> h{sequence, 1, 2, 3};
    std::size_t at = 0;
    for (; at + lanes <= words; at += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane)
            h[lane] = mixed(h[lane], word_at(bytes + (at + lane) * sizeof(word)));
    for (; at < words; ++at)
        h[0] = mixed(h[0], word_at(bytes + at * sizeof(word)));
    const word all = mixed(mixed(mixed(h[0], h[1]), h[2]), h[3]);
    return all == 0 ? 1 : all;
}

constexpr std::uint64_t layout_fingerprint() noexcept
{
    constexpr std::array<std::size_t, 16> facts{sizeof(record),
                                                offsetof(record, session),
                                                offsetof(record, provider),
                                                offsetof(record, model),
                                                offsetof(record, error),
                                                offsetof(record, format),
                                                offsetof(record, source),
                                                offsetof(record, end),
                                                offsetof(record, stream),
                                                offsetof(record, status),
                                                offsetof(record, counts),
                                                offsetof(record, cost_nano_usd),
                                                sizeof(token_counts),
                                                offsetof(record, received_us),
                                                offsetof(record, ended_us),
                                                offsetof(record, bytes_out)};
    std::uint64_t h = 0xCBF29CE484222325U;
    for (const std::size_t fact : facts) {
        h = (h ^ fact) * 0x100000001B3U;
    }
    return h;
}

std::uint64_t header_checksum(const header& h) noexcept
{
    return hash_words<offsetof(header, checksum)>(reinterpret_cast<const std::byte*>(&h), 0);
}

bool all_zero(std::span<const std::byte> bytes) noexcept
{
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

bool is_uuid_v7(const std::array<std::uint8_t, 16>& id) noexcept
{
    return id[6] >> 4U == 7 && id[8] >> 6U == 2;
}

void read_slot(std::span<const std::byte> bytes, std::uint32_t index, scan_result& result)
{
    std::uint32_t state = 0;
    std::memcpy(&state, bytes.data(), sizeof state);
    if (state == slot_free) return;

    leftover_slot left;
    left.index = index;
    std::memcpy(&left.sequence, bytes.data() + offsetof(slot, sequence), sizeof left.sequence);
    left.row = storable_from(bytes.subspan<offsetof(slot, row), sizeof(record)>());

    std::uint64_t expected = 0;
    std::memcpy(&expected, bytes.data() + offsetof(slot, checksum), sizeof expected);
    const auto* row_bytes = bytes.data() + offsetof(slot, row);
    left.was_settled =
        state == slot_settled &&
        (expected == hash_row(row_bytes, left.sequence) ||
         expected == hash_words<sizeof(record)>(row_bytes, left.sequence));  // as programs before wrote it

    const bool known_state = state == slot_open || state == slot_settled;
    const bool readable_id = is_uuid_v7(left.row.request_id);
    if (!known_state && !readable_id) {
        ++result.lost;
        return;
    }
    if (!known_state || !readable_id || (state == slot_settled && !left.was_settled)) {
        ++result.repaired;
    }
    if (!readable_id) {
        left.row.request_id = new_request_id();  // the request was made; only its name is gone
    }
    if (!left.was_settled) {
        left.row.end = outcome::interrupted;
        if (left.row.counts == token_counts{}) {
            left.row.source = usage_source::none;
        } else if (left.row.source == usage_source::none) {
            left.row.source = usage_source::provider_partial;
        }
    }
    result.found.push_back(left);
}

void read_slots(std::span<const std::byte> file, std::size_t slots, scan_result& result)
{
    const std::size_t whole = file.size() < header_page ? 0 : (file.size() - header_page) / sizeof(slot);
    for (std::size_t i = 0; i < std::min<std::size_t>({slots, whole, most_slots}); ++i) {
        read_slot(file.subspan(header_page + i * sizeof(slot), sizeof(slot)), static_cast<std::uint32_t>(i),
                  result);
    }
    std::ranges::sort(result.found, {},
                      [](const leftover_slot& l) { return std::pair(l.sequence, l.index); });
}

/// How many slots of a foreign layout are not free.
unsigned held_by_other(std::span<const std::byte> file, const header& h) noexcept
{
    unsigned held = 0;
    std::size_t at = header_page;
    for (std::uint32_t i = 0; i < h.slots && at + sizeof(std::uint32_t) <= file.size(); ++i) {
        std::uint32_t state = 0;
        std::memcpy(&state, file.data() + at, sizeof state);
        held += state != slot_free;
        at += std::max<std::size_t>(h.slot_bytes, sizeof state);
    }
    return held;
}

}  // namespace

header make_header(unsigned slots) noexcept
{
    header h;
    h.magic = magic;
    h.version = version;
    h.slot_bytes = sizeof(slot);
    h.slots = slots;
    h.layout = layout_fingerprint();
    seal(h);
    return h;
}

void seal(header& h) noexcept
{
    h.checksum = header_checksum(h);
}

std::uint64_t checksum_of(const slot& s) noexcept
{
    return hash_row(reinterpret_cast<const std::byte*>(&s.row), s.sequence);
}

scan_result scan(std::span<const std::byte> file)
{
    scan_result result;
    if (all_zero(file)) return result;

    header h;
    if (file.size() >= sizeof h) {
        std::memcpy(&h, file.data(), sizeof h);
    }
    if (h.magic != magic || h.checksum != header_checksum(h)) {
        result.what = verdict::damaged;
        read_slots(file, most_slots, result);
        return result;
    }
    if (h.version != version || h.layout != layout_fingerprint() || h.slot_bytes != sizeof(slot)) {
        result.what = verdict::other_version;
        result.written_by = h.version;
        result.held = held_by_other(file, h);
        return result;
    }
    result.slots = h.slots;
    read_slots(file, h.slots, result);
    const bool whole = h.slots > 0 && h.slots <= most_slots && file.size() >= file_bytes(h.slots);
    result.what = whole && result.repaired == 0 && result.lost == 0 ? verdict::good : verdict::damaged;
    return result;
}

}  // namespace keyhole::metering::journal_format
