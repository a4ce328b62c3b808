// Secrets by reference: "env:NAME" or "file:/path". A secret never stands in the configuration itself, and
// its bytes never in a message.
#pragma once

#include "config/secret.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace keyhole::config {

struct resolved_secret {
    secret_ptr value;  ///< null: see what/remedy
    std::string what;
    std::string remedy;
    std::string note;  ///< a remark for the operator (a file that others can read)
};

resolved_secret resolve_secret(std::string_view reference,
                               const std::function<const char*(const char*)>& getenv);

}  // namespace keyhole::config
