#include "config/providers.hpp"

#include "config/config.hpp"

#include <array>

namespace keyhole::config {
namespace {

// Base URLs as the providers document them for their OpenAI-compatible (or own) API, with the version
// segment.
constexpr std::array presets{
    provider_preset{"openai", dialect::openai, "https://api.openai.com/v1", "OPENAI_API_KEY",
                    credential_style::bearer},
    provider_preset{"anthropic", dialect::anthropic, "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY",
                    credential_style::x_api_key},
    provider_preset{"mistral", dialect::openai, "https://api.mistral.ai/v1", "MISTRAL_API_KEY",
                    credential_style::bearer},
    provider_preset{"deepseek", dialect::openai, "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY",
                    credential_style::bearer},
    provider_preset{"groq", dialect::openai, "https://api.groq.com/openai/v1", "GROQ_API_KEY",
                    credential_style::bearer},
    provider_preset{"xai", dialect::openai, "https://api.x.ai/v1", "XAI_API_KEY", credential_style::bearer},
    provider_preset{"together", dialect::openai, "https://api.together.xyz/v1", "TOGETHER_API_KEY",
                    credential_style::bearer},
    provider_preset{"fireworks", dialect::openai, "https://api.fireworks.ai/inference/v1",
                    "FIREWORKS_API_KEY", credential_style::bearer},
    provider_preset{"openrouter", dialect::openai, "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY",
                    credential_style::bearer},
    provider_preset{"cerebras", dialect::openai, "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY",
                    credential_style::bearer},
    provider_preset{"perplexity", dialect::openai, "https://api.perplexity.ai", "PERPLEXITY_API_KEY",
                    credential_style::bearer},
    provider_preset{"moonshot", dialect::openai, "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY",
                    credential_style::bearer},
    provider_preset{"deepinfra", dialect::openai, "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY",
                    credential_style::bearer},
    provider_preset{"nvidia", dialect::openai, "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY",
                    credential_style::bearer},
    provider_preset{"huggingface", dialect::openai, "https://router.huggingface.co/v1", "HF_TOKEN",
                    credential_style::bearer},
    provider_preset{"voyage", dialect::openai, "https://api.voyageai.com/v1", "VOYAGE_API_KEY",
                    credential_style::bearer},
    provider_preset{"vllm", dialect::openai, "http://127.0.0.1:8000/v1", "", credential_style::none},
    provider_preset{"llamacpp", dialect::openai, "http://127.0.0.1:8081/v1", "", credential_style::none},
    provider_preset{"lmstudio", dialect::openai, "http://127.0.0.1:1234/v1", "", credential_style::none},
    // Addresses that are the account's own: base_url must be set.
    provider_preset{"azure", dialect::azure, "", "AZURE_OPENAI_API_KEY", credential_style::api_key},
    provider_preset{"bedrock", dialect::bedrock, "", "AWS_BEARER_TOKEN_BEDROCK", credential_style::bearer},
    provider_preset{"vertex", dialect::gemini, "", "VERTEX_ACCESS_TOKEN", credential_style::bearer},
    provider_preset{"gemini", dialect::gemini, "https://generativelanguage.googleapis.com/v1beta",
                    "GEMINI_API_KEY", credential_style::x_goog_api_key},
    provider_preset{"cohere", dialect::cohere, "https://api.cohere.com/v2", "COHERE_API_KEY",
                    credential_style::bearer},
    provider_preset{"ollama", dialect::ollama, "http://127.0.0.1:11434", "", credential_style::none},
};

}  // namespace

std::span<const provider_preset> provider_presets() noexcept
{
    return presets;
}

const provider_preset* find_provider_preset(std::string_view name) noexcept
{
    for (const auto& p : presets)
        if (p.name == name) return &p;
    return nullptr;
}

std::string_view to_string(dialect d) noexcept
{
    switch (d) {
    case dialect::openai:
        return "openai";
    case dialect::anthropic:
        return "anthropic";
    case dialect::gemini:
        return "gemini";
    case dialect::bedrock:
        return "bedrock";
    case dialect::ollama:
        return "ollama";
    case dialect::cohere:
        return "cohere";
    case dialect::azure:
        return "azure";
    }
    return "openai";
}

std::string_view to_string(credential_style c) noexcept
{
    switch (c) {
    case credential_style::bearer:
        return "bearer";
    case credential_style::x_api_key:
        return "x-api-key";
    case credential_style::api_key:
        return "api-key";
    case credential_style::x_goog_api_key:
        return "x-goog-api-key";
    case credential_style::none:
        return "none";
    }
    return "none";
}

}  // namespace keyhole::config
