// A TOML file of prices beside its text: a float's digits are read as they are written, never through a
// double. Mistakes are std::runtime_error("FILE:LINE: …"). Thread rule: plain values.
#pragma once

#include "config/toml.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::metering::price_files {

class toml_file {
public:
    /// `text` outlives the object.
    toml_file(std::string_view text, std::string name);
    const toml::table& root() const noexcept { return root_; }
    [[noreturn]] void fail_at(const toml::node& node, const std::string& what) const;
    /// The digits of a number or of a string with one in it.
    std::string decimal(const toml::node& node) const;
    std::string text(const toml::node& node) const;
    std::int64_t integer(const toml::node& node) const;
    const toml::table& table(const toml::node& node) const;

private:
    std::string literal(const toml::source_position& at) const;

    std::string_view text_;
    std::string name_;
    toml::table root_;
};

}  // namespace keyhole::metering::price_files
