// [providers]: presets whose key is in the environment, and what the configuration says about them and about
// others. Thread rule: used by load() alone.
#pragma once

#include "config/schema.hpp"

#include <string_view>
#include <vector>

namespace keyhole::config {

/// `table`: the [providers] section, or nullptr. Presets come first, in their order.
std::vector<provider> read_providers(const node* table, reading& with);

/// May name a provider: it stands in paths, in the environment and in the ledger.
bool is_provider_name(std::string_view name) noexcept;

}  // namespace keyhole::config
