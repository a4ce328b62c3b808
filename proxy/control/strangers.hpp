// Attempts at the admin API by somebody without the right, in the log: each one while they are few, a count
// of what was left out while somebody guesses. Thread rule: the control thread.
#pragma once

#include "proxy/log.hpp"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace keyhole::proxy {

class strangers {
public:
    explicit strangers(logger& log) noexcept : log_(log) {}

    /// One was refused. At most a line a second; a line says how many there were since the last.
    void refused(std::string_view peer, std::chrono::steady_clock::time_point now);

private:
    logger& log_;
    std::chrono::steady_clock::time_point next_{};
    std::uint64_t since_ = 0;
};

}  // namespace keyhole::proxy
