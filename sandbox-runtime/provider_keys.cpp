#include "sandbox-runtime/provider_keys.hpp"

#include <algorithm>
#include <cstddef>

namespace keyhole::runtime {
namespace {

struct form {
    std::string_view prefix;
    std::size_t least;  ///< characters after the prefix
};

constexpr form forms[] = {{"sk-", 20}, {"AIza", 35}, {"gsk_", 40}, {"xai-", 40}, {"ABSK", 80}};

constexpr bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
constexpr bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}
constexpr bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}
constexpr bool is_key_character(char c)
{
    return is_digit(c) || is_lower(c) || is_upper(c) || c == '-' || c == '_' || c == '+' || c == '/' ||
           c == '=';
}

// Words joined with hyphens are no key, nor is one character repeated.
bool looks_random(std::string_view text) noexcept
{
    std::size_t changes = 0;
    bool digit_or_upper = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        digit_or_upper = digit_or_upper || is_digit(text[i]) || is_upper(text[i]);
        if (i != 0 && text[i] != text[i - 1]) ++changes;
    }
    return digit_or_upper && changes >= 8;
}

}  // namespace

bool looks_like_provider_key(std::string_view value) noexcept
{
    for (std::size_t at = 0; at < value.size(); ++at) {
        if (at != 0 && is_key_character(value[at - 1]) && value[at - 1] != '=' && value[at - 1] != '/')
            continue;
        const std::string_view rest = value.substr(at);
        for (const form& f : forms) {
            if (rest.substr(0, f.prefix.size()) != f.prefix) continue;
            std::size_t length = f.prefix.size();
            while (length < rest.size() && is_key_character(rest[length]))
                ++length;
            const std::string_view secret = rest.substr(f.prefix.size(), length - f.prefix.size());
            if (secret.size() >= f.least && looks_random(secret)) return true;
        }
    }
    return false;
}

bool holds_session_token(std::string_view value) noexcept
{
    constexpr std::string_view prefix = "kh_";
    constexpr std::size_t least = 32;
    for (std::size_t at = value.find(prefix); at != std::string_view::npos; at = value.find(prefix, at + 1)) {
        std::size_t end = at + prefix.size();
        while (end < value.size() && is_key_character(value[end]))
            ++end;
        if (end - at - prefix.size() >= least &&
            (at == 0 || !is_key_character(value[at - 1]) || value[at - 1] == '='))
            return true;
    }
    return false;
}

std::string find_secret_argument(const std::vector<std::string>& words,
                                 const std::vector<std::string>& allowed, std::string_view token)
{
    const auto is_allowed = [&allowed](std::string_view what) {
        return std::find(allowed.begin(), allowed.end(), what) != allowed.end();
    };
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const std::string where =
            i == 0 ? std::string("the command's name") : "argument " + std::to_string(i) + " of the command";
        const bool holds_this = !token.empty() && word.find(token) != std::string::npos;
        if ((holds_this || holds_session_token(word)) && !is_allowed("session_token"))
            return where +
                   " holds a session token, which the agent needs not: the bridge presents it. Leave it "
                   "out of the command and AGENT_ARGS";
        if (looks_like_provider_key(word) && !is_allowed("arguments"))
            return where +
                   " holds what looks like a provider's real key; a sandbox must not have one. Give it "
                   "to the proxy instead, or put arguments into KEYHOLE_ALLOW_SECRETS if the agent is "
                   "meant to hold it";
    }
    return {};
}

}  // namespace keyhole::runtime
