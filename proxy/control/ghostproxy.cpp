// GhostProxy's registry API: an orchestrator that was written for it works unchanged. Its statuses and
// members are kept; its defects are not (a token revoked in one form stays alive in the other; usage gone at
// teardown; errors that are no JSON).
#include "config/providers.hpp"
#include "config/url.hpp"
#include "metering/record.hpp"
#include "proxy/control/api.hpp"
#include "proxy/control/fields.hpp"

#include <algorithm>
#include <stdexcept>

namespace keyhole::proxy::ghostproxy {
namespace {

using nlohmann::json;

/// GhostProxy's own default for it, where the table of providers has none.
constexpr std::string_view ollama = "ollama";
constexpr const char* ollama_url = "http://localhost:11434";

bool is_known(const config::settings& settings, const std::string& provider)
{
    if (config::find_provider_preset(provider) != nullptr) return true;
    return std::ranges::find(settings.providers, provider, &config::provider::name) !=
           settings.providers.end();
}

/// A provider that wants no key (a local Ollama).
bool is_keyless(const config::settings& settings, const std::string& provider)
{
    const auto at = std::ranges::find(settings.providers, provider, &config::provider::name);
    if (at != settings.providers.end()) return at->credential == config::credential_style::none;
    const auto* preset = config::find_provider_preset(provider);
    return provider == ollama || (preset != nullptr && preset->credential == config::credential_style::none);
}

/// It becomes the row's provider and a label of the metrics.
void check_name(const std::string& provider)
{
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    if (provider.size() > 32 || !std::ranges::all_of(provider, allowed))
        throw std::invalid_argument("provider: a name has at most 32 lower-case letters, digits or -_.");
}

void check_url(const std::string& url)
{
    config::provider ignored;
    const std::string what = config::set_base_url(ignored, url, true);
    if (!what.empty()) throw std::invalid_argument("upstream_url " + what);
}

/// Takes the text over into locked memory and wipes it here.
config::secret_ptr take_key(std::string& text)
{
    // What can't stand in a header would end one and begin another.
    const bool fits = std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
    config::secret_ptr key = fits && !text.empty() ? std::make_shared<const config::secret>(text) : nullptr;
    config::wipe(text.data(), text.size());
    if (!fits) throw std::invalid_argument("api_key holds white space or characters that are not ASCII");
    return key;
}

}  // namespace

admin_answer health(control_surface&, const admin_request&)
{
    return json_answer(200, json{{"status", "ok"}});
}

admin_answer register_session(control_surface& c, const admin_request& r)
{
    const fields body(r.body, {});  // GhostProxy takes no notice of members it doesn't know
    const auto settings = c.settings();
    session_credential credential;
    credential.provider = body.text("provider");
    credential.upstream_url = body.text("upstream_url");
    std::string token = body.text("token");
    std::string key = body.text("api_key");
    const bool complete = !token.empty() && !credential.provider.empty() &&
                          (!key.empty() || is_keyless(*settings, credential.provider));
    credential.key = take_key(key);
    if (!complete) throw std::invalid_argument("token, provider, and api_key are required");
    check_name(credential.provider);
    if (credential.provider == ollama && credential.upstream_url.empty() &&
        !is_known(*settings, credential.provider))
        credential.upstream_url = ollama_url;
    if (credential.upstream_url.empty() && !is_known(*settings, credential.provider))
        throw std::invalid_argument("unknown provider (give its upstream_url, or configure it)");
    if (!credential.upstream_url.empty()) check_url(credential.upstream_url);

    session_info i;
    i.sandbox = body.text("sandbox_id");
    i.providers = {credential.provider};
    const minted_session made = c.store.create(c.registry, std::move(i), token, std::move(credential));
    config::wipe(token.data(), token.size());
    // The disk knows it from create(); its streams and its socket are not the store's.
    if (made.replaced && c.revoked) c.revoked(made.replaced);
    return json_answer(201, json{{"status", "registered"}});
}

admin_answer list_sessions(control_surface& c, const admin_request&)
{
    const std::int64_t now_us = metering::now_us();
    json out = json::array();
    for (const auto& s : c.registry.all()) {
        if (s->expired(now_us)) continue;
        std::string provider;
        if (s->credential)
            provider = s->credential->provider;
        else if (s->info.providers.size() == 1)
            provider = s->info.providers.front();
        json row{{"provider", provider}, {"sandbox_id", s->info.sandbox}};
        if (s->credential && !s->credential->upstream_url.empty())
            row["upstream_url"] = s->credential->upstream_url;
        out.push_back(std::move(row));
    }
    return json_answer(200, out);
}

admin_answer revoke_session(control_surface& c, const admin_request& r)
{
    if (r.wild.at(0).empty()) throw std::invalid_argument("token is required");
    // "revoked" also for a token that nobody has: whoever calls this at teardown calls it twice.
    if (const auto s = c.registry.revoke_token(r.wild.at(0))) admin::finish_revocation(c, {&s, 1});
    return json_answer(200, json{{"status", "revoked"}});
}

admin_answer revoke_sandbox(control_surface& c, const admin_request& r)
{
    const std::string& sandbox = r.wild.at(0);
    if (sandbox.empty()) throw std::invalid_argument("sandbox id is required");
    const auto gone = c.registry.revoke_sandbox(sandbox);
    admin::finish_revocation(c, gone);
    return json_answer(200, json{{"status", "revoked"}, {"count", gone.size()}, {"sandbox", sandbox}});
}

/// The ledger's, so it outlives the session, a re-registration and the process.
admin_answer session_usage(control_surface& c, const admin_request& r)
{
    const std::string& token = r.wild.at(0);
    if (token.empty()) throw std::invalid_argument("token is required");
    metering::token_counts counts;
    std::int64_t requests = 0;
    if (is_well_formed_token(token)) {
        c.books.flush(0.25);
        for (const auto& id : c.store.ids_of_token(digest_of(token))) {
            metering::usage_query q;
            q.session = id;
            for (const auto& [name, sum] : c.books.usage(q)) {
                counts.input += sum.counts.all_input();
                counts.output += sum.counts.all_output();
                requests += sum.requests;
            }
        }
    }
    return json_answer(
        200, json{{"input_tokens", counts.input}, {"output_tokens", counts.output}, {"requests", requests}});
}

}  // namespace keyhole::proxy::ghostproxy
