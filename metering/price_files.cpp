#include "metering/price_files.hpp"

#include "config/toml.hpp"
#include "metering/decimal.hpp"
#include "metering/json_tree.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>

namespace keyhole::metering::price_files {

namespace {

using rate_field = std::int64_t rates::*;

[[noreturn]] void fail(const std::string& file, std::size_t line, const std::string& what)
{
    throw std::runtime_error(file + ":" + std::to_string(line) + ": " + what);
}

// ---- TOML

/// A parsed TOML file beside its text: a float's digits are read from the text.
class toml_file {
public:
    toml_file(std::string_view text, std::string name) : text_(text), name_(std::move(name))
    {
        try {
            root_ = config::parse_toml(text_, name_);
        } catch (const config::toml_mistake& e) {
            fail(name_, e.line, e.what);
        }
    }
    const toml::table& root() const noexcept { return root_; }
    [[noreturn]] void fail_at(const toml::node& node, const std::string& what) const
    {
        fail(name_, node.source().begin.line, what);
    }

    /// The digits of a number or of a string with one in it.
    std::string decimal(const toml::node& node) const
    {
        if (const auto text = node.value_exact<std::string>()) return *text;
        if (const auto whole = node.value_exact<std::int64_t>()) return std::to_string(*whole);
        if (node.is_floating_point()) return literal(node.source().begin);
        fail_at(node, "expected a number");
    }
    std::string text(const toml::node& node) const
    {
        auto value = node.value_exact<std::string>();
        if (!value) fail_at(node, "expected a text");
        return std::move(*value);
    }
    std::int64_t integer(const toml::node& node) const
    {
        const auto value = node.value_exact<std::int64_t>();
        if (!value || *value < 0) fail_at(node, "expected a whole number that is not negative");
        return *value;
    }
    const toml::table& table(const toml::node& node) const
    {
        if (!node.is_table()) fail_at(node, "expected a table");
        return *node.as_table();
    }

private:
    /// What stands in the text at a position (lines and columns count from 1, columns in code points).
    std::string literal(const toml::source_position& at) const
    {
        std::size_t offset = 0;
        for (toml::source_index line = 1; line < at.line; ++line) {
            offset = text_.find('\n', offset) + 1;
        }
        for (toml::source_index column = 1; column < at.column && offset < text_.size(); ++column) {
            ++offset;
            while (offset < text_.size() && (static_cast<unsigned char>(text_[offset]) & 0xC0U) == 0x80) {
                ++offset;
            }
        }
        const std::size_t end = text_.find_first_not_of("0123456789.+-_eE", offset);
        std::string digits(text_.substr(offset, end - offset));
        if (!digits.empty() && digits.front() == '+') digits.erase(0, 1);
        return digits;
    }

