#include "proxy/route.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace keyhole::proxy {
namespace {

using config::dialect;
using http::method;
using metering::wire;

constexpr bool counted = true;
constexpr bool free_of_charge = false;

// Sources: OpenAI's and Anthropic's API references. A retrieved response repeats the usage of one that was
// billed when it was made.
constexpr std::array table{
    // OpenAI and everything compatible
    route{method::post, "/chat/completions", dialect::openai, "chat", wire::openai_chat, body_kind::json,
          counted, true, object_rule::none, "POST /v1/chat/completions"},
    route{method::post, "/completions", dialect::openai, "completions", wire::openai_completions,
          body_kind::json, counted, true, object_rule::none, "POST /v1/completions"},
    route{method::post, "/responses", dialect::openai, "responses", wire::openai_responses, body_kind::json,
          counted, false, object_rule::makes, "POST /v1/responses"},
    route{method::post, "/responses/input_tokens", dialect::openai, "count_tokens", wire::none,
          body_kind::json, free_of_charge, false, object_rule::none, "POST /v1/responses/input_tokens"},
    route{method::post, "/responses/compact", dialect::openai, "responses", wire::openai_responses,
          body_kind::json, counted, false, object_rule::makes, "POST /v1/responses/compact"},
    route{method::get, "/responses/{id}", dialect::openai, "responses", wire::openai_responses,
          body_kind::none, free_of_charge, false, object_rule::uses, "GET /v1/responses/{id}"},
    route{method::delete_, "/responses/{id}", dialect::openai, "responses", wire::none, body_kind::none,
          free_of_charge, false, object_rule::uses, "DELETE /v1/responses/{id}"},
    route{method::post, "/responses/{id}/cancel", dialect::openai, "responses", wire::none, body_kind::json,
          free_of_charge, false, object_rule::uses, "POST /v1/responses/{id}/cancel"},
    route{method::get, "/responses/{id}/input_items", dialect::openai, "responses", wire::none,
          body_kind::none, free_of_charge, false, object_rule::uses, "GET /v1/responses/{id}/input_items"},
    route{method::post, "/embeddings", dialect::openai, "embeddings", wire::openai_embeddings,
          body_kind::json, counted, false, object_rule::none, "POST /v1/embeddings"},
    route{method::get, "/models", dialect::openai, "models", wire::none, body_kind::none, free_of_charge,
          false, object_rule::none, "GET /v1/models"},
    route{method::get, "/models/{id}", dialect::openai, "models", wire::none, body_kind::none, free_of_charge,
          false, object_rule::none, "GET /v1/models/{id}"},
    route{method::post, "/images/generations", dialect::openai, "images", wire::openai_images,
          body_kind::json, counted, false, object_rule::none, "POST /v1/images/generations"},
    route{method::post, "/images/edits", dialect::openai, "images", wire::openai_images, body_kind::multipart,
          counted, false, object_rule::none, "POST /v1/images/edits"},
    route{method::post, "/images/variations", dialect::openai, "images", wire::openai_images,
          body_kind::multipart, counted, false, object_rule::none, "POST /v1/images/variations"},
    route{method::post, "/audio/speech", dialect::openai, "audio", wire::openai_audio, body_kind::json,
          counted, false, object_rule::none, "POST /v1/audio/speech"},
    route{method::post, "/audio/transcriptions", dialect::openai, "audio", wire::openai_audio,
          body_kind::multipart, counted, false, object_rule::none, "POST /v1/audio/transcriptions"},
    route{method::post, "/audio/translations", dialect::openai, "audio", wire::openai_audio,
          body_kind::multipart, counted, false, object_rule::none, "POST /v1/audio/translations"},
    route{method::post, "/moderations", dialect::openai, "moderations", wire::openai_moderations,
          body_kind::json, counted, false, object_rule::none, "POST /v1/moderations"},
    route{method::post, "/files", dialect::openai, "files", wire::none, body_kind::opaque, free_of_charge,
          false, object_rule::makes, "POST /v1/files"},
    route{method::get, "/files", dialect::openai, "files", wire::none, body_kind::none, free_of_charge, false,
          object_rule::lists, "GET /v1/files"},
    route{method::get, "/files/{id}", dialect::openai, "files", wire::none, body_kind::none, free_of_charge,
          false, object_rule::uses, "GET /v1/files/{id}"},
    route{method::delete_, "/files/{id}", dialect::openai, "files", wire::none, body_kind::none,
          free_of_charge, false, object_rule::uses, "DELETE /v1/files/{id}"},
    route{method::get, "/files/{id}/content", dialect::openai, "files", wire::none, body_kind::none,
          free_of_charge, false, object_rule::uses, "GET /v1/files/{id}/content"},
    route{method::post, "/batches", dialect::openai, "batches", wire::none, body_kind::json, counted, false,
          object_rule::makes, "POST /v1/batches"},
    route{method::get, "/batches", dialect::openai, "batches", wire::none, body_kind::none, free_of_charge,
          false, object_rule::lists, "GET /v1/batches"},
    route{method::get, "/batches/{id}", dialect::openai, "batches", wire::none, body_kind::none,
          free_of_charge, false, object_rule::uses, "GET /v1/batches/{id}"},
    route{method::post, "/batches/{id}/cancel", dialect::openai, "batches", wire::none, body_kind::json,
          free_of_charge, false, object_rule::uses, "POST /v1/batches/{id}/cancel"},
    // Anthropic
    route{method::post, "/messages", dialect::anthropic, "messages", wire::anthropic_messages,
          body_kind::json, counted, false, object_rule::none, "POST /v1/messages"},
    route{method::post, "/messages/count_tokens", dialect::anthropic, "count_tokens", wire::none,
          body_kind::json, free_of_charge, false, object_rule::none, "POST /v1/messages/count_tokens"},
    route{method::get, "/models", dialect::anthropic, "models", wire::none, body_kind::none, free_of_charge,
          false, object_rule::none, "GET /v1/models"},
    route{method::get, "/models/{id}", dialect::anthropic, "models", wire::none, body_kind::none,
          free_of_charge, false, object_rule::none, "GET /v1/models/{id}"},
    route{method::post, "/messages/batches", dialect::anthropic, "batches", wire::none, body_kind::json,
          counted, false, object_rule::makes, "POST /v1/messages/batches"},
    route{method::get, "/messages/batches", dialect::anthropic, "batches", wire::none, body_kind::none,
          free_of_charge, false, object_rule::lists, "GET /v1/messages/batches"},
    route{method::get, "/messages/batches/{id}", dialect::anthropic, "batches", wire::none, body_kind::none,
          free_of_charge, false, object_rule::uses, "GET /v1/messages/batches/{id}"},
    route{method::delete_, "/messages/batches/{id}", dialect::anthropic, "batches", wire::none,
          body_kind::none, free_of_charge, false, object_rule::uses, "DELETE /v1/messages/batches/{id}"},
    route{method::post, "/messages/batches/{id}/cancel", dialect::anthropic, "batches", wire::none,
          body_kind::json, free_of_charge, false, object_rule::uses, "POST /v1/messages/batches/{id}/cancel"},
    route{method::get, "/messages/batches/{id}/results", dialect::anthropic, "batches", wire::none,
          body_kind::none, free_of_charge, false, object_rule::uses, "GET /v1/messages/batches/{id}/results"},
};

/// Whether `path` is an instance of `pattern`, whose "{id}" stands for one non-empty segment.
bool matches(std::string_view pattern, std::string_view path) noexcept
{
    while (true) {
        const auto open = pattern.find('{');
        if (open == std::string_view::npos) return pattern == path;
        if (path.substr(0, open) != pattern.substr(0, open)) return false;
        path.remove_prefix(open);
        pattern.remove_prefix(pattern.find('}') + 1);
        const auto end = std::min(path.find('/'), path.size());
        if (end == 0) return false;
        path.remove_prefix(end);
    }
}

int hex(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

failure bad(std::string message)
{
    return {errc::bad_request, std::move(message), {}, 0};
}

/// Decodes what may be encoded in an id (a colon, an at-sign, a space-less rest) and refuses what could
/// change the path's meaning.
bool decode_segment(std::string_view raw, std::string& out)
{
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
            if (c != ':' && c != '@' && c != ',' && c != '+' && c != '=') return false;
        }
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && std::string_view("-._~:@,+=!$'()*").find(c) == std::string_view::npos) return false;
        out += c;
    }
    return out != "." && out != "..";
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

