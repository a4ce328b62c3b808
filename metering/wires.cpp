#include "metering/wires.hpp"

namespace keyhole::metering {

const wire_rules& rules_of(wire w) noexcept
{
    switch (w) {
    case wire::none:
        return unmetered_rules;
    case wire::openai_chat:
        return openai_chat_rules;
    case wire::openai_completions:
        return openai_completions_rules;
    case wire::openai_embeddings:
        return openai_embeddings_rules;
    case wire::openai_responses:
        return openai_responses_rules;
    case wire::openai_images:
        return openai_images_rules;
    case wire::openai_audio:
        return openai_audio_rules;
    case wire::openai_moderations:
        return openai_moderations_rules;
    case wire::anthropic_messages:
        return anthropic_messages_rules;
    case wire::anthropic_batch_results:
        return anthropic_batch_rules;
    case wire::gemini:
        return gemini_rules;
    case wire::gemini_embed:
        return gemini_embed_rules;
    case wire::gemini_interactions:
        return gemini_interactions_rules;
    case wire::bedrock_converse:
        return bedrock_converse_rules;
    case wire::bedrock_invoke:
        return bedrock_invoke_rules;
    case wire::cohere:
        return cohere_rules;
    case wire::ollama:
        return ollama_rules;
    case wire::openai_assistants:
        return openai_assistants_rules;
    case wire::watsonx:
        return watsonx_rules;
    case wire::openai_batch:
        return openai_batch_rules;
    case wire::openai_batch_results:
        return openai_batch_results_rules;
    case wire::mistral_ocr:
        return mistral_ocr_rules;
    }
    return unmetered_rules;
}

}  // namespace keyhole::metering
