#include "metering/estimate.hpp"

#include "metering/json_scan.hpp"

#include <algorithm>
#include <string>

namespace keyhole::metering {

namespace {

constexpr std::uint64_t one = 1000;

/// What a wire adds to its text.
struct wire_weights {
    wire id;
    std::uint64_t permille;    ///< of the text's count, where deltas don't tell
    std::int64_t answer;       ///< tokens of the answer's own frame
    std::int64_t call;         ///< tokens of a tool call's name and frame
    std::int64_t seal_head;    ///< characters of sealed reasoning that hold nothing
    std::int64_t seal_tenths;  ///< tenths of a character of sealed reasoning a token
};

constexpr wire_weights otherwise{wire::none, 1000, 1, 10, 0, 70};
constexpr wire_weights weights[] = {
    {wire::openai_responses, 1100, 1, 12, 0, 66},
    {wire::anthropic_messages, 1100, 3, 45, 0, 100},
    {wire::bedrock_converse, 1000, 2, 10, 0, 100},
    {wire::gemini, 1050, 2, 10, 120, 56},
    {wire::cohere, 1000, 4, 20, 0, 70},
};

const wire_weights& weights_of(wire w) noexcept
{
    const auto* found = std::ranges::find(weights, w, &wire_weights::id);
    return found == std::end(weights) ? otherwise : *found;
}

constexpr std::size_t most_read = 1U << 20U;
/// A longer string without a space is a picture, a sound, a file.
constexpr std::size_t longest_unbroken = 4096;

/// Members whose strings the model never sees as text.
bool is_label(std::string_view key) noexcept
{
    constexpr std::string_view labels[] = {"role",
                                           "type",
                                           "id",
                                           "model",
                                           "tool_call_id",
                                           "call_id",
                                           "tool_use_id",
                                           "status",
                                           "signature",
                                           "encrypted_content",
                                           "thoughtSignature",
                                           "service_tier",
                                           "object",
                                           "tool_choice",
                                           "user",
                                           "effort",
                                           "reasoning_effort",
                                           "media_type",
                                           "mimeType",
                                           "cache_control"};
    return std::ranges::find(labels, key) != std::end(labels);
}

}  // namespace

std::int64_t estimate_output(wire w, const written_text& text, bool streamed) noexcept
{
    if (text.empty()) return 0;
    const wire_weights& by = weights_of(w);
    // Providers that send an event a token leave nothing to guess. Whether this one does shows in its
    // deltas: about as many as the text's own count.
    const std::uint64_t counted = (text.millitokens + one / 2) / one;
    const bool token_an_event =
        streamed && text.deltas * 10 >= counted * 9 && text.deltas * 10 <= counted * 16 + 30;
    auto tokens = static_cast<std::int64_t>(
        token_an_event ? text.deltas : (text.millitokens / one * by.permille + one / 2) / one);
    tokens += by.answer + static_cast<std::int64_t>(text.calls) * by.call;
    const auto sealed = text.sealed_bytes - static_cast<std::int64_t>(text.sealed) * by.seal_head;
    return tokens + std::max<std::int64_t>(sealed, 0) * 10 / by.seal_tenths;
}

std::int64_t estimate_input(wire w, std::string_view body)
{
    const std::string_view read = body.substr(0, most_read);
    json_cursor cursor{read};
    token_counter texts;
    std::string decoded;
    std::uint64_t keys = 0;
    bool label = false;  // the member before it names the string instead of holding text
    bool tools = false;
    json_string text;
    while (!cursor.done()) {
        if (cursor.peek() != '"') {
            cursor.skip_byte();
            continue;
        }
        if (!cursor.read_string(text)) break;
        cursor.skip_space();
        if (!cursor.done() && cursor.peek() == ':') {
            ++keys;
            label = is_label(text.raw);
            tools = tools || text.raw == "tools";
            continue;
        }
        if (!label && (text.raw.size() <= longest_unbroken || text.raw.find(' ') != text.raw.npos)) {
            decoded.clear();
            decode_json_string(text.raw, text.raw.size(), decoded);
            texts.add(decoded);
            texts.end();
        }
        label = false;
    }
    std::uint64_t tokens = keys + texts.millitokens() / one + (body.size() - read.size()) / 4;
    // https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview: the system prompt of tool use.
    if (tools && w == wire::anthropic_messages) tokens += 346;
    return static_cast<std::int64_t>(tokens);
}

std::int64_t rough_input(std::uint64_t text_bytes) noexcept
{
    return static_cast<std::int64_t>(text_bytes / 4);
}

std::int64_t sampled_input(std::string_view body, std::uint64_t text_bytes) noexcept
{
    constexpr std::size_t samples = 4;
    constexpr std::size_t piece = 256;
    const std::size_t stride = std::max(body.size() / samples, piece);
    token_counter counter;
    std::size_t read = 0;
    for (std::size_t i = 0; i < samples; ++i) {
        const std::size_t at = i * stride + (stride - piece) / 2;
        if (at >= body.size()) break;
        const auto sample = body.substr(at, piece);
        counter.add(sample);
        counter.end();
        read += sample.size();
    }
    // Of texts that fit into memory: nothing overflows.
    return read == 0 ? 0 : static_cast<std::int64_t>(counter.millitokens() * (text_bytes / one + 1) / read);
}

}  // namespace keyhole::metering
