#include "metering/price_toml.hpp"

#include "metering/price_parts.hpp"

#include <utility>

namespace keyhole::metering::price_files {

toml_file::toml_file(std::string_view text, std::string name) : text_(text), name_(std::move(name))
{
    try {
        root_ = config::parse_toml(text_, name_);
    } catch (const config::toml_mistake& e) {
        fail(name_, e.line, e.what);
    }
}

void toml_file::fail_at(const toml::node& node, const std::string& what) const
{
    fail(name_, node.source().begin.line, what);
}

std::string toml_file::decimal(const toml::node& node) const
{
    if (const auto text = node.value_exact<std::string>()) return *text;
    if (const auto whole = node.value_exact<std::int64_t>()) return std::to_string(*whole);
    if (node.is_floating_point()) return literal(node.source().begin);
    fail_at(node, "expected a number");
}

std::string toml_file::text(const toml::node& node) const
{
    auto value = node.value_exact<std::string>();
    if (!value) fail_at(node, "expected a text");
    return std::move(*value);
}

std::int64_t toml_file::integer(const toml::node& node) const
{
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < 0) fail_at(node, "expected a whole number that is not negative");
    return *value;
}

const toml::table& toml_file::table(const toml::node& node) const
{
    if (!node.is_table()) fail_at(node, "expected a table");
    return *node.as_table();
}

/// What stands in the text at a position (lines and columns count from 1, columns in code points).
std::string toml_file::literal(const toml::source_position& at) const
{
    std::size_t offset = 0;
    for (toml::source_index line = 1; line < at.line; ++line) {
        offset = text_.find('\n', offset) + 1;
    }
    for (toml::source_index column = 1; column < at.column && offset < text_.size(); ++column) {
        ++offset;
        while (offset < text_.size() && (static_cast<unsigned char>(text_[offset]) & 0xC0U) == 0x80) {
            ++offset;
        }
    }
    const std::size_t end = text_.find_first_not_of("0123456789.+-_eE", offset);
    std::string digits(text_.substr(offset, end - offset));
    if (!digits.empty() && digits.front() == '+') digits.erase(0, 1);
    return digits;
}

}  // namespace keyhole::metering::price_files
