// toml++ with its traps closed: the one way in which a TOML file is parsed here. Version 3.3 asserts (and
// under NDEBUG assumes) what a file can break ("[="), and runs into undefined behaviour on non-ASCII
// characters outside of strings and comments.
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuseless-cast"
#endif
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_ASSERT(expr) static_assert(true)
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")
#pragma GCC diagnostic pop

#include <cstddef>
#include <string>
#include <string_view>

namespace keyhole::config {

/// A mistake in a TOML text: its line and what is wrong.
struct toml_mistake {
    std::size_t line = 0;
    std::string what;
    bool twice = false;  ///< a key or section stands twice
};

/// Throws toml_mistake.
toml::table parse_toml(std::string_view text, const std::string& name);

}  // namespace keyhole::config
