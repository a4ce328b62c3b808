#include "proxy/http/head.hpp"

#include "metering/byte_scan.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace keyhole::proxy::http {
namespace {

// tchar of RFC 9110 section 5.6.2.
constexpr std::array<bool, 256> make_token_table()
{
    std::array<bool, 256> t{};
    for (char c = '0'; c <= '9'; ++c)
        t[static_cast<unsigned char>(c)] = true;
    for (char c = 'a'; c <= 'z'; ++c)
        t[static_cast<unsigned char>(c)] = true;
    for (char c = 'A'; c <= 'Z'; ++c)
        t[static_cast<unsigned char>(c)] = true;
    for (const char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'})
        t[static_cast<unsigned char>(c)] = true;
    return t;
}
constexpr auto token_table = make_token_table();

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

std::string_view trim(std::string_view s) noexcept
{
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t'))
        s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t'))
        s.remove_suffix(1);
    return s;
}

/// Visible ASCII, tab, space and obs-text; no other control characters (RFC 9110 section 5.5).
bool is_field_value(std::string_view s) noexcept
{
    const char* at = s.data();
    const char* const end = at + s.size();
    while ((at = metering::find_control(at, end)) != end)
        if (*at++ != '\t') return false;
    return true;
}

std::optional<std::uint64_t> parse_length(std::string_view s) noexcept
{
    if (s.empty() || s.size() > 18) return std::nullopt;
    std::uint64_t n = 0;
    for (const char c : s) {
        if (c < '0' || c > '9') return std::nullopt;
        n = n * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return n;
}

method method_of(std::string_view verb) noexcept
{
    if (verb == "POST") return method::post;
    if (verb == "GET") return method::get;
    if (verb == "HEAD") return method::head;
    if (verb == "DELETE") return method::delete_;
    if (verb == "PUT") return method::put;
    if (verb == "PATCH") return method::patch;
    if (verb == "OPTIONS") return method::options;
    if (verb == "CONNECT") return method::connect;
    if (verb == "TRACE") return method::trace;
    return method::other;
}

/// Cuts the next line off `text`; the caller knows that a blank line ends the head. False: a bare CR or LF,
/// or a NUL.
bool next_line(std::string_view& text, std::string_view& line) noexcept
{
    const auto* end = static_cast<const char*>(std::memchr(text.data(), '\r', text.size()));
    if (end == nullptr) return false;
    const auto n = static_cast<std::size_t>(end - text.data());
    if (n + 1 >= text.size() || text[n + 1] != '\n') return false;
    line = text.substr(0, n);
    text.remove_prefix(n + 2);
    return line.find('\n') == std::string_view::npos;
}

constexpr std::size_t usual_fields = 16;

struct framing_fields {
    unsigned lengths = 0;
    unsigned codings = 0;
    unsigned hosts = 0;
    std::string_view length;
    std::string_view coding;
};

/// Reads the fields up to the blank line and collects what decides the framing.
template <class Head>
head_error parse_fields(std::string_view text, Head& into, framing_fields& framing)
{
    bool close = false;
    bool keep = false;
    into.fields.reserve(usual_fields);
    for (;;) {
        std::string_view line;
        if (!next_line(text, line)) return head_error::bad_field;
        if (line.empty()) break;
        if (into.fields.size() == max_fields) return head_error::too_large;
        const auto colon = line.find(':');
        if (colon == std::string_view::npos) return head_error::bad_field;
        const auto name = line.substr(0, colon);
        if (!is_token(name))
            return head_error::bad_field;  // also a line that begins with white space (obs-fold)
        const auto value = trim(line.substr(colon + 1));
        if (!is_field_value(value)) return head_error::bad_field;
        into.fields.push_back({name, value});
        if (iequals(name, "content-length")) {
            ++framing.lengths;
            if (framing.lengths > 1 && framing.length != value) framing.lengths = 99;
            framing.length = value;
        } else if (iequals(name, "transfer-encoding")) {
            ++framing.codings;
            framing.coding = value;
        } else if (iequals(name, "host"))
            ++framing.hosts;
        else if (iequals(name, "connection")) {
            close = close || list_has(value, "close");
            keep = keep || list_has(value, "keep-alive");
            auto rest = value;
            while (!rest.empty()) {
                const auto comma = rest.find(',');
                const auto option = trim(rest.substr(0, comma));
                if (!option.empty()) into.connection_options.push_back(option);
                if (comma == std::string_view::npos) break;
                rest.remove_prefix(comma + 1);
            }
        }
    }
    into.keep_alive = !close && (into.http_1_1 || keep);
    return head_error::none;
}

bool parse_version(std::string_view s, bool& http_1_1) noexcept
{
    http_1_1 = s == "HTTP/1.1";
    return http_1_1 || s == "HTTP/1.0";
}

std::string_view find(const std::vector<field>& fields, std::string_view lower_name) noexcept
{
    for (const auto& f : fields)
        if (iequals(f.name, lower_name)) return f.value.data() != nullptr ? f.value : std::string_view("");
    return {};
}

}  // namespace

bool same_letters(std::string_view a, std::string_view b_lower) noexcept
{
    for (std::size_t i = 0; i < a.size(); ++i)
        if (lower(a[i]) != b_lower[i]) return false;
    return true;
}

bool iequals_as_variable(std::string_view written, std::string_view lower_name) noexcept
{
    return std::ranges::equal(written, lower_name,
                              [](char w, char l) { return (w == '_' ? '-' : lower(w)) == l; });
}

bool is_option(const std::vector<std::string_view>& connection_options, std::string_view name) noexcept
{
    return std::ranges::any_of(connection_options, [name](std::string_view option) {
        return std::ranges::equal(option, name, {}, lower, lower);
    });
}

bool is_token(std::string_view s) noexcept
{
    if (s.empty()) return false;
    for (const char c : s)
        if (!token_table[static_cast<unsigned char>(c)]) return false;
    return true;
}

bool list_has(std::string_view list, std::string_view lower_token) noexcept
{
    while (!list.empty()) {
        const auto comma = list.find(',');
        if (iequals(trim(list.substr(0, comma)), lower_token)) return true;
        if (comma == std::string_view::npos) return false;
        list.remove_prefix(comma + 1);
    }
    return false;
}

std::string_view request_head::get(std::string_view lower_name) const noexcept
{
    return find(fields, lower_name);
}
std::string_view response_head::get(std::string_view lower_name) const noexcept
{
    return find(fields, lower_name);
}

void request_head::clear() noexcept
{
    verb = method::other;
    verb_text = target = {};
    http_1_1 = keep_alive = true;
    expects_continue = wants_upgrade = false;
    framing = body_framing::none;
    content_length = 0;
    fields.clear();
    connection_options.clear();
}

void response_head::clear() noexcept
{
    status = 0;
    http_1_1 = keep_alive = true;
    framing = body_framing::none;
    content_length = 0;
    reason = {};
    fields.clear();
    connection_options.clear();
}

std::size_t head_length(std::string_view text, std::size_t& searched) noexcept
{
    const std::size_t from = searched > 3 ? searched - 3 : 0;
    if (text.size() < from + 4) return 0;
    // From line end to line end: a head has few of them, and the body behind it is not looked at.
    const char* at = text.data() + from;
    const char* const last = text.data() + text.size() - 3;  // where a blank line could begin, and no further
    while (at < last) {
        at = static_cast<const char*>(std::memchr(at, '\r', static_cast<std::size_t>(last - at)));
        if (at == nullptr) break;
        if (std::memcmp(at, "\r\n\r\n", 4) == 0) return static_cast<std::size_t>(at - text.data()) + 4;
        ++at;
    }
    searched = text.size();
    return 0;
}

head_error parse_request(std::string_view text, request_head& into)
{
    into.clear();
    std::string_view line;
    if (!next_line(text, line)) return head_error::bad_line;
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return head_error::bad_line;
    into.verb_text = line.substr(0, first);
    into.target = line.substr(first + 1, last - first - 1);
    if (!is_token(into.verb_text) || into.target.empty()) return head_error::bad_line;
    for (const char c : into.target)
        if (c <= 0x20 || c >= 0x7f) return head_error::bad_line;
    if (!parse_version(line.substr(last + 1), into.http_1_1)) return head_error::bad_version;
    into.verb = method_of(into.verb_text);

    framing_fields framing;
    if (const auto e = parse_fields(text, into, framing); e != head_error::none) return e;
    if (framing.hosts > 1 || (framing.hosts == 0 && into.http_1_1)) return head_error::bad_host;
    if (framing.lengths > 1 || framing.codings > 1) return head_error::bad_framing;
    if (framing.lengths != 0 && framing.codings != 0) return head_error::bad_framing;
    if (framing.codings != 0) {
        if (!into.http_1_1 || !iequals(framing.coding, "chunked")) return head_error::bad_framing;
        into.framing = body_framing::chunked;
    }
    if (framing.lengths != 0) {
        const auto length = parse_length(framing.length);
        if (!length) return head_error::bad_framing;
        into.content_length = *length;
        into.framing = *length == 0 ? body_framing::none : body_framing::length;
    }
    into.expects_continue = into.http_1_1 && iequals(into.get("expect"), "100-continue");
    into.wants_upgrade = into.get("upgrade").data() != nullptr;
    return head_error::none;
}

head_error parse_response(std::string_view text, bool request_was_head, response_head& into)
{
    into.clear();
    std::string_view line;
    if (!next_line(text, line)) return head_error::bad_line;
    if (line.size() < 12 || line[8] != ' ') return head_error::bad_line;
    if (!parse_version(line.substr(0, 8), into.http_1_1)) return head_error::bad_version;
    for (std::size_t i = 9; i < 12; ++i) {
        if (line[i] < '0' || line[i] > '9') return head_error::bad_line;
        into.status = into.status * 10 + (line[i] - '0');
    }
    if (line.size() > 12 && line[12] != ' ') return head_error::bad_line;
    if (into.status < 100) return head_error::bad_line;
    into.reason = line.size() > 13 ? line.substr(13) : std::string_view{};
    if (!is_field_value(into.reason)) return head_error::bad_line;

    framing_fields framing;
    if (const auto e = parse_fields(text, into, framing); e != head_error::none) return e;
    if (framing.codings != 0 && framing.lengths != 0) return head_error::bad_framing;
    if (framing.codings > 1 || framing.lengths == 99) return head_error::bad_framing;
    if (framing.codings != 0 && !iequals(framing.coding, "chunked")) return head_error::bad_framing;
    if (request_was_head || into.status < 200 || into.status == 204 || into.status == 304)
        return head_error::none;
    if (framing.codings != 0) {
        into.framing = body_framing::chunked;
    } else if (framing.lengths != 0) {
        const auto length = parse_length(framing.length);
        if (!length) return head_error::bad_framing;
        into.content_length = *length;
        into.framing = *length == 0 ? body_framing::none : body_framing::length;
    } else {
        into.framing = body_framing::until_close;
        into.keep_alive = false;
    }
    return head_error::none;
}

}  // namespace keyhole::proxy::http
