// LiteLLM's model_prices_and_context_window.json.
#include "metering/decimal.hpp"
#include "metering/price_files.hpp"
#include "metering/price_parts.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace keyhole::metering::price_files {

namespace {

/// USD a token in the file, nano-USD a million tokens here.
std::int64_t litellm_rate(const std::string& file, const std::string& key, const json_tree& value)
{
    const auto nano =
        value.what == json_tree::kind::number ? scaled_decimal(value.text, 15, false) : std::nullopt;
    if (!nano) fail(file, static_cast<std::size_t>(value.line), key + ": expected a price");
    return *nano;
}

struct litellm_key {
    std::string_view base;
    rate_field field;
};

constexpr std::array<litellm_key, 10> litellm_keys{
    {{"cache_creation_input_token_cost_above_1hr", &rates::cache_write_1h},
     {"cache_creation_input_token_cost", &rates::cache_write_5m},
     {"cache_read_input_token_cost", &rates::cache_read},
     {"input_cost_per_token", &rates::input},
     {"output_cost_per_token", &rates::output},
     {"output_cost_per_reasoning_token", &rates::output_reasoning},
     {"input_cost_per_audio_token", &rates::input_audio},
     {"output_cost_per_audio_token", &rates::output_audio},
     {"input_cost_per_image_token", &rates::input_image},
     {"output_cost_per_image_token", &rates::output_image}}};

/// "_above_200k_tokens" -> 200000; 0: something else.
std::int64_t litellm_threshold(std::string_view suffix)
{
    constexpr std::string_view head = "_above_";
    constexpr std::string_view tail = "k_tokens";
    if (!suffix.starts_with(head) || !suffix.ends_with(tail) || suffix.size() <= head.size() + tail.size())
        return 0;
    const std::string_view digits = suffix.substr(head.size(), suffix.size() - head.size() - tail.size());
    std::int64_t thousands = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), thousands);
    const bool all = error == std::errc{} && end == digits.data() + digits.size() && thousands > 0 &&
                     thousands < 1'000'000;
    return all ? thousands * 1000 : 0;
}

rates& service_tier(model_price& m, std::string_view name)
{
    for (auto& [tier, at] : m.service_tiers) {
        if (tier == name) return at;
    }
    return m.service_tiers.emplace_back(name, rates{}).second;
}

/// One cost key, if it is one that prices tokens; the many others (a page, a second, a picture) are left
/// alone.
void take_litellm_key(const std::string& file, const std::string& key, const json_tree& value, model_price& m)
{
    for (const auto& [base, field] : litellm_keys) {
        if (!key.starts_with(base)) continue;
        const std::string_view suffix = std::string_view(key).substr(base.size());
        rates* to = nullptr;
        if (suffix.empty())
            to = &m.standard;
        else if (suffix == "_batches")
            to = &service_tier(m, "batch");
        else if (suffix == "_flex")
            to = &service_tier(m, "flex");
        else if (suffix == "_priority")
            to = &service_tier(m, "priority");
        else if (const std::int64_t above = litellm_threshold(suffix))
            to = &tier_above(m, above);
        if (to != nullptr && value.what != json_tree::kind::null) to->*field = litellm_rate(file, key, value);
        if (to != nullptr) return;
    }
    if (key == "search_context_cost_per_query") {
        // USD a search, by how much context was asked for; the answer doesn't say, so the default size
        // counts.
        if (const json_tree* medium = value.find("search_context_size_medium")) {
            m.standard.web_search = litellm_rate(file, key, *medium) / 1'000'000;
        }
    }
}

/// Whether it has a price that is not one of tokens.
bool costs_otherwise(const json_tree& model)
{
    return std::ranges::any_of(model.members, [](const auto& member) {
        const auto& [key, value] = member;
        if (key.find("cost") == std::string::npos || value.what != json_tree::kind::number) return false;
        return scaled_decimal(value.text, 15, false).value_or(1) != 0;
    });
}

/// LiteLLM's own names for parts of a provider.
std::string litellm_provider(std::string_view name)
{
    if (name == "text-completion-openai") return "openai";
    if (name == "bedrock_converse") return "bedrock";
    if (name == "cohere_chat") return "cohere";
    if (name.starts_with("vertex_ai")) return "vertex";
    return std::string(name);
}

}  // namespace

std::vector<model_price> read_litellm(const std::string& path)
{
    const json_tree root = parse_json(read_text(path), path);
    if (root.what != json_tree::kind::object) fail(path, 1, "expected an object of models");
    std::vector<model_price> entries;
    for (const auto& [name, content] : root.members) {
        const json_tree* provider = content.find("litellm_provider");
        if (name == "sample_spec" || provider == nullptr) continue;
        model_price m;
        m.provider = litellm_provider(provider->text);
        m.model = name.starts_with(provider->text + "/") ? name.substr(provider->text.size() + 1) : name;
        for (const auto& [key, value] : content.members) {
            take_litellm_key(path, key, value, m);
        }
        const json_tree* mode = content.find("mode");
        const bool embeds = mode != nullptr && (mode->text == "embedding" || mode->text == "rerank");
        if (m.standard.output < 0) m.standard.output = embeds ? 0 : m.standard.output_image;
        if (m.standard.input < 0 || m.standard.output < 0) continue;
        // Zeros beside a price by the query, the second, the character …: it is not free, it is not known.
        if (m.standard.input == 0 && m.standard.output == 0 && costs_otherwise(content)) continue;
        complete_tiers(m);
        m.max_output_tokens = whole_number(content.find("max_output_tokens"));
        m.source = path;
        entries.push_back(std::move(m));
    }
    return entries;
}

}  // namespace keyhole::metering::price_files
