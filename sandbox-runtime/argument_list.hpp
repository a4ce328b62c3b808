// AGENT_ARGS as words: ["a","two words"] is taken exactly, anything else is split at blanks. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::runtime {

/// Nothing when the text begins as a JSON array and is none of strings (a NUL in one included).
std::optional<std::vector<std::string>> read_argument_list(std::string_view text);

}  // namespace keyhole::runtime
