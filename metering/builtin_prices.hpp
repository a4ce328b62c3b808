// metering/prices.toml as text, put into the program by the build.
// Thread rule: constant.
#pragma once

#include <string_view>

namespace keyhole::metering {

std::string_view builtin_prices() noexcept;

}  // namespace keyhole::metering
