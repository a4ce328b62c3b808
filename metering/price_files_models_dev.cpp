// models.dev: its api.json, or its folder of TOML files.
#include "metering/decimal.hpp"
#include "metering/price_files.hpp"
#include "metering/price_parts.hpp"
#include "metering/price_toml.hpp"

#include <array>
#include <filesystem>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

namespace keyhole::metering::price_files {

namespace {

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
