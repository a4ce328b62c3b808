// Request and response heads (RFC 9112), strictly: what two readers could understand differently is refused.
// The fields are views into the text that was parsed. No I/O. Thread rule: values. Own parser rather than
// Beast's: 1.81 accepts several heads that smuggle requests (docs/decisions/0002), and views cost no
// allocations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace keyhole::proxy::http {

struct field {
    std::string_view name;   ///< as written
    std::string_view value;  ///< without surrounding white space
};

enum class method : std::uint8_t { get, head, post, put, patch, delete_, options, connect, trace, other };

enum class head_error : std::uint8_t {
    none,
    need_more,    ///< not complete yet
    too_large,    ///< longer than the limit, or too many fields: 431
    bad_line,     ///< the first line is malformed
    bad_version,  ///< not HTTP/1.0 or HTTP/1.1 (an HTTP/2 preface, too)
    bad_field,    ///< a field is malformed: obs-fold, bare CR or LF, NUL, space before the colon
    bad_framing,  ///< Content-Length and Transfer-Encoding contradict each other or are not understood
    bad_host,     ///< no Host or several
};

/// What the head says about the body. Two answers to that question are bad_framing.
enum class body_framing : std::uint8_t { none, length, chunked, until_close };

constexpr std::size_t max_fields = 128;

struct request_head {
    method verb = method::other;
    std::string_view verb_text;
    std::string_view target;
    bool http_1_1 = true;
    bool keep_alive = true;  ///< by version and Connection
    bool expects_continue = false;
    bool wants_upgrade = false;
    body_framing framing = body_framing::none;
    std::uint64_t content_length = 0;
    std::vector<field> fields;
    std::vector<std::string_view>
        connection_options;  ///< names listed in Connection: hop-by-hop, never forwarded

    /// The first field of that name (lower case), or an empty view with a null data().
    std::string_view get(std::string_view lower_name) const noexcept;
    void clear() noexcept;
};

struct response_head {
    int status = 0;
    bool http_1_1 = true;
    bool keep_alive = true;
    body_framing framing = body_framing::none;
    std::uint64_t content_length = 0;
    std::string_view reason;
    std::vector<field> fields;
    std::vector<std::string_view> connection_options;

    std::string_view get(std::string_view lower_name) const noexcept;
    void clear() noexcept;
};

struct parsed {
    head_error error = head_error::none;
    std::size_t bytes = 0;  ///< length of the head, blank line included (error == none)
};

/// Parses a head at the beginning of `text`, whose blank line is known to be there (head_length() found it).
head_error parse_request(std::string_view text, request_head& into);
/// `request_was_head`: the answer to a HEAD has no body whatever it says.
head_error parse_response(std::string_view text, bool request_was_head, response_head& into);

/// Length of the head at the beginning of `text` including the blank line, or 0 while it is not complete.
/// `searched` is where the last call stopped (start with 0), so that slow heads cost linear time.
std::size_t head_length(std::string_view text, std::size_t& searched) noexcept;

/// ASCII only, as field names and tokens are.
bool same_letters(std::string_view a, std::string_view b_lower_of_that_size) noexcept;
/// Nearly always it is the length that differs.
inline bool iequals(std::string_view a, std::string_view b_lower) noexcept
{
    return a.size() == b_lower.size() && same_letters(a, b_lower);
}
/// As servers of the CGI kind compare them, which take X_API_KEY for X-API-KEY.
bool iequals_as_variable(std::string_view written, std::string_view lower_name) noexcept;
/// Whether a `connection` field names that field.
bool is_option(const std::vector<std::string_view>& connection_options, std::string_view name) noexcept;
bool is_token(std::string_view s) noexcept;
/// Whether the comma-separated list holds the token (case-insensitively).
bool list_has(std::string_view list, std::string_view lower_token) noexcept;

}  // namespace keyhole::proxy::http
