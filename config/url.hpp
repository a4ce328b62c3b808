// A provider's base URL taken apart: scheme, host, port and path prefix, nothing else may stand in it.
#pragma once

#include "config/config.hpp"

#include <string>
#include <string_view>

namespace keyhole::config {

/// Fills tls, host, port and base_path. Returns what is wrong with the URL and how to write it, or an empty
/// string. http:// is refused for anything but loopback unless `allow_plain_http`: the real key would travel
/// in clear.
std::string set_base_url(provider& p, std::string_view url, bool allow_plain_http);

/// A provider with the preset's name, API, address and credential style, without keys.
provider provider_of(const provider_preset& preset);

}  // namespace keyhole::config
