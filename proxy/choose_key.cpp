// Step 7: a healthy key of the provider, and what the answer says about its health.
#include "proxy/exchange.hpp"

#include <ctime>
#include <functional>

namespace keyhole::proxy {

void choose_key(exchange& x)
{
    const auto& provider = x.to->provider;
    if (provider.credential == config::credential_style::none || provider.keys.empty()) return;
    x.key_index =
        x.to->keys->choose(std::hash<std::string>{}(x.who->info.id), upstream::key_ring::clock::now());
    x.key = provider.keys[x.key_index];
}

void judge_key(exchange& x)
{
    if (!x.key || x.answer.status < 400) return;
    const auto time = upstream::rest_after(x.answer.status, x.answer.get("retry-after"),
                                           x.answer.get("retry-after-ms"), std::time(nullptr));
    if (!time) return;
    auto& ring = *x.to->keys;
    const bool news = ring.rest(x.key_index, *time, upstream::key_ring::clock::now());
    const bool refused = x.answer.status == 401;
    if (!news || (ring.size() == 1 && !refused)) return;  // a single key's rate limit is the agent's matter
    const auto which = std::to_string(x.key_index + 1) + " of " + std::to_string(ring.size());
    x.agent.home().shared().log.warn(refused ? "the provider refuses a key: replace it, then send SIGHUP"
                                             : "a key has reached its rate limit",
                                     {{"provider", x.to->provider.name},
                                      {"key", which},
                                      {"status", std::to_string(x.answer.status)},
                                      {"rests_seconds", std::to_string(time->count())}});
}

}  // namespace keyhole::proxy
