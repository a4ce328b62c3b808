// Google's own APIs: generateContent (Gemini and Vertex), embeddings, interactions.
#include "metering/wires.hpp"

namespace keyhole::metering {

namespace {

using enum quantity;

// promptTokenCount holds the cached tokens but not those of tool prompts; candidatesTokenCount leaves out the
// thoughts. A zero is not printed, and the last object can be lower than earlier ones: it replaces them
// whole.
constexpr usage_field generate_fields[] = {
    {"promptTokenCount", input},         {"toolUsePromptTokenCount", input_more},
    {"candidatesTokenCount", output, 0}, {"responseTokenCount", output, 1},  // Live API
    {"thoughtsTokenCount", reasoning},   {"cachedContentTokenCount", cache_read},
    {"totalTokenCount", total},
};

constexpr labelled_quantity input_parts[] = {{"audio", input_audio}, {"image", input_image}};
constexpr labelled_quantity cached_parts[] = {{"audio", cached_audio}, {"image", cached_image}};
constexpr labelled_quantity output_parts[] = {{"audio", output_audio}, {"image", output_image}};

constexpr usage_breakdown generate_breakdowns[] = {
    {"promptTokensDetails[]", "modality", "tokenCount", input_parts},
    {"promptTokenDetails[]", "modality", "tokenCount", input_parts},  // embeddings
    {"cacheTokensDetails[]", "modality", "tokenCount", cached_parts},
    {"candidatesTokensDetails[]", "modality", "tokenCount", output_parts},
};

constexpr usage_shape generate_usage = {
    .source = "https://ai.google.dev/api/generate-content#UsageMetadata",
    .fields = generate_fields,
    .breakdowns = generate_breakdowns,
    .rule = {.reasoning_beside_output = true},
};

constexpr usage_field statistics_fields[] = {{"token_count", input}};

constexpr usage_shape statistics_usage = {
    .source = "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api",
    .fields = statistics_fields,
};

constexpr usage_field interaction_fields[] = {
    {"total_input_tokens", input},       {"total_tool_use_tokens", input_more},
    {"total_output_tokens", output},     {"total_thought_tokens", reasoning},
    {"total_cached_tokens", cache_read}, {"total_tokens", total},
};

constexpr usage_breakdown interaction_breakdowns[] = {
    {"input_tokens_by_modality[]", "modality", "tokens", input_parts},
    {"cached_tokens_by_modality[]", "modality", "tokens", cached_parts},
    {"output_tokens_by_modality[]", "modality", "tokens", output_parts},
};

constexpr usage_shape interaction_usage = {
    .source = "https://ai.google.dev/api/interactions-api",
    .fields = interaction_fields,
    .breakdowns = interaction_breakdowns,
    .rule = {.reasoning_beside_output = true},
};

constexpr usage_place generate_usages[] = {
    {"usageMetadata", &generate_usage, 0},
    {"response.usageMetadata", &generate_usage, 0},  // wrapped by Cloud Code
};

constexpr fact_place generate_facts[] = {
    {"modelVersion", fact::model},
    {"responseId", fact::id},
    {"usageMetadata.serviceTier", fact::service_tier},
    {"usageMetadata.trafficType", fact::service_tier},
    {"response.modelVersion", fact::model},
    {"response.responseId", fact::id},
    {"candidates[].finishReason", fact::terminal_mark},
    {"promptFeedback.blockReason", fact::terminal_mark},
    {"response.candidates[].finishReason", fact::terminal_mark},
    {"candidates[].content.parts[].text", fact::text},
    {"response.candidates[].content.parts[].text", fact::text},
    // Grounding is billed by the search: https://ai.google.dev/gemini-api/docs/google-search
    {"candidates[].groundingMetadata.webSearchQueries[]", fact::search_query},
    {"response.candidates[].groundingMetadata.webSearchQueries[]", fact::search_query},
    {"candidates[].content.parts[].functionCall.name", fact::call},
    {"response.candidates[].content.parts[].functionCall.name", fact::call},
    {"candidates[].content.parts[].thoughtSignature", fact::sealed},
    {"response.candidates[].content.parts[].thoughtSignature", fact::sealed},
};

constexpr usage_place embed_usages[] = {
    {"usageMetadata", &generate_usage, 0},
    {"predictions[].embeddings.statistics", &statistics_usage, 1, merging::sum},
};

constexpr usage_place interaction_usages[] = {
    {"usage", &interaction_usage, 0},
    {"interaction.usage", &interaction_usage, 0},
};

constexpr fact_place interaction_facts[] = {
    {"event_type", fact::event_type},
    {"model", fact::model},
    {"id", fact::id},
    {"service_tier", fact::service_tier},
    {"status", fact::state},
    {"interaction.status", fact::state},
    {"interaction.model", fact::model},
    {"interaction.id", fact::id},
    {"interaction.service_tier", fact::service_tier},
    {"delta.text", fact::text},
    {"delta.content.text", fact::text},
    {"outputs[].text", fact::text},
};

constexpr std::string_view interaction_terminal[] = {"interaction.completed", "interaction.complete",
                                                     "interaction.failed", "interaction.cancelled"};
constexpr std::string_view interaction_errors[] = {"error", "interaction.failed"};

}  // namespace

constinit const wire_rules gemini_rules = {
    .id = wire::gemini, .usages = generate_usages, .facts = generate_facts};

constinit const wire_rules gemini_embed_rules = {
    .id = wire::gemini_embed, .usages = embed_usages, .facts = generate_facts};

constinit const wire_rules gemini_interactions_rules = {.id = wire::gemini_interactions,
                                                        .usages = interaction_usages,
                                                        .facts = interaction_facts,
                                                        .terminal_types = interaction_terminal,
                                                        .error_types = interaction_errors,
                                                        .done_marker = true};

}  // namespace keyhole::metering
