#include "metering/record.hpp"

#include <chrono>
#include <cstddef>
#include <random>
#include <sys/random.h>

namespace keyhole::metering {

namespace {

/// Random bits by the kilobyte, so that an id costs no system call.
class random_bytes {
public:
    std::uint64_t next() noexcept
    {
        if (at_ == pool_.size()) {
            refill();
        }
        return pool_[at_++];
    }

private:
    void refill() noexcept
    {
        std::size_t got = 0;
        while (got < sizeof pool_) {
            const auto n = ::getrandom(reinterpret_cast<char*>(pool_.data()) + got, sizeof pool_ - got, 0);
            if (n <= 0) break;
            got += static_cast<std::size_t>(n);
        }
        if (got < sizeof pool_) {
            // A kernel without getrandom: ids must only be unique, not secret.
            std::minstd_rand seeded(static_cast<unsigned>(now_us()) ^
                                    static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(this)));
            for (auto& word : pool_) {
                word = (std::uint64_t{seeded()} << 33) ^ (std::uint64_t{seeded()} << 11) ^ seeded();
            }
        }
        at_ = 0;
    }

    std::array<std::uint64_t, 64> pool_{};
    std::size_t at_ = 64;
};

struct id_source {
    std::uint64_t last = 0;  ///< milliseconds << 12 | fraction of the last id
    random_bytes random;
};

}  // namespace

std::string_view to_string(outcome o) noexcept
{
    switch (o) {
    case outcome::in_flight:
        return "in_flight";
    case outcome::ok:
        return "ok";
    case outcome::provider_error:
        return "provider_error";
    case outcome::provider_cut:
        return "provider_cut";
    case outcome::provider_down:
        return "provider_down";
    case outcome::agent_gone:
        return "agent_gone";
    case outcome::revoked:
        return "revoked";
    case outcome::shutdown:
        return "shutdown";
    case outcome::interrupted:
        return "interrupted";
    case outcome::stream_error:
        return "stream_error";
    case outcome::internal_error:
        return "internal_error";
    }
    return "internal_error";
}

std::array<std::uint8_t, 16> new_request_id() noexcept
{
    thread_local id_source source;
    // RFC 9562 section 6.2, method 3: the 12 bits beside the milliseconds are their fraction, so order is
    // kept below a millisecond too.
    const auto us = static_cast<std::uint64_t>(now_us());
    const std::uint64_t clock = (us / 1000) << 12 | (us % 1000) * 4096 / 1000;
    source.last = std::max(clock, source.last + 1);

    std::array<std::uint8_t, 16> id{};
    const std::uint64_t ms = source.last >> 12;
    for (std::size_t i = 0; i < 6; ++i) {
        id[i] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
    }
    id[6] = static_cast<std::uint8_t>(0x70U | (source.last >> 8 & 0x0FU));
    id[7] = static_cast<std::uint8_t>(source.last);
    const std::uint64_t random = source.random.next();
    std::memcpy(id.data() + 8, &random, sizeof random);
    id[8] = static_cast<std::uint8_t>((id[8] & 0x3FU) | 0x80U);
    return id;
}

std::array<char, 36> format_request_id(const std::array<std::uint8_t, 16>& id) noexcept
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::array<char, 36> text{};
    std::size_t at = 0;
    for (std::size_t i = 0; i < id.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text[at++] = '-';
        }
        text[at++] = digits[id[i] >> 4U];
        text[at++] = digits[id[i] & 0x0FU];
    }
    return text;
}

std::int64_t now_us() noexcept
{
    using namespace std::chrono;
    return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace keyhole::metering
