// Anthropic Messages (also through Vertex and Azure Foundry) and the results of its message batches.
#include "metering/wires.hpp"

namespace keyhole::metering {

namespace {

using enum quantity;

// input_tokens leaves out what was read from or written to a cache; output_tokens holds the thinking.
constexpr usage_field fields[] = {
    {"input_tokens", input},
    {"output_tokens", output},
    {"cache_read_input_tokens", cache_read},
    {"cache_creation_input_tokens", cache_write},
    {"cache_creation.ephemeral_5m_input_tokens", cache_write_5m},
    {"cache_creation.ephemeral_1h_input_tokens", cache_write_1h},
    {"output_tokens_details.thinking_tokens", reasoning},
    {"server_tool_use.web_search_requests", web_searches},
};

// A stream's message_delta is cumulative and may repeat, correct or leave out what message_start said. The
// parts of a compaction or an advisor stand in a list and are not all in the counts beside it.
constexpr usage_place messages_usages[] = {
    {"usage", &anthropic_usage, 0, merging::overlay},
    {"message.usage", &anthropic_usage, 0, merging::overlay},
    {"usage.iterations[]", &anthropic_usage, 1, merging::beyond},
    {"message.usage.iterations[]", &anthropic_usage, 1, merging::beyond},
};

constexpr fact_place messages_facts[] = {
    {"type", fact::event_type},
    {"id", fact::id},
    {"model", fact::model},
    {"usage.service_tier", fact::service_tier},
    {"usage.speed", fact::speed},  // fast mode, at rates of its own
    {"message.id", fact::id},
    {"message.model", fact::model},
    {"message.usage.service_tier", fact::service_tier},
    {"message.usage.speed", fact::speed},
    {"usage.cost", fact::cost_usd},  // OpenRouter
    {"usage.iterations[].model", fact::part_model},
    {"message.usage.iterations[].model", fact::part_model},
    {"delta.text", fact::text},
    {"delta.thinking", fact::text},
    {"delta.partial_json", fact::text},
    {"content_block.text", fact::text},
    {"content[].text", fact::text},
    {"content[].thinking", fact::text},
    {"content_block.name", fact::call},
    {"content[].name", fact::call},
    {"delta.signature", fact::sealed},
    {"content[].signature", fact::sealed},
    {"completion", fact::text},  // the legacy /v1/complete, which reports no usage
};

constexpr usage_place batch_usages[] = {{"result.message.usage", &anthropic_usage, 0, merging::sum}};

constexpr fact_place batch_facts[] = {
    {"result.message.model", fact::model},
    {"result.message.model", fact::part_model},
    {"result.message.usage.service_tier", fact::service_tier},
    {"result.message.usage.speed", fact::speed},
    {"result.message.content[].text", fact::text},
};

constexpr std::string_view terminal[] = {"message_stop"};
constexpr std::string_view errors[] = {"error"};

}  // namespace

constinit const usage_shape anthropic_usage = {
    .source = "https://docs.anthropic.com/en/api/messages "
              "https://docs.anthropic.com/en/docs/build-with-claude/streaming",
    .fields = fields,
    .rule = {.cache_beside_input = true},
};

constinit const wire_rules anthropic_messages_rules = {.id = wire::anthropic_messages,
                                                       .usages = messages_usages,
                                                       .facts = messages_facts,
                                                       .terminal_types = terminal,
                                                       .error_types = errors,
                                                       .needs_terminal = true};

// https://docs.anthropic.com/en/api/retrieving-message-batch-results
constinit const wire_rules anthropic_batch_rules = {
    .id = wire::anthropic_batch_results, .usages = batch_usages, .facts = batch_facts, .lines = true};

}  // namespace keyhole::metering
