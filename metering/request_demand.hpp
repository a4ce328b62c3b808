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
/// Something that the provider keeps and of which nothing is known here.
inline constexpr std::int64_t kept_allowance = 100'000;
/// An item of an earlier answer that a request refers to.
inline constexpr std::int64_t item_allowance = 4'000;
/// What a server's tool may read of pages and of stored files.
inline constexpr std::int64_t page_allowance = 25'000;
inline constexpr std::int64_t stored_file_allowance = 20'000;
/// Searches that are held for a tool that does not say how many it may make; what a search finds is read.
inline constexpr std::int64_t search_allowance = 10;
inline constexpr std::int64_t source_allowance = 20;  ///< xAI's own default where sources are billed
inline constexpr std::int64_t research_searches = 50;
/// Times that a tool may consult another model, where it does not say.
inline constexpr std::int64_t consulting_allowance = 5;
inline constexpr std::size_t most_models = 32;

/// What one search makes its model read. Anthropic's results are whole pages, read again with each further
/// one (two of a recorded request: 40,000 tokens).
constexpr std::int64_t tokens_a_search(wire w) noexcept
{
    return w == wire::anthropic_messages ? 10'000 : 2'000;
}

/// A model that a tool of the server asks for advice, with all that the request's own model reads.
struct consulted_model {
    std::string name;
    std::int64_t times = consulting_allowance;
};

struct request_demand {
    std::optional<std::int64_t>
        output;                ///< one answer's tokens, as the request bounds them; nullopt: it doesn't
    std::int64_t answers = 1;  ///< of all prompts together
    std::int64_t input_elsewhere = 0;  ///< allowances
    media_sum media;                   ///< what it brings along
    std::int64_t searches = 0;
    bool writes_cache = false;       ///< may make cache writes, which can cost more than input
    bool writes_long_cache = false;  ///< for an hour
    bool output_audio = false;
    bool output_image = false;
    std::int64_t spoken_bytes = 0;    ///< of the text that is to be spoken (speech)
    std::vector<std::string> tiers;   ///< service tiers that are asked for, in the request's own words
    std::vector<std::string> models;  ///< further models that may answer (OpenRouter's fallbacks)
    std::vector<consulted_model> consulted;
    bool too_many_models = false;  ///< more than most_models; not all are in `models` and `consulted`
};

/// `model` tells whose members Bedrock's invoke reads.
request_demand demand_of(wire w, std::string_view model, std::string_view body);

}  // namespace keyhole::metering
