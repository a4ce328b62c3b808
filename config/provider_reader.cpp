#include "config/provider_reader.hpp"

#include "config/url.hpp"

#include <algorithm>
#include <array>

namespace keyhole::config {
namespace {

/// First segments of paths that agents ask for without naming a provider.
constexpr std::array<std::string_view, 16> reserved_names{
    "v1",       "v1beta", "v1alpha",   "v1beta1",     "v2",         "api",    "models", "model",
    "messages", "chat",   "responses", "completions", "embeddings", "images", "audio",  "health"};

credential_style usual_credential(dialect api)
{
    switch (api) {
    case dialect::azure:
        return credential_style::api_key;
    case dialect::anthropic:
        return credential_style::x_api_key;
    case dialect::gemini:
        return credential_style::x_goog_api_key;
    case dialect::ollama:
        return credential_style::none;
    case dialect::openai:
    case dialect::bedrock:
    case dialect::cohere:
        break;
    }
    return credential_style::bearer;
}

/// One provider, from its preset and its section (one of the two may be absent).
class assembly {
public:
    assembly(std::string name, const provider_preset* preset, const node* section, reading& with)
        : name_(std::move(name))
        , prefix_("providers." + name_)
        , preset_(preset)
        , section_(section)
        , with_(with)
    {
    }

    std::optional<provider> run()
    {
        if (section_ == nullptr && !enabled_by_environment()) return std::nullopt;
        const std::size_t problems = with_.out.problems.size();
        if (section_ != nullptr) read_members(provider_keys(), *section_, prefix_, draft_, with_);
        if (!draft_.enabled) {
            with_.out.note(name_ + ": disabled by the configuration");
            return std::nullopt;
        }
        draft_.result.name = name_;
        api();
        address();
        keys();
        if (with_.out.problems.size() != problems) return std::nullopt;
        return std::move(draft_.result);
    }

private:
    std::string where() const
    {
        return section_ != nullptr ? section_->where : "environment " + std::string(preset_->key_env);
    }

    void refuse(std::string key, std::string what, std::string remedy)
    {
        const node* at = section_ != nullptr ? section_->find(key) : nullptr;
        with_.out.refuse(at != nullptr ? at->where : where(), prefix_ + "." + key, std::move(what),
                         std::move(remedy));
    }

    bool enabled_by_environment()
    {
        const std::string variable(preset_->key_env);
        if (variable.empty() || !with_.secrets.has_variable(variable)) return false;
        if (!preset_->base_url.empty()) return true;
        with_.out.note(name_ + ": " + variable + " is set, but not the address; set " + prefix_ +
                       ".base_url to use it");
        return false;
    }

    void api()
    {
        if (draft_.api) {
            draft_.result.api = *draft_.api;
        } else if (preset_ != nullptr) {
            draft_.result.api = preset_->api;
        } else if (section_->find("api") == nullptr) {
            std::vector<std::string_view> known;
            for (const provider_preset& p : provider_presets()) {
                known.push_back(p.name);
            }
            refuse("api", "not given, and " + name_ + " is no provider that keyhole knows",
                   did_you_mean(name_, known, "api = \"openai\" for an OpenAI-compatible one"));
        }
        const bool as_preset = preset_ != nullptr && draft_.result.api == preset_->api;
        draft_.result.credential =
            draft_.credential.value_or(as_preset ? preset_->credential : usual_credential(draft_.result.api));
    }

    void address()
    {
        const bool configured = section_ != nullptr && section_->find("base_url") != nullptr;
        if (!configured && preset_ != nullptr) draft_.base_url = preset_->base_url;
        if (draft_.base_url.empty()) {
            if (!configured || !draft_.base_url_where.empty())
                refuse("base_url", "no address is known for it", "base_url = \"https://…\"");
            return;
        }
        if (auto bad = take_base_url(draft_.result, draft_.base_url, draft_.allow_plain_http))
            return refuse("base_url", std::move(bad->what), std::move(bad->remedy));
        if (!draft_.result.tls && !draft_.result.ca_file.empty())
            with_.out.note(name_ + ": ca_file has no effect on an http URL");
    }

