#include "proxy/runtime.hpp"

#include "config/url.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace keyhole::proxy {

upstream::endpoint_ptr runtime::find(std::string_view provider) const noexcept
{
    for (const auto& e : endpoints)
        if (e->provider.name == provider) return e;
    return nullptr;
}

bool runtime::has(std::string_view provider) const noexcept
{
    return std::ranges::any_of(endpoints, [&](const auto& e) { return e->provider.name == provider; });
}

bool runtime::has(config::dialect api) const noexcept
{
    return std::ranges::any_of(endpoints, [&](const auto& e) { return e->provider.api == api; });
}

upstream::endpoint_ptr runtime::for_api(config::dialect api, const session* who) const noexcept
{
    upstream::endpoint_ptr first;
    for (const auto& e : endpoints) {
        if (e->provider.api != api) continue;
        // A provider named as its API (openai, anthropic) is meant where nothing else is said.
        if (who != nullptr && who->may_use_provider(e->provider.name)) return e;
        if (!first) first = e;
    }
    return first;
}

runtime_ptr make_runtime(config::settings settings)
{
    auto out = std::make_shared<runtime>();
    auto prices = metering::price_table::builtin();
    for (const auto& file : settings.prices) {
        switch (file.format) {
        case config::price_format::keyhole:
            prices.load_keyhole(file.path);
            break;
        case config::price_format::litellm:
            prices.load_litellm(file.path);
            break;
        case config::price_format::models_dev:
            prices.load_models_dev(file.path);
            break;
        }
    }
    out->prices = std::make_shared<const metering::price_table>(std::move(prices));
    // The provider that carries its API's own name comes first: it is the one an unprefixed path means.
    for (const bool namesake : {true, false})
        for (const auto& p : settings.providers)
            if ((config::to_string(p.api) == p.name) == namesake)
                out->endpoints.push_back(upstream::make_endpoint(p));
    out->settings = std::make_shared<const config::settings>(std::move(settings));
    return out;
}

upstream::endpoint_ptr endpoint_of_credential(const runtime& rt, const session_credential& credential)
{
    config::provider p;
    if (const auto configured = rt.find(credential.provider))
        p = configured->provider;
    else if (const auto* preset = config::find_provider_preset(credential.provider))
        p = config::provider_of(*preset);
    else {
        p.name = credential.provider;
        p.api = config::dialect::openai;
    }
    if (!credential.upstream_url.empty()) {
        const auto problem = config::set_base_url(p, credential.upstream_url, true);
        if (!problem.empty())
            throw std::runtime_error("upstream_url of provider " + credential.provider + ": " + problem);
        // GhostProxy's addresses come without the version segment that our paths leave out.
        if (p.base_path.empty() && (p.api == config::dialect::openai || p.api == config::dialect::anthropic))
            p.base_path = "/v1";
    }
    p.keys.clear();
    if (credential.key)
        p.keys.push_back(credential.key);
    else
        p.credential = config::credential_style::none;
    return upstream::make_endpoint(std::move(p));
}

}  // namespace keyhole::proxy
