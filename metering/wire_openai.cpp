// OpenAI's APIs and everything that speaks them: Azure, Mistral, DeepSeek, Groq, xAI, Together, Fireworks,
// OpenRouter, vLLM, llama.cpp, LM Studio, Gemini's and Ollama's compatible endpoints.
#include "metering/wires.hpp"

namespace keyhole::metering {

namespace {

using enum quantity;

// Input holds the cached tokens, output the reasoning ones, by OpenAI; the printed total tells who departs
// from that (containment::total_decides): xAI leaves reasoning out of completion_tokens, Mistral leaves audio
// out of prompt_tokens. Gemini's compatible endpoint leaves thinking out of everything but the total
// (answer_facts knows it by the model that answers); a total that is larger for no such reason is a mismatch.
constexpr usage_field chat_fields[] = {
    {"prompt_tokens", input},
    {"completion_tokens", output},
    {"total_tokens", total},
    {"prompt_tokens_details.cached_tokens", cache_read, 0},
    {"prompt_token_details.cached_tokens", cache_read, 1},            // Assistants' spelling
    {"prompt_cache_hit_tokens", cache_read, 2},                       // DeepSeek
    {"cached_tokens", cache_read, 3},                                 // Moonshot, Together
    {"num_cached_tokens", cache_read, 4},                             // Mistral
    {"cache_read_input_tokens", cache_read, 5},                       // Anthropic behind a gateway
    {"prompt_tokens_details.cache_write_tokens", cache_write, 0},     // OpenRouter
    {"prompt_tokens_details.cache_creation_tokens", cache_write, 1},  // gateways
    {"cache_creation_input_tokens", cache_write, 2},
    {"cache_creation.ephemeral_5m_input_tokens", cache_write_5m},
    {"cache_creation.ephemeral_1h_input_tokens", cache_write_1h},
    {"completion_tokens_details.reasoning_tokens", reasoning, 0},
    {"reasoning_tokens", reasoning, 1},
    {"prompt_tokens_details.audio_tokens", input_audio},
    {"prompt_tokens_details.image_tokens", input_image},
    {"completion_tokens_details.audio_tokens", output_audio},
    {"completion_tokens_details.image_tokens", output_image},
    {"server_tool_use.web_search_requests", web_searches, 0},              // OpenRouter
    {"server_tool_use_details.web_search_requests", web_searches, 1},      // OpenRouter
    {"server_side_tool_usage_details.web_search_calls", web_searches, 2},  // xAI
    {"num_search_queries", web_searches, 3},                               // Perplexity
    {"num_sources_used", web_searches, 4},                                 // xAI, billed by the source
    {"server_side_tool_usage_details.x_search_calls", more_searches},      // xAI
};

constexpr usage_field responses_fields[] = {
    {"input_tokens", input},
    {"output_tokens", output},
    {"total_tokens", total},
    {"input_tokens_details.cached_tokens", cache_read},
    {"input_tokens_details.cache_write_tokens", cache_write},
    {"output_tokens_details.reasoning_tokens", reasoning},
    {"input_tokens_details.audio_tokens", input_audio, 0},
    {"input_token_details.audio_tokens", input_audio, 1},  // transcriptions
    {"input_tokens_details.image_tokens", input_image},
    {"output_tokens_details.audio_tokens", output_audio},
    {"output_tokens_details.image_tokens", output_image},
    {"server_side_tool_usage_details.web_search_calls", web_searches, 0},  // xAI
    {"num_sources_used", web_searches, 1},
    {"server_side_tool_usage_details.x_search_calls", more_searches},
};

constexpr usage_shape image_usage = {
    .source = "https://platform.openai.com/docs/api-reference/images/object",
    .fields = responses_fields,
    .rule = {.output_is_image = true},
};

// As chat, but a total beyond the parts tells nothing about an output that an embedding hasn't got.
constexpr usage_field embedding_fields[] = {
    {"prompt_tokens", input, 0},
    {"input_tokens", input, 1},
    {"total_tokens", total},
    {"completion_tokens", output},
    {"prompt_tokens_details.cached_tokens", cache_read},
    {"prompt_tokens_details.image_tokens", input_image},
    {"prompt_tokens_details.audio_tokens", input_audio},
};

constexpr usage_shape embedding_usage = {
    .source = "https://platform.openai.com/docs/api-reference/embeddings",
    .fields = embedding_fields,
    .rule = {.lone_total_is_input = true},
};

constexpr fact_place common_facts[] = {
    {"model", fact::model},
    {"id", fact::id},
    {"service_tier", fact::service_tier},
    {"usage.service_tier", fact::service_tier},
    {"usage.cost", fact::cost_usd},
    {"usage.cost.total_cost", fact::cost_usd},
    {"usage.cost_in_usd_ticks", fact::cost_ticks},
};

constexpr fact_place chat_facts[] = {
    {"model", fact::model},
    {"id", fact::id},
    {"service_tier", fact::service_tier},
    {"usage.service_tier", fact::service_tier},
    {"usage.cost", fact::cost_usd},                 // OpenRouter, in USD
    {"usage.cost.total_cost", fact::cost_usd},      // Perplexity
    {"usage.cost_in_usd_ticks", fact::cost_ticks},  // xAI
    {"choices[].delta.content", fact::text},
    {"choices[].delta.content[].text", fact::text},  // Mistral's content parts
    {"choices[].delta.content[].thinking[].text", fact::text},
    {"choices[].delta.reasoning_content", fact::text},  // DeepSeek, xAI, vLLM
    {"choices[].delta.reasoning", fact::text},          // OpenRouter, Groq
    {"choices[].delta.refusal", fact::text},
    {"choices[].delta.tool_calls[].function.arguments", fact::text},
    {"choices[].delta.function_call.arguments", fact::text},
    {"choices[].message.content", fact::text, 1},
    {"choices[].message.content[].text", fact::text, 1},
    {"choices[].message.reasoning_content", fact::text, 1},
    {"choices[].message.reasoning", fact::text, 1},
    {"choices[].message.tool_calls[].function.arguments", fact::text, 1},
    {"choices[].text", fact::text, 2},
    {"choices[].delta.tool_calls[].function.name", fact::call},
    {"choices[].delta.function_call.name", fact::call},
    {"choices[].message.tool_calls[].function.name", fact::call},
};

constexpr fact_place responses_facts[] = {
    {"type", fact::event_type},
    {"model", fact::model},
    {"id", fact::id},
    {"service_tier", fact::service_tier},
    {"status", fact::state},
    {"response.status", fact::state},
    {"usage.cost", fact::cost_usd},
    {"usage.cost_in_usd_ticks", fact::cost_ticks},
    {"response.model", fact::model},
    {"response.id", fact::id},
    {"response.service_tier", fact::service_tier},
    {"response.usage.cost", fact::cost_usd},
    {"response.usage.cost_in_usd_ticks", fact::cost_ticks},
    // Searches are billed by the call and not in the usage: the answer's last form lists them.
    // https://platform.openai.com/docs/guides/tools-web-search
    {"output[].type", fact::search_call},
    {"output[].action.type", fact::search_kind},
    {"response.output[].type", fact::search_call},
    {"response.output[].action.type", fact::search_kind},
    {"response.error", fact::error_object},
    {"response.error.code", fact::error_type},
    {"code", fact::error_type, 3},
    {"delta", fact::text},
    {"output[].content[].text", fact::text},
    {"output[].summary[].text", fact::text},
    {"output[].arguments", fact::text},
    {"arguments", fact::call},  // of response.function_call_arguments.done
    {"output[].name", fact::call},
    {"item.encrypted_content", fact::sealed},
    {"output[].encrypted_content", fact::sealed},
};

constexpr fact_place media_facts[] = {
    {"type", fact::event_type},
    {"model", fact::model},
    {"id", fact::id},
    {"service_tier", fact::service_tier},
    {"usage.cost", fact::cost_usd},
    {"usage.cost_in_usd_ticks", fact::cost_ticks},
    {"delta", fact::text},
    {"text", fact::text, 1},  // the whole transcript, at the end of its deltas or alone
};

constexpr fact_place assistants_facts[] = {
    {"model", fact::model},
    {"id", fact::id},
    {"status", fact::state},
    {"service_tier", fact::service_tier},
    {"delta.content[].text.value", fact::text},
    {"delta.step_details.tool_calls[].code_interpreter.input", fact::text},
    {"delta.step_details.tool_calls[].function.arguments", fact::text},
    {"delta.step_details.tool_calls[].function.name", fact::call},
};

// Groq reports under x_groq, and again under usage if asked; some hosts report beside the choice.
constexpr usage_place chat_usages[] = {
    {"usage", &openai_chat_usage, 0},
    {"usage", &openai_responses_usage, 1},  // hosts that use the newer names
    {"x_groq.usage", &openai_chat_usage, 2},
    {"choices[].usage", &openai_chat_usage, 3},
};

constexpr usage_place responses_usages[] = {
    {"usage", &openai_responses_usage, 0},
    {"response.usage", &openai_responses_usage, 0},
    {"usage", &openai_chat_usage, 1},
    {"response.usage", &openai_chat_usage, 1},
};

constexpr usage_place embedding_usages[] = {{"usage", &embedding_usage, 0}};

constexpr usage_place image_usages[] = {
    {"usage", &image_usage, 0},
    {"usage", &openai_chat_usage, 1},
};

// A usage of type "duration" has seconds and no tokens: nothing is found.
constexpr usage_place audio_usages[] = {
    {"usage", &openai_responses_usage, 0},
    {"usage", &openai_chat_usage, 1},
};

constexpr usage_place assistants_usages[] = {{"usage", &openai_chat_usage, 0}};

constexpr std::string_view responses_terminal[] = {"response.completed", "response.incomplete",
                                                   "response.failed", "response.cancelled", "response.done"};
constexpr std::string_view responses_errors[] = {"error", "response.failed"};
constexpr std::string_view image_terminal[] = {"image_generation.completed", "image_edit.completed"};
constexpr std::string_view audio_terminal[] = {"transcript.text.done", "speech.audio.done"};
constexpr std::string_view plain_errors[] = {"error"};

}  // namespace

constinit const usage_shape openai_chat_usage = {
    .source = "https://platform.openai.com/docs/api-reference/chat/object "
              "https://docs.x.ai/docs/guides/reasoning https://docs.mistral.ai/api "
              "https://api-docs.deepseek.com/api/create-chat-completion "
              "https://openrouter.ai/docs/use-cases/usage-accounting",
    .fields = chat_fields,
    .rule = {.lone_total_is_input = true, .total_decides = true},
};

constinit const usage_shape openai_responses_usage = {
    .source = "https://platform.openai.com/docs/api-reference/responses/object",
    .fields = responses_fields,
};

constinit const wire_rules openai_chat_rules = {
    .id = wire::openai_chat, .usages = chat_usages, .facts = chat_facts, .done_marker = true};

constinit const wire_rules openai_completions_rules = {
    .id = wire::openai_completions, .usages = chat_usages, .facts = chat_facts, .done_marker = true};

constinit const wire_rules openai_embeddings_rules = {
    .id = wire::openai_embeddings, .usages = embedding_usages, .facts = common_facts};

constinit const wire_rules openai_responses_rules = {.id = wire::openai_responses,
                                                     .usages = responses_usages,
                                                     .facts = responses_facts,
                                                     .terminal_types = responses_terminal,
                                                     .error_types = responses_errors,
                                                     .needs_terminal = true};

constinit const wire_rules openai_images_rules = {.id = wire::openai_images,
                                                  .usages = image_usages,
                                                  .facts = media_facts,
                                                  .terminal_types = image_terminal,
                                                  .error_types = plain_errors,
                                                  .done_marker = true};

constinit const wire_rules openai_audio_rules = {.id = wire::openai_audio,
                                                 .usages = audio_usages,
                                                 .facts = media_facts,
                                                 .terminal_types = audio_terminal,
                                                 .error_types = plain_errors,
                                                 .done_marker = true};

constinit const wire_rules openai_moderations_rules = {
    .id = wire::openai_moderations, .usages = embedding_usages, .facts = common_facts};

// A run's steps report usage too, and then the run reports their sum: the last one counts.
// https://platform.openai.com/docs/api-reference/runs/object
constinit const wire_rules openai_assistants_rules = {.id = wire::openai_assistants,
                                                      .usages = assistants_usages,
                                                      .facts = assistants_facts,
                                                      .done_marker = true};

}  // namespace keyhole::metering
