// What a picture, a sound, a film or a document may cost in tokens where a request brings it along: by its
// kind, and by what its first bytes say of it. Bounds for reservations and guesses for rows, never a bill.
// Thread rule: pure.
#pragma once

#include "metering/usage.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace keyhole::metering {

enum class media_kind : std::uint8_t {
    text,  ///< a provider reads it as such: it is counted as text
    image,
    audio,
    video,
    document,  ///< a PDF, an office file, and whatever nobody knows
};

struct media_tokens {
    std::int64_t most = 0;
    std::int64_t likely = 0;
};

/// No model reads more at once, of which documents or films are a part.
inline constexpr std::int64_t largest_context = 1'100'000;

/// As many of the first bytes as media_tokens_of() looks at.
inline constexpr std::size_t media_head = 4096;

/// Whether its pictures cost more than other models'.
bool bills_pictures_dearer(std::string_view model) noexcept;

/// "image/png" is an image; no name that is known: a document.
media_kind kind_of_type(std::string_view mime) noexcept;

/// `head`: the decoded first bytes; `size`: all of them. What is called an image and does not look like one
/// is taken for a document. `model` tells where one sort of models bills images by a measure of its own.
media_tokens media_tokens_of(wire w, std::string_view model, media_kind kind, std::string_view head,
                             std::uint64_t size) noexcept;

}  // namespace keyhole::metering
