// ONE_TABLE: which provider API, operation and wire a method and path mean. What is not in the table is 404:
// there is no pass-through. The path is matched in one canonical form, and that form is what is sent on. No
// I/O. Thread rule: immutable.
#pragma once

#include "config/config.hpp"
#include "config/providers.hpp"
#include "metering/usage.hpp"
#include "proxy/error.hpp"
#include "proxy/http/head.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace keyhole::proxy {

/// Where the body's facts (model, stream …) are found.
enum class body_kind : std::uint8_t {
    none,       ///< no body is expected; one that comes is passed on
    json,       ///< read whole (bounded), scanned, then sent
    multipart,  ///< read whole (bounded), the form field "model" is looked for, then sent
    opaque,     ///< sent on as it comes (file uploads)
};

/// What a route does to objects that the provider keeps under the one real key (stored responses, files,
/// batches). NO_WAY_AROUND: a session sees and touches its own only (objects.hpp).
enum class object_rule : std::uint8_t {
    none,
    makes,  ///< the answer's "id" names an object that belongs to the session
    uses,   ///< the path's id must be one of the session's own
    lists,  ///< objects of other sessions are taken out of the answer
};

struct route {
    http::method verb;
    std::string_view path;  ///< after the version segment: "/chat/completions", "/responses/{id}"
    config::dialect api;
    std::string_view operation;  ///< what sessions allow and metrics show
    metering::wire wire;
    body_kind body;
    bool counts;         ///< is a model request: counted and limited (false: models, files, count_tokens …)
    bool inserts_usage;  ///< stream_options.include_usage is an option of this API
    object_rule objects;
    std::string_view name;  ///< "POST /v1/chat/completions": the ledger's and the metrics' label
};

std::span<const route> route_table() noexcept;

/// A request target taken apart. Refused (bad_request) where two readers could see different paths: encoded
/// slashes, dots or control bytes, backslashes, dot segments.
struct target {
    std::string path;         ///< canonical: single slashes, no provider prefix, no leading version
    std::string provider;     ///< the prefix, if it names a known provider
    std::string query;        ///< as sent, credentials taken out, without '?'
    std::string query_token;  ///< credential found in the query (?key=), to be used as one
    std::string version;      ///< the last version segment: v1, v2, v1beta …; empty: none
};

/// `is_provider` tells whether a first path segment names a provider.
failure parse_target(std::string_view raw, bool (*is_provider)(std::string_view, const void*),
                     const void* context, target& into);

/// v1, v2, v1beta …
bool is_version(std::string_view segment) noexcept;

/// TOKEN_STAYS_HOME: takes the query's parameters that hold `token` out, however they are encoded. False: the
/// path holds it, and can't do without.
bool remove_token(target& from, std::string_view token);

/// What a path's placeholders stand for; views into the target.
struct path_names {
    std::string_view model = {};  ///< a deployment, too; empty: the body names it
    std::string_view id = {};     ///< of a stored object
};

struct match {
    const route* found = nullptr;
    bool path_known = false;  ///< the path exists with another method (405 instead of 404)
    path_names names = {};
};

/// Looks the path up among the routes of `api`, OpenAI's included where its providers speak that as well.
match match_route(http::method verb, const target& where, config::dialect api) noexcept;

/// Whose API an unprefixed path belongs to, among those that `is_served` (or, if none of them has it, all):
/// whose headers say so (x-goog-api-key -> Gemini, anthropic-version -> Anthropic), else the first of OpenAI,
/// Anthropic, Gemini, Azure, Cohere, Ollama, Bedrock.
config::dialect dialect_of(const target& where, const http::request_head& head,
                           bool (*is_served)(config::dialect, const void*), const void* context) noexcept;

/// The path of `where` at that provider: below its base URL, in the version that the agent named where the
/// provider has several.
std::string path_at(const config::provider& to, const target& where);

/// Whether the path itself says that the answer streams (Gemini, Bedrock).
bool streams_by_path(const route& way) noexcept;

}  // namespace keyhole::proxy
