// Everything that is specific to one provider, one entry each: its name, default address, how its key is
// named in the environment and sent on the wire, and which API ("dialect") it speaks. Adding an
// OpenAI-compatible provider is one line.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace keyhole::config {

/// The API a provider speaks: decides the routes, the shape of errors and where usage stands.
enum class dialect : std::uint8_t { openai, anthropic, gemini, bedrock, ollama, cohere, azure };

/// How the real key is put into a request. Exactly one credential is injected, after all of the agent's are
/// removed.
enum class credential_style : std::uint8_t {
    bearer,          ///< authorization: Bearer KEY
    x_api_key,       ///< x-api-key: KEY            (Anthropic)
    api_key,         ///< api-key: KEY              (Azure OpenAI)
    x_goog_api_key,  ///< x-goog-api-key: KEY       (Gemini)
    none,            ///< nothing (a local Ollama, llama.cpp)
};

struct provider_preset {
    std::string_view name;  ///< as in paths (/openai/v1/…), configuration and the ledger
    dialect api;
    std::string_view
        base_url;  ///< with the version segment, e.g. https://api.openai.com/v1; empty: must be configured
    std::string_view key_env;  ///< variable that holds the key; empty: no key needed
    credential_style credential;
};

/// All known providers. The first two are enabled as soon as their variable is set, without any
/// configuration; so are the rest.
std::span<const provider_preset> provider_presets() noexcept;

/// The entry of that name, or nullptr.
const provider_preset* find_provider_preset(std::string_view name) noexcept;

std::string_view to_string(dialect d) noexcept;
std::string_view to_string(credential_style c) noexcept;

}  // namespace keyhole::config
