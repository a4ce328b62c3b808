// Where each wire's answers say what was used, as data: which member is which quantity, how the quantities
// contain one another, what ends a stream. One table a family of APIs (wire_openai.cpp, wire_anthropic.cpp,
// …), each with the page it was read from. To support a new API, add a table; no code elsewhere knows a
// provider. Thread rule: constants.
#pragma once

#include "metering/usage.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace keyhole::metering {

/// What a number in a usage object counts, before the wire's rule makes disjoint buckets of them.
enum class quantity : std::uint8_t {
    input,
    input_more,  ///< beside `input`: prompts of server tools
    output,
    total,  ///< as the provider printed it
    cache_read,
    cache_write,     ///< all writes
    cache_write_5m,  ///< a part of cache_write
    cache_write_1h,  ///< a part of cache_write
    reasoning,
    input_audio,
    input_image,
    output_audio,
    output_image,
    cached_audio,  ///< parts of cache_read that input_audio and input_image count too
    cached_image,
    web_searches,
    more_searches,  ///< beside web_searches, at the same price
};
inline constexpr std::size_t quantity_count = 17;

/// A usage object's numbers as they stand.
struct usage_numbers {
    std::array<std::int64_t, quantity_count> value{};
    std::uint32_t present = 0;  ///< a bit a quantity

    static constexpr std::uint32_t bit(quantity q) noexcept { return 1u << static_cast<unsigned>(q); }
    bool has(quantity q) const noexcept { return (present & bit(q)) != 0; }
    std::int64_t operator[](quantity q) const noexcept { return value[static_cast<std::size_t>(q)]; }
    void set(quantity q, std::int64_t n) noexcept
    {
        value[static_cast<std::size_t>(q)] = n;
        present |= bit(q);
    }
};

/// A member of a usage object. Where several members can hold a quantity, the lowest rank that is not zero
/// counts.
struct usage_field {
    std::string_view path;  ///< within the usage object
    quantity what;
    std::uint8_t rank = 0;
};

/// What an entry of a list counts, by its label (compared without case).
struct labelled_quantity {
    std::string_view label;
    quantity what;
};

/// A list of {label, count} objects that breaks a quantity down: modalities, life-times.
struct usage_breakdown {
    std::string_view path;  ///< ends in "[]"
    std::string_view label;
    std::string_view count;
    std::span<const labelled_quantity> parts = {};
};

/// How the numbers of a usage object contain one another.
struct containment {
    bool cache_beside_input = false;       ///< `input` leaves out what was read from and written to a cache
    bool reasoning_beside_output = false;  ///< `output` leaves out reasoning
    bool image_beside_input = false;       ///< `input` leaves out images
    bool lone_total_is_input = false;      ///< a total without parts is all input
    bool by_the_piece = false;             ///< pieces (web_searches) are all that it counts
    bool total_decides =
        false;  ///< the printed total tells what is beside what (OpenAI chat's many speakers)
    bool total_holds_thinking =
        false;                     ///< … and what it has beyond its parts is output that nothing else tells
    bool output_is_image = false;  ///< without a breakdown, all output is images
};

/// One form of usage object.
struct usage_shape {
    std::string_view source = {};  ///< where the provider documents it
    std::span<const usage_field> fields = {};
    std::span<const usage_breakdown> breakdowns = {};
    containment rule = {};
    bool digits_only = false;  ///< a count with a fraction ("6.0") is none
};

/// How a usage object relates to earlier ones of the same slot.
enum class merging : std::uint8_t {
    replace,           ///< the latest object with a count stands for all
    overlay,           ///< its members replace the earlier ones, absent ones keep them
    overlay_positive,  ///< as overlay; a zero is no news
    sum,               ///< several answers in one body (batch results, a list of results)
    beyond,            ///< a list of parts; what they count beyond the answer's usage is reported apart
};

/// Where a usage object stands. Of several slots with counts the lowest one is the answer's; one whose counts
/// are all zero, or that has a total alone, stands behind the others.
struct usage_place {
    std::string_view path;
    const usage_shape* shape;
    std::uint8_t slot = 0;
    merging how = merging::replace;
};
inline constexpr std::size_t slot_limit = 8;

/// Other things that an answer says.
enum class fact : std::uint8_t {
    model,          ///< a string; the first one counts
    id,             ///< a string; the first one counts
    service_tier,   ///< a string; the last one counts
    state,          ///< a string: how far a stored answer is; the last one counts
    event_type,     ///< a string, compared with terminal_types and error_types
    error_type,     ///< a string or number; by rank
    refusal_type,   ///< the same, of an answer with status >= 400 only
    error_object,   ///< an object, or a string that is not empty: the answer is an error
    terminal_flag,  ///< true: the stream's last record
    terminal_mark,  ///< any value but null: the stream's last record
    text,         ///< a string of generated text; of several places the lowest rank that says anything counts
    call,         ///< a string that stands once in every tool call
    sealed,       ///< a string of reasoning that only the provider can read
    part_model,   ///< a string: the model of a part of usage.iterations
    search_call,  ///< a string: the type of an item that a server tool may have made
    search_kind,  ///< a string: what such an item did
    search_query,  ///< a string: something that a server tool searched for
    speed,         ///< a string: a tier that is told beside service_tier
    cost_usd,      ///< a number of USD
    cost_ticks,    ///< a number of 1e-10 USD
};

struct fact_place {
    std::string_view path;
    fact what;
    std::uint8_t rank = 0;
};

struct wire_rules {
    wire id = wire::none;
    std::span<const usage_place> usages = {};
    std::span<const fact_place> facts = {};
    std::span<const std::string_view> terminal_types = {};
    std::span<const std::string_view> error_types = {};
    bool done_marker = false;  ///< `data: [DONE]` ends a stream
    bool lines = false;        ///< a document a line, whatever the content type says
    bool needs_terminal =
        false;  ///< a stream without its terminal event was cut, however cleanly the connection ended
};

/// The rules of a wire; those of wire::none find nothing but errors.
const wire_rules& rules_of(wire w) noexcept;

// One table a wire, defined by family.
extern const wire_rules openai_chat_rules;
extern const wire_rules openai_completions_rules;
extern const wire_rules openai_embeddings_rules;
extern const wire_rules openai_responses_rules;
extern const wire_rules openai_images_rules;
extern const wire_rules openai_audio_rules;
extern const wire_rules openai_moderations_rules;
extern const wire_rules openai_assistants_rules;
extern const wire_rules anthropic_messages_rules;
extern const wire_rules anthropic_batch_rules;
extern const wire_rules gemini_rules;
extern const wire_rules gemini_embed_rules;
extern const wire_rules gemini_interactions_rules;
extern const wire_rules bedrock_converse_rules;
extern const wire_rules bedrock_invoke_rules;
extern const wire_rules cohere_rules;
extern const wire_rules ollama_rules;
extern const wire_rules watsonx_rules;
extern const wire_rules openai_batch_rules;
extern const wire_rules openai_batch_results_rules;
extern const wire_rules mistral_ocr_rules;
extern const wire_rules unmetered_rules;

// Shapes that more than one family speaks.
extern const usage_shape openai_chat_usage;
extern const usage_shape openai_responses_usage;
extern const usage_shape anthropic_usage;

/// Disjoint buckets of a usage object's numbers. No bucket is negative, and the sums of the input and the
/// output buckets are what the rule says, whatever the sub-counts claim.
token_counts buckets_of(const usage_numbers& numbers, const containment& rule) noexcept;

}  // namespace keyhole::metering
