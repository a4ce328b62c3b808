#include "config/toml.hpp"

#include <algorithm>

namespace keyhole::config {
namespace {

/// A string begins where a key or a value does. Behind anything else ("s = 9\"…") a quote is a mistake, and
/// the parser goes on in its own way: what stands there can't be taken for a string's content.
bool may_begin_string(char before) noexcept
{
    return std::string_view("\n=[,{.").find(before) != std::string_view::npos;
}

/// The first non-ASCII byte outside of strings and comments (TOML allows none there), or npos.
std::size_t stray_character(std::string_view text) noexcept
{
    char quote = 0;      // the kind of string that is open
    char before = '\n';  // the last character that is no blank
    bool triple = false;
    bool comment = false;
    for (std::size_t i = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; i < text.size(); ++i) {
        const char c = text[i];
        if (comment) {
            comment = c != '\n';
            continue;
        }
        const bool three = i + 2 < text.size() && text[i + 1] == c && text[i + 2] == c;
        if (quote == 0) {
            if (static_cast<unsigned char>(c) >= 0x80) return i;
            if (c == '#')
                comment = true;
            else if ((c == '"' || c == '\'') && may_begin_string(before)) {
                quote = c;
                triple = three;
                if (three) i += 2;
            }
            if (c != ' ' && c != '\t' && c != '\r') before = c;
            continue;
        }
        if (quote == '"' && c == '\\') {
            if (i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80) return i + 1;
            ++i;
        } else if (triple ? c == quote && three : c == quote || c == '\n') {
            if (triple) i += 2;
            // Up to two quotes may stand at the end of a long string, before the three that close it.
            for (int more = 0; triple && more < 2 && i + 1 < text.size() && text[i + 1] == quote; ++more)
                ++i;
            before = c;
            quote = 0;
        }
    }
    return std::string_view::npos;
}

}  // namespace

toml::table parse_toml(std::string_view text, const std::string& name)
{
    if (const auto at = stray_character(text); at != std::string_view::npos) {
        const auto line = static_cast<std::size_t>(std::count(
                              text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n')) +
                          1;
        throw toml_mistake{line, "a character that is not ASCII outside of a string or comment", false};
    }
    try {
        return toml::parse(text, name);
    } catch (const toml::parse_error& e) {
        const std::string what(e.description());
        const bool twice =
            what.find("redefin") != std::string::npos || what.find("duplicate") != std::string::npos;
        throw toml_mistake{e.source().begin.line, what, twice};
    }
}

}  // namespace keyhole::config