    std::string_view text_;
    std::string name_;
    toml::table root_;
};

struct named_rate {
    std::string_view name;
    rate_field field;
};

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

// ---- LiteLLM

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

rates& tier_above(model_price& m, std::int64_t above)
{
    const auto found = std::ranges::find(m.tiers, above, &context_tier::above_input_tokens);
    if (found != m.tiers.end()) return found->at;
    m.tiers.push_back({above, {}, {}});
    return m.tiers.back().at;
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

/// A tier that says nothing about input or output keeps the model's own; the rest falls back as rates says.
void complete(rates& tier, const rates& standard)
{
    if (tier.input < 0) tier.input = standard.input;
    if (tier.output < 0) tier.output = standard.output;
    if (tier.web_search < 0) tier.web_search = standard.web_search;
}

void complete_tiers(model_price& m)
{
    std::ranges::sort(m.tiers, {}, &context_tier::above_input_tokens);
    for (context_tier& t : m.tiers) {
        complete(t.at, m.standard);
    }
    for (auto& [name, at] : m.service_tiers) {
        complete(at, m.standard);
    }
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

// ---- models.dev

constexpr std::array<named_rate, 8> models_dev_rates{{{"input", &rates::input},
                                                      {"output", &rates::output},
                                                      {"cache_read", &rates::cache_read},
                                                      {"cache_write", &rates::cache_write_5m},
                                                      {"reasoning", &rates::output_reasoning},
                                                      {"input_audio", &rates::input_audio},
                                                      {"output_audio", &rates::output_audio},
                                                      {"output_image", &rates::output_image}}};

std::string models_dev_provider(std::string_view name)
{
    if (name == "google") return "gemini";
    if (name == "amazon-bedrock") return "bedrock";
    if (name.starts_with("google-vertex")) return "vertex";
    return std::string(name);
}

rates models_dev_cost(const std::string& file, const json_tree& cost)
{
    rates at;
    for (const auto& [name, field] : models_dev_rates) {
        const json_tree* value = cost.find(name);
        if (value == nullptr || value->what == json_tree::kind::null) continue;
        const auto nano =
            value->what == json_tree::kind::number ? scaled_decimal(value->text, 9, false) : std::nullopt;
        if (!nano)
            fail(file, static_cast<std::size_t>(value->line),
                 "cost." + std::string(name) + ": expected a price");
        at.*field = *nano;
    }
    return at;
}

std::int64_t whole_number(const json_tree* value)
{
    const bool number = value != nullptr && value->what == json_tree::kind::number;
    return number ? scaled_decimal(value->text, 0, true).value_or(0) : 0;
}

/// nullopt: it has no price a token.
std::optional<model_price> models_dev_model(const std::string& file, std::string provider,
                                            const std::string& name, const json_tree& content)
{
    const json_tree* cost = content.find("cost");
    if (cost == nullptr) return std::nullopt;
    model_price m;
    m.provider = std::move(provider);
    m.model = name;
    m.standard = models_dev_cost(file, *cost);
    if (m.standard.input < 0 || m.standard.output < 0) return std::nullopt;
    if (const json_tree* over = cost->find("context_over_200k")) {
        m.tiers.push_back({200'000, models_dev_cost(file, *over), {}});
    }
    if (const json_tree* tiers = cost->find("tiers")) {
        for (const auto& [unnamed, tier] : tiers->members) {
            const json_tree* bound = tier.find("tier");
            const std::int64_t above = bound != nullptr ? whole_number(bound->find("size")) : 0;
            if (above <= 0)
                fail(file, static_cast<std::size_t>(tier.line), "cost.tiers: tier.size is missing");
            tier_above(m, above) = models_dev_cost(file, tier);
        }
    }
    complete_tiers(m);
    if (const json_tree* limit = content.find("limit"))
        m.max_output_tokens = whole_number(limit->find("output"));
    m.source = file;
    return m;
}

/// TOML as the same tree as JSON, so that both forms of models.dev are read by one function.
json_tree as_tree(const toml_file& file, const toml::node& node)
{
    json_tree tree;
    tree.line = static_cast<int>(node.source().begin.line);
    if (node.is_table()) {
        tree.what = json_tree::kind::object;
        for (const auto& [key, value] : *node.as_table()) {
            tree.members.push_back({std::string(key.str()), as_tree(file, value)});
        }
    } else if (node.is_array()) {
        tree.what = json_tree::kind::array;
        for (const toml::node& element : *node.as_array()) {
            tree.members.push_back({{}, as_tree(file, element)});
        }
    } else if (node.is_number()) {
        tree.what = json_tree::kind::number;
        tree.text = file.decimal(node);
    } else if (node.is_string()) {
        tree.what = json_tree::kind::text;
        tree.text = file.text(node);
    }
    return tree;
}

std::vector<model_price> read_models_dev_folder(const std::filesystem::path& top)
{
    namespace fs = std::filesystem;
    const fs::path providers = fs::is_directory(top / "providers") ? top / "providers" : top;
    std::set<fs::path> files;  // in order, so that the table's version does not depend on the file system
    for (const auto& provider : fs::directory_iterator(providers)) {
        const fs::path models = provider.path() / "models";
        if (!fs::is_directory(models)) continue;
        for (const auto& file : fs::recursive_directory_iterator(models)) {
            if (file.path().extension() == ".toml") files.insert(file.path());
        }
    }
    if (files.empty()) throw std::runtime_error(top.string() + ": no PROVIDER/models/*.toml in it");
    std::vector<model_price> entries;
    for (const fs::path& path : files) {
        const std::string text = read_text(path.string());
        const toml_file file(text, path.string());
        const fs::path relative = path.lexically_relative(providers);
        const std::string provider = relative.begin()->string();
        const std::string name =
            path.lexically_relative(providers / provider / "models").replace_extension().generic_string();
        auto entry =
            models_dev_model(path.string(), models_dev_provider(provider), name, as_tree(file, file.root()));
        if (entry) entries.push_back(std::move(*entry));
    }
    return entries;
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
        complete_tiers(m);
        m.max_output_tokens = whole_number(content.find("max_output_tokens"));
        m.source = path;
        entries.push_back(std::move(m));
    }
    return entries;
}

std::vector<model_price> read_models_dev(const std::string& path)
{
    if (std::filesystem::is_directory(path)) return read_models_dev_folder(path);
    const json_tree root = parse_json(read_text(path), path);
    if (root.what != json_tree::kind::object) fail(path, 1, "expected an object of providers");
    std::vector<model_price> entries;
    for (const auto& [provider, content] : root.members) {
        const json_tree* models = content.find("models");
        if (models == nullptr) continue;
        for (const auto& [name, model] : models->members) {
            auto entry = models_dev_model(path, models_dev_provider(provider), name, model);
            if (entry) entries.push_back(std::move(*entry));
        }
    }
    return entries;
}

}  // namespace keyhole::metering::price_files
