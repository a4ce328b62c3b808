// Whether learning another form is worth it: a lesson costs about as much as reading once more, so lessons
// stop, but for a try now and then, where hardly anything is recognised by what they taught. Thread rule: one
// owner.
#pragma once

#include <cstdint>

namespace keyhole::metering {

class learning {
public:
    void recognised() noexcept
    {
        if (credit_ != full) ++credit_;
    }
    /// A lesson may be taken now.
    bool worth_it() noexcept
    {
        if (credit_ == 0) return ++refused_ == 0;
        --credit_;
        return true;
    }

private:
    static constexpr std::uint8_t full = 64;
    std::uint8_t credit_ = full;
    std::uint8_t refused_ = 0;
};

}  // namespace keyhole::metering
