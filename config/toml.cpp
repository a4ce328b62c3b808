#include "config/toml.hpp"

#include <algorithm>

namespace keyhole::config {
namespace {

/// The first non-ASCII byte outside of comments and strings, where TOML allows none (toml++ takes some for
/// white space); npos: there is none.
std::size_t stray_character(std::string_view toml) noexcept
{
    enum class in : std::uint8_t { code, comment, basic, literal, long_basic, long_literal };
    in state = in::code;
    std::size_t at = toml.starts_with("\xEF\xBB\xBF") ? 3 : 0;
    for (; at < toml.size(); ++at) {
        const char c = toml[at];
        if (state == in::code && (static_cast<unsigned char>(c) & 0x80) != 0) return at;
        const bool three = at + 2 < toml.size() && toml[at + 1] == c && toml[at + 2] == c;
        switch (state) {
        case in::code:
            if (c == '#') state = in::comment;
            if (c == '"') state = three ? in::long_basic : in::basic;
            if (c == '\'') state = three ? in::long_literal : in::literal;
            if ((c == '"' || c == '\'') && three) at += 2;
            break;
        case in::comment:
            if (c == '\n') state = in::code;
            break;
        case in::basic:
        case in::literal:
            if (c == '\n' || c == (state == in::basic ? '"' : '\'')) {
                state = in::code;
            } else if (c == '\\' && state == in::basic) {
                ++at;
            }
            break;
        case in::long_basic:
        case in::long_literal:
            if (c == '\\' && state == in::long_basic) {
                ++at;
            } else if (three && c == (state == in::long_basic ? '"' : '\'')) {
                state = in::code;
                at += 2;
            }
            break;
        }
    }
    return std::string_view::npos;
}

}  // namespace

toml::table parse_toml(std::string_view text, const std::string& name)
{
    if (const auto at = stray_character(text); at != std::string_view::npos) {
        const auto before = text.substr(0, at);
        const auto line = 1 + std::count(before.begin(), before.end(), '\n');
        throw toml_mistake{static_cast<std::size_t>(line), at - (before.rfind('\n') + 1) + 1,
                           "a character that is not ASCII stands outside of quotation marks and comments",
                           toml_mistake::kind::stray};
    }
    try {
        return toml::parse(text, name);
    } catch (const toml::parse_error& e) {
        const std::string what(e.description());
        const auto kind = what.find("redefin") != std::string::npos ? toml_mistake::kind::twice
                                                                    : toml_mistake::kind::syntax;
        throw toml_mistake{e.source().begin.line, e.source().begin.column, what, kind};
    }
}

}  // namespace keyhole::config
