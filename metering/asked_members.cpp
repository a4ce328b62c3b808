#include "metering/asked_members.hpp"

#include "metering/place_tree.hpp"

namespace keyhole::metering {

namespace {

constexpr member members[] = {
    {"max_tokens", meaning::bound, wire::openai_chat},
    {"max_completion_tokens", meaning::bound, wire::openai_chat},
    {"max_tokens", meaning::bound, wire::openai_completions},
    {"max_output_tokens", meaning::bound, wire::openai_responses},
    {"max_completion_tokens", meaning::bound, wire::openai_assistants},
    {"max_tokens", meaning::bound, wire::anthropic_messages},
    {"max_tokens_to_sample", meaning::bound, wire::anthropic_messages},
    {"generationConfig.maxOutputTokens", meaning::bound, wire::gemini},
    {"generation_config.max_output_tokens", meaning::bound, wire::gemini},
    {"generationConfig.max_output_tokens", meaning::bound, wire::gemini},
    {"generation_config.maxOutputTokens", meaning::bound, wire::gemini},
    {"generation_config.max_output_tokens", meaning::bound, wire::gemini_interactions},
    {"inferenceConfig.maxTokens", meaning::bound, wire::bedrock_converse},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "anthropic."},
    {"max_tokens_to_sample", meaning::bound, wire::bedrock_invoke, "anthropic."},
    {"max_gen_len", meaning::bound, wire::bedrock_invoke, "meta."},
    {"inferenceConfig.max_new_tokens", meaning::bound, wire::bedrock_invoke, "amazon.nova"},
    {"inferenceConfig.maxTokens", meaning::bound, wire::bedrock_invoke, "amazon.nova"},
    {"textGenerationConfig.maxTokenCount", meaning::bound, wire::bedrock_invoke, "amazon.titan"},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "mistral."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "cohere."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "deepseek."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "openai."},
    {"max_completion_tokens", meaning::bound, wire::bedrock_invoke, "openai."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "ai21."},
    {"max_tokens", meaning::bound, wire::cohere},
    {"options.num_predict", meaning::bound, wire::ollama},
    {"parameters.max_new_tokens", meaning::bound, wire::watsonx},

    // llama.cpp's server reads it before all others.
    {"n_predict", meaning::more_bound, wire::openai_chat},
    {"n_predict", meaning::more_bound, wire::openai_completions},
    {"additionalModelRequestFields.max_tokens", meaning::more_bound, wire::bedrock_converse},
    {"additionalModelRequestFields.max_completion_tokens", meaning::more_bound, wire::bedrock_converse},
    {"additionalModelRequestFields.max_gen_len", meaning::more_bound, wire::bedrock_converse},

    {"n", meaning::answers},
    {"best_of", meaning::answers},
    {"num_generations", meaning::answers, wire::cohere},
    {"num_generations", meaning::answers, wire::bedrock_invoke},
    {"numResults", meaning::answers, wire::bedrock_invoke},
    {"generationConfig.candidateCount", meaning::answers},
    {"generation_config.candidate_count", meaning::answers},

    {"prompt[]", meaning::prompt, wire::openai_completions},
    {"prompt_embeds[]", meaning::prompt, wire::openai_completions},

    // https://platform.openai.com/docs/guides/priority-processing
    {"service_tier", meaning::tier},
    {"additionalModelRequestFields.service_tier", meaning::tier, wire::bedrock_converse},
    {"serviceTier", meaning::tier, wire::gemini},
    {"serviceTier", meaning::tier, wire::gemini_interactions},
    {"serviceTier.type", meaning::tier, wire::bedrock_converse},
    {"serviceTier.type", meaning::tier, wire::bedrock_invoke},
    {"serviceTier", meaning::tier, wire::bedrock_invoke},
    // Anthropic's fast mode: https://docs.claude.com/en/build-with-claude/fast-mode
    {"speed", meaning::tier, wire::anthropic_messages},
    {"speed", meaning::tier, wire::bedrock_invoke},
    {"speed", meaning::tier, wire::openai_chat},
    {"additionalModelRequestFields.speed", meaning::tier, wire::bedrock_converse},

    {"prompt.id", meaning::kept, wire::openai_responses},
    {"input[].type", meaning::input_kind, wire::openai_responses},
    {"assistant_id", meaning::kept, wire::openai_assistants},
    {"max_prompt_tokens", meaning::input_bound, wire::openai_assistants},

    {"messages[].content[].image_url.url", meaning::image},
    {"messages[].content[].image_url", meaning::image},
    {"messages[].content[].file.file_id", meaning::file},
    {"messages[].content[].source.url", meaning::file},
    {"messages[].content[].source.file_id", meaning::file},
    {"messages[].content[].content[].source.url", meaning::file},
    {"messages[].content[].content[].source.file_id", meaning::file},
    {"messages[].content[].document_url", meaning::file},
    {"messages[].content[].image.source.s3Location", meaning::place},
    {"messages[].content[].document.source.s3Location", meaning::place},
    {"messages[].content[].video.source.s3Location", meaning::place},
    {"input[].content[].image_url", meaning::image},
    {"input[].content[].file_url", meaning::file},
    {"input[].content[].file_id", meaning::file},
    {"input[].output[].image_url", meaning::image},
    {"input[].output[].file_url", meaning::file},
    {"input[].output[].file_id", meaning::file},
    {"input[].uri", meaning::file, wire::gemini_interactions},
    {"input[].content[].uri", meaning::file, wire::gemini_interactions},
    {"messages[].content[].toolResult.content[].image.source.s3Location", meaning::place},
    {"messages[].content[].toolResult.content[].document.source.s3Location", meaning::place},
    {"messages[].content[].toolResult.content[].video.source.s3Location", meaning::place},
    {"systemInstruction.parts[].fileData.fileUri", meaning::file},
    {"system_instruction.parts[].file_data.file_uri", meaning::file},
    {"contents[].parts[].fileData.fileUri", meaning::file},
    {"contents[].parts[].file_data.file_uri", meaning::file},
    {"contents[].parts[].fileData.file_uri", meaning::file},
    {"contents[].parts[].file_data.fileUri", meaning::file},
    {"contents.parts[].fileData.fileUri", meaning::file},
    {"contents.parts[].file_data.file_uri", meaning::file},

