// What one request used, in disjoint buckets: a total is a sum of fields, never stored beside them.
#pragma once

#include <cstdint>
#include <string_view>

namespace keyhole::metering {

/// Tokens by the bucket they are billed in. Disjoint: no token is in two fields.
struct token_counts {
    std::int64_t input = 0;  ///< not cached, not written to a cache
    std::int64_t cache_read = 0;
    std::int64_t cache_write_5m =
        0;  ///< Anthropic's five-minute writes, and writes whose life-time nobody names
    std::int64_t cache_write_1h = 0;
    std::int64_t output = 0;  ///< visible
    std::int64_t output_reasoning = 0;
    std::int64_t input_audio =
        0;  ///< the audio and image buckets are used where a provider reports them apart
    std::int64_t output_audio = 0;
    std::int64_t input_image = 0;
    std::int64_t output_image = 0;
    std::int64_t web_searches = 0;  ///< what is billed by the piece: server-tool calls, pages that are read
                                    ///< (not tokens; not in total())

    std::int64_t all_input() const noexcept
    {
        return input + cache_read + cache_write_5m + cache_write_1h + input_audio + input_image;
    }
    std::int64_t all_output() const noexcept
    {
        return output + output_reasoning + output_audio + output_image;
    }
    std::int64_t total() const noexcept { return all_input() + all_output(); }
    bool operator==(const token_counts&) const = default;
};

/// How a row's counts are known (TOKENS_EXACT: never 0 as if known).
enum class usage_source : std::uint8_t {
    none,       ///< no tokens are known: an error, a route without usage, a provider that never says; pieces
                ///< may be (web_searches)
    estimated,  ///< counted from bytes seen
    provider_partial,  ///< the provider's own numbers, but the answer was cut before its last word
    provider,          ///< the provider's own final numbers
};

/// Where an answer's usage stands: one rule a value, see wires.hpp.
enum class wire : std::uint8_t {
    none,  ///< not metered (models, files, count_tokens …): requests are counted, tokens are not
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
    openai_images,
    openai_audio,
    openai_moderations,
    anthropic_messages,
    anthropic_batch_results,
    gemini,
    gemini_embed,
    gemini_interactions,
    bedrock_converse,
    bedrock_invoke,
    cohere,
    ollama,
    openai_assistants,
    watsonx,               ///< IBM watsonx.ai text generation
    openai_batch,          ///< a batch object, whose usage sums its requests'
    openai_batch_results,  ///< its output file: a line a request
    mistral_ocr,           ///< billed by the page, whatever stands on it
};
inline constexpr wire last_wire = wire::mistral_ocr;

std::string_view to_string(usage_source s) noexcept;
std::string_view to_string(wire w) noexcept;

}  // namespace keyhole::metering
