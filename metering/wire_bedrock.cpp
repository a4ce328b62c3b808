// Amazon Bedrock: Converse, and InvokeModel with the bodies of each model family.
#include "metering/wires.hpp"

namespace keyhole::metering {

namespace {

using enum quantity;

// Input leaves out what was read from or written to a cache. Each count has two spellings, of different ages.
constexpr usage_field converse_fields[] = {
    {"inputTokens", input},
    {"outputTokens", output},
    {"totalTokens", total},
    {"cacheReadInputTokens", cache_read, 0},
    {"cacheReadInputTokenCount", cache_read, 1},
    {"cacheWriteInputTokens", cache_write, 0},
    {"cacheWriteInputTokenCount", cache_write, 1},
};

constexpr labelled_quantity life_times[] = {{"5m", cache_write_5m}, {"1h", cache_write_1h}};
constexpr usage_breakdown converse_breakdowns[] = {{"cacheDetails[]", "ttl", "inputTokens", life_times}};

constexpr usage_shape converse_usage = {
    .source = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html",
    .fields = converse_fields,
    .breakdowns = converse_breakdowns,
    .rule = {.cache_beside_input = true},
};

constexpr usage_place converse_usages[] = {{"usage", &converse_usage, 0}};

constexpr fact_place converse_facts[] = {
    {"delta.text", fact::text},
    {"delta.toolUse.input", fact::text},
    {"delta.reasoningContent.text", fact::text},
    {"output.message.content[].text", fact::text},
    {"output.message.content[].reasoningContent.reasoningText.text", fact::text},
    {"start.toolUse.name", fact::call},
    {"output.message.content[].toolUse.name", fact::call},
    {"delta.reasoningContent.signature", fact::sealed},
    {"serviceTier.type", fact::service_tier},
};

constexpr usage_field titan_fields[] = {
    {"inputTextTokenCount", input},
    {"totalOutputTextTokenCount", output},
};

constexpr usage_field titan_result_fields[] = {{"tokenCount", output}};

// A guardrail writes "6.0" for an answer that no model gave, and that nobody bills.
constexpr usage_shape titan_usage = {
    .source = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html",
    .fields = titan_fields,
    .digits_only = true,
};

constexpr usage_shape titan_result_usage = {
    .source = titan_usage.source,
    .fields = titan_result_fields,
    .digits_only = true,
};

constexpr usage_field llama_fields[] = {
    {"prompt_token_count", input},
    {"generation_token_count", output},
};

constexpr usage_shape llama_usage = {
    .source = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html",
    .fields = llama_fields,
};

constexpr usage_field metrics_fields[] = {
    {"inputTokenCount", input},
    {"outputTokenCount", output},
    {"cacheReadInputTokenCount", cache_read},
    {"cacheWriteInputTokenCount", cache_write},
};

constexpr usage_shape metrics_usage = {
    .source = "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html",
    .fields = metrics_fields,
    .rule = {.cache_beside_input = true},
};

// The family's own usage counts before Bedrock's metrics, which leave out tool use and thinking.
constexpr usage_place invoke_usages[] = {
    {"usage", &anthropic_usage, 0, merging::overlay},
    {"message.usage", &anthropic_usage, 0, merging::overlay},
    {"usage", &openai_chat_usage, 1},
    {"usage", &converse_usage, 2},  // Nova
    {"metadata.usage", &converse_usage, 2},
    {"", &titan_usage, 3, merging::overlay},
    {"results[]", &titan_result_usage, 3, merging::sum},
    {"", &llama_usage, 4, merging::overlay},
    {"amazon-bedrock-invocationMetrics", &metrics_usage, 5},
};

constexpr fact_place invoke_facts[] = {
    {"type", fact::event_type},
    {"id", fact::id},
    {"model", fact::model},
    {"message.id", fact::id},
    {"message.model", fact::model},
    {"amazon-bedrock-invocationMetrics", fact::terminal_mark},
    {"usage.service_tier", fact::service_tier},
    {"message.usage.service_tier", fact::service_tier},
    {"usage.speed", fact::speed},
    {"message.usage.speed", fact::speed},
    {"delta.text", fact::text},
    {"delta.thinking", fact::text},
    {"delta.partial_json", fact::text},
    {"content[].text", fact::text},
    {"content_block.name", fact::call},
    {"content[].name", fact::call},
    {"delta.signature", fact::sealed},
    {"contentBlockDelta.delta.text", fact::text},
    {"outputText", fact::text},
    {"results[].outputText", fact::text},
    {"generation", fact::text},
    {"outputs[].text", fact::text},
    {"completion", fact::text},
    {"text", fact::text},  // Cohere
    {"choices[].delta.content", fact::text},
    {"choices[].message.content", fact::text},
};

constexpr std::string_view converse_terminal[] = {"metadata"};
constexpr std::string_view invoke_terminal[] = {"message_stop"};
constexpr std::string_view invoke_errors[] = {"error"};

}  // namespace

// The event type stands in the message's head.
constinit const wire_rules bedrock_converse_rules = {.id = wire::bedrock_converse,
                                                     .usages = converse_usages,
                                                     .facts = converse_facts,
                                                     .terminal_types = converse_terminal,
                                                     .needs_terminal = true};

constinit const wire_rules bedrock_invoke_rules = {.id = wire::bedrock_invoke,
                                                   .usages = invoke_usages,
                                                   .facts = invoke_facts,
                                                   .terminal_types = invoke_terminal,
                                                   .error_types = invoke_errors,
                                                   .needs_terminal = true};

}  // namespace keyhole::metering