    {"tools[]", meaning::tool},
    {"tools[].type", meaning::tool_kind},
    {"tools[].max_uses", meaning::tool_uses},
    {"max_tool_calls", meaning::tool_calls, wire::openai_responses},
    {"web_search_options", meaning::search},
    // https://docs.x.ai/docs/guides/live-search
    {"search_parameters", meaning::sources},
    {"search_parameters.mode", meaning::sources_mode},
    {"search_parameters.max_search_results", meaning::tool_uses},
    // https://openrouter.ai/docs/features/web-search
    {"plugins[]", meaning::plugin},
    {"plugins[].id", meaning::plugin_name},
    {"plugins[].max_results", meaning::tool_uses},
    // Google reads one object where a list is meant, and both spellings of each name.
    // https://ai.google.dev/gemini-api/docs/google-search
    {"tools[].googleSearch", meaning::search, wire::gemini},
    {"tools[].google_search", meaning::search, wire::gemini},
    {"tools[].googleSearchRetrieval", meaning::search, wire::gemini},
    {"tools[].google_search_retrieval", meaning::search, wire::gemini},
    {"tools[].enterpriseWebSearch", meaning::search, wire::gemini},
    {"tools[].enterprise_web_search", meaning::search, wire::gemini},
    {"tools[].googleMaps", meaning::search, wire::gemini},
    {"tools[].google_maps", meaning::search, wire::gemini},
    {"tools[].urlContext", meaning::page, wire::gemini},
    {"tools[].url_context", meaning::page, wire::gemini},
    {"tools[].fileSearch", meaning::stored_file, wire::gemini},
    {"tools[].file_search", meaning::stored_file, wire::gemini},
    {"tools.googleSearch", meaning::search, wire::gemini},
    {"tools.google_search", meaning::search, wire::gemini},
    {"tools.googleSearchRetrieval", meaning::search, wire::gemini},
    {"tools.google_search_retrieval", meaning::search, wire::gemini},
    {"tools.enterpriseWebSearch", meaning::search, wire::gemini},
    {"tools.enterprise_web_search", meaning::search, wire::gemini},
    {"tools.googleMaps", meaning::search, wire::gemini},
    {"tools.google_maps", meaning::search, wire::gemini},
    {"tools.urlContext", meaning::page, wire::gemini},
    {"tools.url_context", meaning::page, wire::gemini},
    {"tools.fileSearch", meaning::stored_file, wire::gemini},
    {"tools.file_search", meaning::stored_file, wire::gemini},

    {"cache_control", meaning::cache},
    {"system[].cache_control", meaning::cache},
    {"tools[].cache_control", meaning::cache},
    {"messages[].content[].cache_control", meaning::cache},
    {"messages[].content[].content[].cache_control", meaning::cache},
    {"cache_control.ttl", meaning::cache_life},
    {"system[].cache_control.ttl", meaning::cache_life},
    {"tools[].cache_control.ttl", meaning::cache_life},
    {"messages[].content[].cache_control.ttl", meaning::cache_life},
    {"messages[].content[].content[].cache_control.ttl", meaning::cache_life},
    {"system[].cachePoint", meaning::cache, wire::bedrock_converse},
    {"messages[].content[].cachePoint", meaning::cache, wire::bedrock_converse},
    {"toolConfig.tools[].cachePoint", meaning::cache, wire::bedrock_converse},

    {"modalities[]", meaning::modality},
    {"generationConfig.responseModalities[]", meaning::modality},
    {"generation_config.response_modalities[]", meaning::modality},
    {"input", meaning::spoken, wire::openai_audio},
    {"models[]", meaning::model},
    {"fallbacks[]", meaning::model},
    {"fallbacks[].model", meaning::model},
    // An advisor: https://docs.claude.com/en/docs/agents-and-tools/tool-use
    {"tools[].model", meaning::tool_model},
    {"tools[].parameters.model", meaning::tool_model, wire::openai_chat},
    {"tools[].parameters.model", meaning::tool_model, wire::openai_responses},
};

}  // namespace

const place* place::child(const json_string& name) const
{
    for (const place& p : children)
        if (name.escaped ? json_key_is(name, p.key) : name.raw == p.key) return &p;
    return nullptr;
}

const place& asked_members()
{
    static const place root = [] {
        place out;
        for (const member& m : members)
            place_at(out, m.path).members.push_back(&m);
        return out;
    }();
    return root;
}

}  // namespace keyhole::metering
