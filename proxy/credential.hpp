// How a provider's key stands in a request's head: the one place where a key is written towards a provider.
// The text that it is put into is wiped by its owner. Thread rule: pure.
#pragma once

#include "config/config.hpp"

#include <string>
#include <string_view>

namespace keyhole::proxy {

/// "name: value" and its line end.
void append_field(std::string& head, std::string_view name, std::string_view value);

/// The field that carries `key` to a provider of that style; nothing for `none`.
void append_credential(std::string& head, config::credential_style style, const config::secret& key);

}  // namespace keyhole::proxy
