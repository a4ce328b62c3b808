// Decodes base64 that comes in pieces of any size; padding, line ends and foreign characters are skipped.
// Thread rule: one owner.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::metering {

class base64_decoder {
public:
    /// Appends what the piece completes to `out`.
    void decode(std::string_view piece, std::string& out);

private:
    std::uint32_t bits_ = 0;
    unsigned count_ = 0;  ///< bits held
};

}  // namespace keyhole::metering
