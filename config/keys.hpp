// Every scalar key of the configuration, one row each: its name, type, bounds, where its value goes, and the
// line that explains it. The loader, the environment's names and the printed example are all made from this
// table, so they cannot drift apart.
#pragma once

#include "config/config.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace keyhole::config {

/// A value as it was written, whatever the source.
using raw_value = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

/// Takes the value over, or says what is wrong with it and what to do ("WHAT", "REMEDY").
struct verdict {
    std::string what;
    std::string remedy;
    explicit operator bool() const noexcept { return !what.empty(); }
};

struct key_row {
    std::string_view name;   ///< dotted: "log.level"
    std::string_view shown;  ///< the default, as TOML
    std::string_view about;
    std::function<verdict(settings&, const raw_value&)> take;
};

/// All rows, in the order of the printed example.
const std::vector<key_row>& key_table();
const key_row* find_key(std::string_view name);

/// Keys inside [providers.NAME] and [[prices]], for messages and the example.
const std::vector<std::string_view>& provider_keys();
const std::vector<std::string_view>& price_keys();

/// A number where one is expected (integers count), within bounds.
verdict take_number(const raw_value& v, double least, double most, double& into);
verdict take_text(const raw_value& v, std::string& into);

/// The nearest of `known` to a misspelt `name`, or empty when nothing is near.
std::string nearest(std::string_view name, const std::vector<std::string_view>& known);

}  // namespace keyhole::config
