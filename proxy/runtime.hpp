// What one configuration means, ready to use: endpoints by provider and the price table. Made at start-up and
// on SIGHUP, then shared read-only; a request keeps the one it began with. Thread rule: immutable.
#pragma once

#include "config/config.hpp"
#include "metering/prices.hpp"
#include "proxy/session.hpp"
#include "proxy/upstream/endpoint.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::proxy {

struct runtime {
    std::shared_ptr<const config::settings> settings;
    metering::price_table_ptr prices;
    std::vector<upstream::endpoint_ptr> endpoints;  ///< in the configuration's order

    upstream::endpoint_ptr find(std::string_view provider) const noexcept;
    bool has(std::string_view provider) const noexcept;
    bool has(config::dialect api) const noexcept;
    /// The first provider of that API that the session may use, else the first of that API, else null.
    upstream::endpoint_ptr for_api(config::dialect api, const session* who) const noexcept;
};

using runtime_ptr = std::shared_ptr<const runtime>;

/// Loads prices and TLS contexts. Throws std::runtime_error with cause and remedy; nothing is half changed
/// then.
runtime_ptr make_runtime(config::settings settings);

/// The endpoint of a session that brought its own key (GhostProxy): its provider's, with that key and, if
/// given, that address. Throws std::runtime_error when the address is no http(s) URL.
upstream::endpoint_ptr endpoint_of_credential(const runtime& rt, const session_credential& credential);

}  // namespace keyhole::proxy
