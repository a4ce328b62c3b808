#include "metering/usage.hpp"

namespace keyhole::metering {

std::string_view to_string(usage_source s) noexcept
{
    switch (s) {
    case usage_source::none:
        return "none";
    case usage_source::estimated:
        return "estimated";
    case usage_source::provider_partial:
        return "provider_partial";
    case usage_source::provider:
        return "provider";
    }
    return "none";
}

std::string_view to_string(wire w) noexcept
{
    switch (w) {
    case wire::none:
        return "none";
    case wire::openai_chat:
        return "openai_chat";
    case wire::openai_completions:
        return "openai_completions";
    case wire::openai_embeddings:
        return "openai_embeddings";
    case wire::openai_responses:
        return "openai_responses";
    case wire::openai_images:
        return "openai_images";
    case wire::openai_audio:
        return "openai_audio";
    case wire::openai_moderations:
        return "openai_moderations";
    case wire::anthropic_messages:
        return "anthropic_messages";
    case wire::anthropic_batch_results:
        return "anthropic_batch_results";
    case wire::gemini:
        return "gemini";
    case wire::gemini_embed:
        return "gemini_embed";
    case wire::gemini_interactions:
        return "gemini_interactions";
    case wire::bedrock_converse:
        return "bedrock_converse";
    case wire::bedrock_invoke:
        return "bedrock_invoke";
    case wire::cohere:
        return "cohere";
    case wire::ollama:
        return "ollama";
    case wire::openai_assistants:
        return "openai_assistants";
    case wire::watsonx:
        return "watsonx";
    case wire::openai_batch:
        return "openai_batch";
    case wire::openai_batch_results:
        return "openai_batch_results";
    case wire::mistral_ocr:
        return "mistral_ocr";
    }
    return "none";
}

}  // namespace keyhole::metering
