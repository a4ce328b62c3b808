// The media that a JSON request brings along: strings that stand where its own wire carries a picture, a
// sound, a film or a document, and those only. Everything else in a body may become text (a tool's arguments
// do, whatever their members are called), so nothing else is taken for media. Thread rule: pure.
#pragma once

#include "metering/media_kinds.hpp"
#include "metering/request_facts.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace keyhole::metering {

struct media_part {
    std::size_t begin = 0;  ///< of the string's inside, in the body
    std::size_t size = 0;   ///< raw, without its quotes
    bool unbroken = false;  ///< request_facts has it among its unbroken bytes, not its text
    media_tokens tokens;
};

/// Calls `take` for each. An object's data comes when the object ends, so not quite in the body's order.
/// `model` tells whose members Bedrock's invoke reads.
void each_media(wire w, std::string_view model, std::string_view body,
                const std::function<void(const media_part&)>& take);

/// What they are together, for reservations.
struct media_sum {
    std::uint64_t text_bytes = 0;      ///< of request_facts::text_bytes
    std::uint64_t unbroken_bytes = 0;  ///< of request_facts::unbroken_bytes
    std::int64_t most = 0;
};
media_sum media_sum_of(wire w, std::string_view model, std::string_view body);

/// What the body's input costs at most, `media` being what is in it: half a token a byte of text, a whole one
/// where a long string has no break (which no tokenizer's words fit), and what its media may cost.
std::int64_t most_input_tokens(const request_facts& facts, const media_sum& media) noexcept;

}  // namespace keyhole::metering
