// The one clock of load generator and mock provider (CLOCK_MONOTONIC, nanoseconds), so that a time written by
// one can be subtracted in the other. Thread rule: any thread.
#pragma once

#include <cstdint>
#include <ctime>

namespace keyhole::bench {

inline std::int64_t now_ns() noexcept
{
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

inline timespec to_timespec(std::int64_t ns) noexcept
{
    return {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
}

}  // namespace keyhole::bench
