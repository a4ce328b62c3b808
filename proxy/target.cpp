// A request target taken apart: one canonical path, the provider and version that were named, no credentials.
#include "proxy/route.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace keyhole::proxy {
namespace {

constexpr std::size_t usual_segments = 8;

int hex(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool is_word(char c) noexcept
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

failure bad(std::string message)
{
    return {errc::bad_request, std::move(message), {}, 0};
}

/// Decodes what may be encoded in an id (a colon, an at-sign, a space-less rest) and refuses what could
/// change the path's meaning.
bool decode_segment(std::string_view raw, std::string& out)
{
    // As nearly every segment stands: an ordinary word.
    if (std::ranges::all_of(raw, is_word)) {
        out = raw;
        return true;
    }
    out.clear();
    for (std::size_t i = 0; i < raw.size(); ++i) {
        char c = raw[i];
        if (c == '%') {
            if (i + 2 >= raw.size()) return false;
            const int high = hex(raw[i + 1]);
            const int low = hex(raw[i + 2]);
            if (high < 0 || low < 0) return false;
            c = static_cast<char>(high * 16 + low);
            i += 2;
            if (c == '/' && out.starts_with("arn:")) {
                out +=
                    "%2F";  // Bedrock's ARNs hold slashes; they stay encoded, so that no reader splits there
                continue;
            }
            if (c != ':' && c != '@' && c != ',' && c != '+' && c != '=') return false;
        }
        if (!is_word(c) && std::string_view("-._~:@,+=!$'()*").find(c) == std::string_view::npos)
            return false;
        out += c;
    }
    return out.find("..") == std::string::npos ? out != "." : !out.starts_with("arn:") && out != "..";
}

bool is_credential_parameter(std::string_view name) noexcept
{
    constexpr std::array names{std::string_view("key"),          std::string_view("api_key"),
                               std::string_view("apikey"),       std::string_view("api-key"),
                               std::string_view("access_token"), std::string_view("token"),
                               std::string_view("x-api-key"),    std::string_view("authorization")};
    return std::any_of(names.begin(), names.end(),
                       [&](std::string_view n) { return http::iequals(name, n); });
}

/// As the provider will read it. What is wrongly encoded stays as it stands.
std::string decoded(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else
            out += text[i];
    }
    return out;
}

/// Takes credentials out of the query; the first one found can serve as the request's token.
void clean_query(std::string_view raw, target& into)
{
    while (!raw.empty()) {
        const auto amp = raw.find('&');
        const auto pair = raw.substr(0, amp);
        const auto equals = pair.find('=');
        const std::string name = decoded(pair.substr(0, equals));  // "%6bey" is "key" for the provider
        if (is_credential_parameter(name)) {
            if (into.query_token.empty() && equals != std::string_view::npos)
                into.query_token = pair.substr(equals + 1);
        } else if (!pair.empty()) {
            if (!into.query.empty()) into.query += '&';
            into.query += pair;
        }
        if (amp == std::string_view::npos) break;
        raw.remove_prefix(amp + 1);
    }
}

}  // namespace

bool is_version(std::string_view segment) noexcept
{
    constexpr std::array versions{std::string_view("v1"), std::string_view("v2"), std::string_view("v1beta"),
                                  std::string_view("v1beta1"), std::string_view("v1alpha")};
    return std::find(versions.begin(), versions.end(), segment) != versions.end();
}

failure parse_target(std::string_view raw, bool (*is_provider)(std::string_view, const void*),
                     const void* context, target& into)
{
    into = {};
    if (raw.starts_with("http://") || raw.starts_with("https://")) {
        // Absolute form (a client behind HTTP_PROXY). The authority is ignored: the destination is the
        // operator's, never the agent's.
        const auto slash = raw.find('/', raw.find("//") + 2);
        raw = slash == std::string_view::npos ? std::string_view("/") : raw.substr(slash);
    }
    if (raw.empty() || raw.front() != '/')
        return bad("The request target must be a path, e.g. /v1/chat/completions.");
    if (raw.find('#') != std::string_view::npos || raw.find('\\') != std::string_view::npos)
        return bad("The request target holds a character that no path may have ('#' or a backslash).");
    const auto question = raw.find('?');
    if (question != std::string_view::npos) clean_query(raw.substr(question + 1), into);
    auto path = raw.substr(0, question);

    std::vector<std::string> segments;
    segments.reserve(usual_segments);
    std::string segment;
    while (!path.empty()) {
        path.remove_prefix(1);
        const auto end = std::min(path.find('/'), path.size());
        if (end != 0) {
            if (!decode_segment(path.substr(0, end), segment))
                return bad("The path holds an encoded or forbidden character; send it in plain form.");
            segments.push_back(segment);
        }
        path.remove_prefix(end);
    }
    std::size_t first = 0;
    const auto at = [&](std::size_t i) { return i < segments.size() ? std::string_view(segments[i]) : ""; };
    // Azure's own paths begin with "openai", too.
    const bool azure = at(0) == "openai" && at(1) == "deployments";
    if (azure && is_provider("azure", context))
        into.provider = "azure";
    else if (!azure && first < segments.size() && is_provider(segments[first], context))
        into.provider = segments[first++];
    if (at(first) == "openai" && (is_version(at(first + 1)) || at(first + 1) == "deployments")) ++first;
    // Clients append /v1 to base URLs that already end in it: /v1/v1/messages.
    while (first < segments.size() && is_version(segments[first]))
        into.version = segments[first++];
    for (; first < segments.size(); ++first)
        into.path += '/' + segments[first];
    if (into.path.empty()) into.path = "/";
    return {};
}

bool remove_token(target& from, std::string_view token)
{
    if (token.empty()) return true;
    std::string kept;
    std::string_view rest = from.query;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('&'), rest.size());
        const auto pair = rest.substr(0, end);
        if (decoded(pair).find(token) == std::string::npos) {
            if (!kept.empty()) kept += '&';
            kept += pair;
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    from.query = std::move(kept);
    return from.path.find(token) == std::string::npos;
}

}  // namespace keyhole::proxy
