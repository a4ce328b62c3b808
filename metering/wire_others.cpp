// APIs of one maker each: Cohere, Ollama, watsonx.
#include "metering/wires.hpp"

namespace keyhole::metering {

namespace {

using enum quantity;

// tokens.input_tokens holds the image tokens, billed_units.input_tokens leaves them out.
constexpr usage_field cohere_fields[] = {
    {"tokens.input_tokens", input},
    {"tokens.output_tokens", output},
    {"tokens.image_tokens", input_image},
    {"cached_tokens", cache_read},
};

constexpr usage_field cohere_billed_fields[] = {
    {"billed_units.input_tokens", input},
    {"billed_units.output_tokens", output},
    {"billed_units.image_tokens", input_image},
};

constexpr usage_shape cohere_usage = {
    .source = "https://docs.cohere.com/reference/chat",
    .fields = cohere_fields,
};

constexpr usage_shape cohere_billed_usage = {
    .source = "https://docs.cohere.com/reference/embed",
    .fields = cohere_billed_fields,
    .rule = {.image_beside_input = true},
};

constexpr usage_place cohere_usages[] = {
    {"usage", &cohere_usage, 0},
    {"meta", &cohere_usage, 0},
    {"delta.usage", &cohere_usage, 0},
    {"response.meta", &cohere_usage, 0},
    {"usage", &cohere_billed_usage, 1},
    {"meta", &cohere_billed_usage, 1},
    {"delta.usage", &cohere_billed_usage, 1},
    {"response.meta", &cohere_billed_usage, 1},
};

constexpr fact_place cohere_facts[] = {
    {"type", fact::event_type},
    {"event_type", fact::event_type},
    {"is_finished", fact::terminal_flag},
    {"id", fact::id},
    {"generation_id", fact::id},
    {"response.generation_id", fact::id},
    {"model", fact::model},
    {"delta.error", fact::error_object},
    {"delta.error_type", fact::error_type},
    {"delta.message.content.text", fact::text},
    {"delta.message.content.thinking", fact::text},
    {"delta.message.tool_plan", fact::text},
    {"delta.message.tool_calls.function.arguments", fact::text},
    {"delta.message.tool_calls.function.name", fact::call},
    {"message.tool_calls[].function.name", fact::call},
    {"message.content[].text", fact::text},
    {"message.tool_plan", fact::text},
    {"text", fact::text},
    {"generations[].text", fact::text},
};

constexpr std::string_view cohere_terminal[] = {"message-end", "stream-end"};

// A document's pages are what is billed. No tokens are told: the source of such a row stays `none`.
constexpr usage_field ocr_fields[] = {{"pages_processed", web_searches}};

constexpr usage_shape ocr_usage = {
    .source = "https://docs.mistral.ai/api/endpoint/ocr",
    .fields = ocr_fields,
    .rule = {.by_the_piece = true},
};

constexpr usage_place ocr_usages[] = {{"usage_info", &ocr_usage, 0}};

constexpr fact_place ocr_facts[] = {{"model", fact::model}};

constexpr usage_field ollama_fields[] = {
    {"prompt_eval_count", input},  // absent: the prompt was cached
    {"eval_count", output},
};

constexpr usage_shape ollama_usage = {
    .source = "https://github.com/ollama/ollama/blob/main/docs/api.md",
    .fields = ollama_fields,
};

constexpr usage_place ollama_usages[] = {{"", &ollama_usage, 0}};

constexpr fact_place ollama_facts[] = {
    {"model", fact::model},
    {"done", fact::terminal_flag},
    {"message.content", fact::text},
    {"message.thinking", fact::text},
    {"response", fact::text},
    {"thinking", fact::text},
    {"message.tool_calls[].function.name", fact::call},
};

constexpr usage_field watsonx_fields[] = {
    {"input_token_count", input},
    {"generated_token_count", output},
};

constexpr usage_shape watsonx_usage = {
    .source = "https://cloud.ibm.com/apidocs/watsonx-ai#text-generation",
    .fields = watsonx_fields,
};

// Only the first event of a stream has the input's count, the others say 0.
constexpr usage_place watsonx_usages[] = {{"results[]", &watsonx_usage, 0, merging::overlay_positive}};

constexpr fact_place watsonx_facts[] = {
    {"model_id", fact::model},
    {"results[].generated_text", fact::text},
};

}  // namespace

constinit const wire_rules cohere_rules = {.id = wire::cohere,
                                           .usages = cohere_usages,
                                           .facts = cohere_facts,
                                           .terminal_types = cohere_terminal,
                                           .needs_terminal = true};

constinit const wire_rules ollama_rules = {
    .id = wire::ollama, .usages = ollama_usages, .facts = ollama_facts, .needs_terminal = true};

constinit const wire_rules watsonx_rules = {
    .id = wire::watsonx, .usages = watsonx_usages, .facts = watsonx_facts};

constinit const wire_rules unmetered_rules = {};

constinit const wire_rules mistral_ocr_rules = {
    .id = wire::mistral_ocr, .usages = ocr_usages, .facts = ocr_facts};

}  // namespace keyhole::metering
