// OpenAI's batches: the batch itself, whose usage sums its requests', and the file of their answers.
#include "metering/wires.hpp"

namespace keyhole::metering {

namespace {

constexpr usage_place object_usages[] = {{"usage", &openai_responses_usage, 0}};

constexpr fact_place object_facts[] = {
    {"id", fact::id},
    {"model", fact::model},
    {"status", fact::state},
};

// Whatever the endpoint was (chat, responses, embeddings), a line holds its answer whole.
constexpr usage_place result_usages[] = {
    {"response.body.usage", &openai_chat_usage, 0, merging::sum},
    {"response.body.usage", &openai_responses_usage, 1, merging::sum},
};

constexpr fact_place result_facts[] = {
    {"response.body.model", fact::model},
    {"response.body.model", fact::part_model},
};

}  // namespace

// https://platform.openai.com/docs/api-reference/batch/object
constinit const wire_rules openai_batch_rules = {
    .id = wire::openai_batch, .usages = object_usages, .facts = object_facts};

// https://platform.openai.com/docs/api-reference/batch/request-output
constinit const wire_rules openai_batch_results_rules = {
    .id = wire::openai_batch_results, .usages = result_usages, .facts = result_facts, .lines = true};

}  // namespace keyhole::metering
