// ONE_TABLE: which provider API, operation and wire a method and path mean. What is not in the table is 404:
// there is no pass-through. The path is matched in one canonical form, and that form is what is sent on. No
// I/O. Thread rule: immutable.
#pragma once

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
    std::string path;           ///< canonical: single slashes, no provider prefix, no version segments
    std::string provider;       ///< the prefix, if it names a known provider
    std::string query;          ///< as sent, credentials taken out, without '?'
    std::string query_token;    ///< credential found in the query (?key=), to be used as one
    bool beta_version = false;  ///< the version segment was v1beta (Gemini)
};

/// `is_provider` tells whether a first path segment names a provider.
failure parse_target(std::string_view raw, bool (*is_provider)(std::string_view, const void*),
                     const void* context, target& into);

struct match {
    const route* found = nullptr;
    bool path_known = false;  ///< the path exists with another method (405 instead of 404)
};

/// Looks the path up among the routes of `api`.
match match_route(http::method verb, std::string_view path, config::dialect api) noexcept;

/// Whose API an unprefixed path belongs to: the only one that has it, or, where several do (models), whose
/// headers say so (x-goog-api-key -> Gemini, anthropic-version -> Anthropic, else OpenAI).
config::dialect dialect_of(std::string_view path, const http::request_head& head) noexcept;

}  // namespace keyhole::proxy