/// Takes credentials out of the query; the first one found can serve as the request's token.
void clean_query(std::string_view raw, target& into)
{
    while (!raw.empty()) {
        const auto amp = raw.find('&');
        const auto pair = raw.substr(0, amp);
        const auto equals = pair.find('=');
        std::string name;  // decoded, since "%6bey" is "key" for the provider
        for (std::size_t i = 0; i < std::min(equals, pair.size()); ++i) {
            if (pair[i] == '%' && i + 2 < pair.size() && hex(pair[i + 1]) >= 0 && hex(pair[i + 2]) >= 0) {
                name += static_cast<char>(hex(pair[i + 1]) * 16 + hex(pair[i + 2]));
                i += 2;
            } else
                name += pair[i];
        }
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

std::span<const route> route_table() noexcept
{
    return table;
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
    if (first < segments.size() && is_provider(segments[first], context)) into.provider = segments[first++];
    // Clients append /v1 to base URLs that already end in it: /v1/v1/messages.
    while (first < segments.size() && (segments[first] == "v1" || segments[first] == "v1beta")) {
        into.beta_version = into.beta_version || segments[first] == "v1beta";
        ++first;
    }
    for (; first < segments.size(); ++first)
        into.path += '/' + segments[first];
    if (into.path.empty()) into.path = "/";
    return {};
}

match match_route(http::method verb, std::string_view path, config::dialect api) noexcept
{
    match out;
    for (const auto& r : table) {
        if (r.api != api || !matches(r.path, path)) continue;
        out.path_known = true;
        if (r.verb != verb) continue;
        // A literal path comes before a pattern that also fits it (/responses/input_tokens before
        // /responses/{id}).
        if (out.found == nullptr || out.found->path.find('{') != std::string_view::npos) out.found = &r;
    }
    return out;
}

config::dialect dialect_of(std::string_view path, const http::request_head& head) noexcept
{
    bool openai = false;
    bool anthropic = false;
    for (const auto& r : table) {
        if (!matches(r.path, path)) continue;
        openai = openai || r.api == dialect::openai;
        anthropic = anthropic || r.api == dialect::anthropic;
    }
    if (openai != anthropic) return openai ? dialect::openai : dialect::anthropic;
    if (head.get("x-goog-api-key").data() != nullptr) return dialect::gemini;
    if (head.get("anthropic-version").data() != nullptr) return dialect::anthropic;
    return dialect::openai;
}

}  // namespace keyhole::proxy
