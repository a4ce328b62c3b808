// What one request may use at most, as its own wire reads it: only members that the wire's API knows bound
// the answer, and what stands elsewhere (an image by its URL, a server's searches) is counted with an
// allowance. For reservations, and for what speech that nobody counted was asked to say. Thread rule: pure.
#pragma once

#include "metering/request_media.hpp"
#include "metering/usage.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {

/// Tokens that are held for what a request names and does not bring.
inline constexpr std::int64_t image_allowance = 32'000;
inline constexpr std::int64_t file_allowance = 100'000;
/// Searches that are held for a tool that does not say how many it may make.
inline constexpr std::int64_t search_allowance = 10;

struct request_demand {
    std::optional<std::int64_t>
        output;  ///< one answer's tokens, as the request bounds them; nullopt: it doesn't
    std::int64_t answers = 1;
    std::int64_t input_elsewhere = 0;  ///< allowances
    media_sum media;                   ///< what it brings along
    std::int64_t searches = 0;
    bool writes_cache = false;       ///< asks for cache writes, which cost more than input
    bool writes_long_cache = false;  ///< for an hour
    bool output_audio = false;
    bool output_image = false;
    std::int64_t spoken_bytes = 0;    ///< of the text that is to be spoken (speech)
    std::vector<std::string> models;  ///< further models that may answer (OpenRouter's fallbacks)
};

/// `model` tells whose members Bedrock's invoke reads.
request_demand demand_of(wire w, std::string_view model, std::string_view body);

}  // namespace keyhole::metering
