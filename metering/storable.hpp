// What a record must be before it is kept for good: texts are valid UTF-8 without control characters,
// enumerators and booleans are ones that exist, numbers lie in bounds whose sums cannot overflow. The journal
// applies it when a slot settles and to everything it reads back from a file, so the ledger never meets bytes
// it cannot store or print. Thread rule: plain functions over the caller's bytes.
#pragma once

#include "metering/record.hpp"

#include <cstddef>
#include <span>

namespace keyhole::metering {

/// More than any request ever used; keeps sums over millions of rows inside 64 bits.
inline constexpr std::int64_t most_tokens = 1'000'000'000'000;
/// A million USD for one request.
inline constexpr std::int64_t most_nano_usd = 1'000'000'000'000'000;

/// Its numbers alone: whoever counts on with them (budgets, metrics) must see those of the row.
bool bound_numbers(record& r) noexcept;

/// Makes `r` storable; returns false if anything beyond a cut character had to be changed.
bool make_storable(record& r) noexcept;

/// The record in bytes of unknown origin (a torn or damaged slot), made storable.
record storable_from(std::span<const std::byte, sizeof(record)> bytes) noexcept;

}  // namespace keyhole::metering
