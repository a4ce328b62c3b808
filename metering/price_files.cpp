// Keyhole's own price files.
#include "metering/price_files.hpp"

#include "metering/decimal.hpp"
#include "metering/price_parts.hpp"
#include "metering/price_toml.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace keyhole::metering::price_files {

namespace {

constexpr std::array<named_rate, 10> keyhole_rates{{{"input", &rates::input},
                                                    {"output", &rates::output},
                                                    {"cache_read", &rates::cache_read},
                                                    {"cache_write_5m", &rates::cache_write_5m},
                                                    {"cache_write_1h", &rates::cache_write_1h},
                                                    {"output_reasoning", &rates::output_reasoning},
                                                    {"input_audio", &rates::input_audio},
                                                    {"output_audio", &rates::output_audio},
                                                    {"input_image", &rates::input_image},
                                                    {"output_image", &rates::output_image}}};

/// Takes one price if `name` is one; USD per million tokens.
bool take_rate(const toml_file& file, std::string_view name, const toml::node& value, rates& to)
{
    if (name == "web_search_per_1000") {
        const auto per_thousand = scaled_decimal(file.decimal(value), 9, true);
        if (!per_thousand) file.fail_at(value, "web_search_per_1000: expected USD such as \"10.00\"");
        to.web_search = *per_thousand / 1000;
        return true;
    }
    for (const named_rate& r : keyhole_rates) {
        if (r.name != name) continue;
        const auto nano = scaled_decimal(file.decimal(value), 9, true);
        if (!nano)
            file.fail_at(value,
                         std::string(name) +
                             ": expected USD per million tokens such as \"2.50\" (at most nine decimals)");
        to.*r.field = *nano;
        return true;
    }
    return false;
}

std::vector<std::pair<std::string, rates>> take_service_tiers(const toml_file& file, const toml::node& node)
{
    std::vector<std::pair<std::string, rates>> tiers;
    for (const auto& [tier, content] : file.table(node)) {
        auto& [name, at] = tiers.emplace_back();
        name = tier.str();
        for (const auto& [key, value] : file.table(content)) {
            if (!take_rate(file, key.str(), value, at))
                file.fail_at(value, "unknown price \"" + std::string(key.str()) + "\"");
        }
    }
    return tiers;
}

context_tier take_context_tier(const toml_file& file, const toml::node& node)
{
    context_tier tier;
    for (const auto& [key, value] : file.table(node)) {
        if (key == "above_input_tokens") {
            tier.above_input_tokens = file.integer(value);
        } else if (key == "service_tier") {
            tier.service_tiers = take_service_tiers(file, value);
        } else if (!take_rate(file, key.str(), value, tier.at)) {
            file.fail_at(value, "unknown price \"" + std::string(key.str()) + "\"");
        }
    }
    if (tier.above_input_tokens == 0) file.fail_at(node, "above_input_tokens is missing");
    return tier;
}

/// A search costs the same in every tier that does not say otherwise.
void spread_search_price(model_price& m)
{
    const auto spread = [&](rates& tier) {
        if (tier.web_search < 0) tier.web_search = m.standard.web_search;
    };
    for (auto& [name, at] : m.service_tiers) {
        spread(at);
    }
    for (context_tier& t : m.tiers) {
        spread(t.at);
        for (auto& [name, at] : t.service_tiers) {
            spread(at);
        }
    }
}

model_price take_model(const toml_file& file, const toml::node& node)
{
    model_price m;
    for (const auto& [key, value] : file.table(node)) {
        const std::string_view name = key.str();
        if (name == "provider")
            m.provider = file.text(value);
        else if (name == "model")
            m.model = file.text(value);
        else if (name == "source")
            m.source = file.text(value);
        else if (name == "date")
            m.date = file.text(value);
        else if (name == "max_output_tokens")
            m.max_output_tokens = file.integer(value);
        else if (name == "service_tier")
            m.service_tiers = take_service_tiers(file, value);
        else if (name == "aliases" || name == "above") {
            if (!value.is_array()) file.fail_at(value, std::string(name) + ": expected an array");
            for (const toml::node& element : *value.as_array()) {
                if (name == "aliases")
                    m.aliases.push_back(file.text(element));
                else
                    m.tiers.push_back(take_context_tier(file, element));
            }
        } else if (!take_rate(file, name, value, m.standard)) {
            file.fail_at(value, "unknown key \"" + std::string(name) + "\"");
        }
    }
    if (m.provider.empty()) file.fail_at(node, "provider is missing");
    if (m.model.empty()) file.fail_at(node, "model is missing");
    if (m.standard.input < 0)
        file.fail_at(node, "input is missing (the price of a million input tokens; \"0\" if it is free)");
    if (m.standard.output < 0)
        file.fail_at(node, "output is missing (the price of a million output tokens; \"0\" if it has none)");
    if (!std::ranges::is_sorted(m.tiers, std::less_equal<>{}, &context_tier::above_input_tokens)) {
        file.fail_at(node, "the [[model.above]] tiers must rise");
    }
    spread_search_price(m);
    return m;
}

}  // namespace

std::string read_text(const std::string& path)
{
    std::ifstream file(path, std::ios::binary);
    std::ostringstream content;
    if (file) content << file.rdbuf();
    if (!file || file.bad())
        throw std::runtime_error(path + ": cannot be read (does it exist, and may this user read it?)");
    return std::move(content).str();
}

std::vector<model_price> parse_keyhole(std::string_view text, const std::string& name)
{
    const toml_file file(text, name);
    std::vector<model_price> entries;
    std::set<std::pair<std::string, std::string>> names;
    for (const auto& [key, value] : file.root()) {
        if (key != "model" || !value.is_array()) {
            file.fail_at(value, "unknown key \"" + std::string(key.str()) +
                                    "\" (a price file is a list of [[model]])");
        }
        for (const toml::node& node : *value.as_array()) {
            model_price m = take_model(file, node);
            std::vector<std::string> all = m.aliases;
            all.push_back(m.model);
            for (const std::string& n : all) {
                if (!names.emplace(m.provider, n).second)
                    file.fail_at(node, m.provider + " " + n + " stands in it twice");
            }
            if (m.source.empty()) m.source = name;
            entries.push_back(std::move(m));
        }
    }
    return entries;
}

std::vector<model_price> read_keyhole(const std::string& path)
{
    return parse_keyhole(read_text(path), path);
}

}  // namespace keyhole::metering::price_files
