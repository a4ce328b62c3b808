// How many tokens a text is taken for where nobody counted them: an answer that was cut before its provider
// reported, a provider that never reports. Every number that comes from here is marked `estimated` in the
// ledger. The rules know a wire and a script, never a model or a provider: `keyhole-cuts` measures how far
// they are from what providers billed (docs/metering.md). Thread rule: one owner.
#pragma once

#include "metering/token_counter.hpp"
#include "metering/usage.hpp"

#include <cstdint>
#include <string_view>

namespace keyhole::metering {

/// What passed of the text that a model wrote, as far as it tells how many tokens that was.
struct written_text {
    std::uint64_t bytes = 0;
    std::uint64_t deltas = 0;       ///< strings that were not empty: many wires send a token an event
    std::uint64_t millitokens = 0;  ///< by script, a thousandth of a token each
    std::uint64_t calls = 0;        ///< of tools: a name and a frame that stand in no text
    std::uint64_t call_bytes = 0;   ///< of their names
    std::uint64_t sealed = 0;       ///< strings of sealed reasoning (signatures, encrypted thoughts)
    std::int64_t sealed_bytes = 0;  ///< their base64, less what their empty forms held

    bool operator==(const written_text&) const = default;
    bool empty() const noexcept { return bytes == 0 && calls == 0 && sealed_bytes <= 0; }
};

/// Output tokens of `text`; `streamed` where its deltas came one by one.
std::int64_t estimate_output(wire w, const written_text& text, bool streamed) noexcept;

/// Input tokens of a JSON request body: the texts in it and what its media usually are, without what a
/// provider adds of its own. Walks it all and reads the first megabyte of its texts, so it is for the few
/// rows that need it.
std::int64_t estimate_input(wire w, std::string_view body);

/// The same without a look at the body: `text_bytes` of it can become tokens (request_facts).
std::int64_t rough_input(std::uint64_t text_bytes) noexcept;

/// The same from a few pieces of the body, at a cost that does not grow with it.
std::int64_t sampled_input(std::string_view body, std::uint64_t text_bytes) noexcept;

}  // namespace keyhole::metering