    void keys()
    {
        std::vector<secret_ptr>& keys = draft_.result.keys;
        const std::size_t problems = with_.out.problems.size();
        const bool configured =
            section_ != nullptr && (section_->find("key") != nullptr || section_->find("keys") != nullptr);
        for (const node* reference : draft_.keys) {
            if (auto key = with_.secrets.read(*reference, prefix_ + ".key", name_))
                keys.push_back(std::move(key));
        }
        const std::string variable(preset_ != nullptr ? preset_->key_env : std::string_view());
        if (!configured && !variable.empty() && draft_.result.credential != credential_style::none) {
            if (auto key = with_.secrets.from_variable(variable, prefix_ + ".key", name_))
                keys.push_back(std::move(key));
        }
        if (with_.out.problems.size() != problems) return;

        if (draft_.result.credential == credential_style::none) {
            if (configured)
                refuse("credential", "is none, so its key would never be sent",
                       "credential = \"bearer\", or leave the key out");
        } else if (keys.empty() && !configured) {
            refuse("key", "no key",
                   variable.empty()
                       ? "key = \"env:NAME\" or \"file:/path\"; credential = \"none\" if it needs none"
                       : "set " + variable + ", or key = \"env:NAME\" or \"file:/path\"");
        }
        for (std::size_t i = 0; i < keys.size(); ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                if (equal_in_constant_time(keys[i]->reveal(), keys[j]->reveal()))
                    return refuse("keys", "two of them are the same key", "name each once");
            }
        }
    }

    std::string name_;
    std::string prefix_;
    const provider_preset* preset_;
    const node* section_;
    reading& with_;
    provider_draft draft_;
};

}  // namespace

bool is_provider_name(std::string_view name) noexcept
{
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    const auto allowed = [&](char c) { return plain(c) || c == '-' || c == '_'; };
    return !name.empty() && name.size() <= 32 && plain(name.front()) &&
           std::all_of(name.begin(), name.end(), allowed) &&
           std::find(reserved_names.begin(), reserved_names.end(), name) == reserved_names.end();
}

std::vector<provider> read_providers(const node* table, reading& with)
{
    const std::size_t problems = with.out.problems.size();
    std::vector<std::string> names;
    for (const provider_preset& preset : provider_presets()) {
        names.emplace_back(preset.name);
    }
    if (table != nullptr) {
        std::vector<std::string> others;
        for (const auto& [name, section] : table->members) {
            const std::string key = "providers." + name;
            if (section.what != node::type::table) {
                with.out.refuse(section.where, key, "expected a section",
                                "[providers.NAME] with its keys below it");
            } else if (!is_provider_name(name)) {
                with.out.refuse(section.where, key, "not a name for a provider: it is part of paths",
                                "up to 32 of a-z, 0-9, - and _, and none of the paths that agents ask for "
                                "(v1, models, …)");
            } else if (find_provider_preset(name) == nullptr) {
                others.push_back(name);
            }
        }
        std::sort(others.begin(), others.end());
        names.insert(names.end(), others.begin(), others.end());
    }

    std::vector<provider> found;
    for (const std::string& name : names) {
        const node* section = table != nullptr ? table->find(name) : nullptr;
        if (section != nullptr && section->what != node::type::table) continue;
        if (auto p = assembly(name, find_provider_preset(name), section, with).run())
            found.push_back(std::move(*p));
    }
    for (const provider_preset& preset : provider_presets()) {
        const std::string variable(preset.key_env);
        const bool waits = preset.base_url.empty() && with.secrets.has_variable(variable);
        if (!found.empty() || with.out.problems.size() != problems || !waits) continue;
        with.out.refuse("environment " + variable, "providers." + std::string(preset.name) + ".base_url",
                        "its key is set, but not its address",
                        "KEYHOLE_PROVIDERS_" + upper(preset.name) +
                            "_BASE_URL=https://…, or base_url in [providers." + std::string(preset.name) +
                            "]");
    }
    if (found.empty() && with.out.problems.size() == problems) {
        with.out.refuse("configuration", "providers", "there is no provider to forward to",
                        "set OPENAI_API_KEY, ANTHROPIC_API_KEY or another provider's variable (or its "
                        "_FILE), or write a [providers.NAME] section");
    }
    return found;
}

}  // namespace keyhole::config
