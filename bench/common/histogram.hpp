// Counts durations in log-linear buckets, as HDR histograms do: 64 buckets for each power of two, so a
// percentile is off by 1.6 % at most, and recording costs a few instructions. Units: nanoseconds. Thread
// rule: one owner.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace keyhole::bench {

class histogram {
public:
    void record(std::int64_t ns) noexcept
    {
        const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0));
        ++counts_[index_of(value)];
        ++count_;
        sum_ += value;
        max_ = std::max(max_, value);
    }

    std::uint64_t count() const noexcept { return count_; }
    std::uint64_t max() const noexcept { return max_; }
    double mean() const noexcept
    {
        return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_);
    }

    /// The middle of the bucket that holds the value at `share` (0..1) of all that were recorded; 0 if none
    /// was.
    std::uint64_t at(double share) const noexcept
    {
        const auto rank = static_cast<std::uint64_t>(share * static_cast<double>(count_));
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (seen > rank || (seen == count_ && seen != 0)) return std::min(middle_of(i), max_);
        }
        return 0;
    }

private:
    static constexpr std::uint64_t per_power = 64;
    static constexpr unsigned shift_bits = 6;

    static std::size_t index_of(std::uint64_t value) noexcept
    {
        if (value < per_power) return value;
        const auto power = static_cast<unsigned>(std::bit_width(value)) - 1 - shift_bits;
        const auto index = (power + 1) * per_power + ((value >> power) - per_power);
        return std::min<std::size_t>(index, size - 1);
    }

    static std::uint64_t middle_of(std::size_t index) noexcept
    {
        if (index < per_power) return index;
        const auto power = index / per_power - 1;
        const auto low = (index % per_power + per_power) << power;
        return low + ((std::uint64_t{1} << power) >> 1U);
    }

    static constexpr std::size_t size = per_power * 36;
    std::array<std::uint64_t, size> counts_{};
    std::uint64_t count_ = 0;
    std::uint64_t sum_ = 0;
    std::uint64_t max_ = 0;
};

}  // namespace keyhole::bench
