#include "proxy/http/multipart.hpp"

#include "proxy/http/head.hpp"

#include <optional>
#include <utility>
#include <vector>

namespace keyhole::proxy::http {
namespace {

constexpr std::string_view form_type = "multipart/form-data";
constexpr std::size_t longest_value = 256;
constexpr std::size_t longest_boundary = 70;
constexpr std::size_t most_parameters = 16;

using parameters = std::vector<std::pair<std::string_view, std::string_view>>;

void skip_blanks(std::string_view& text)
{
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
}

bool is_text(char c)
{
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
}

/// `; name=value; name="value"` to the end of the text. No blanks around '=', no escapes, no empty ones.
std::optional<parameters> read_parameters(std::string_view text)
{
    parameters out;
    skip_blanks(text);
    while (!text.empty()) {
        if (text.front() != ';' || out.size() == most_parameters) return std::nullopt;
        text.remove_prefix(1);
        skip_blanks(text);
        const auto equals = text.find('=');
        if (equals == std::string_view::npos || !is_token(text.substr(0, equals))) return std::nullopt;
        const auto name = text.substr(0, equals);
        text.remove_prefix(equals + 1);
        std::string_view value;
        if (text.starts_with('"')) {
            const auto end = text.find('"', 1);
            if (end == std::string_view::npos) return std::nullopt;
            value = text.substr(1, end - 1);
            text.remove_prefix(end + 1);
        } else {
            value = text.substr(0, text.find_first_of("; \t"));
            if (!is_token(value)) return std::nullopt;
            text.remove_prefix(value.size());
        }
        for (const char c : value)
            if (c == '\\' || !is_text(c)) return std::nullopt;
        out.emplace_back(name, value);
        skip_blanks(text);
    }
    return out;
}

/// The one parameter of that name; nullopt: there are several, in any letter case, or one in RFC 8187's form.
std::optional<std::string_view> only(const parameters& all, std::string_view lower_name)
{
    std::string_view found;
    bool seen = false;
    for (const auto& [name, value] : all) {
        const bool extended = name.size() == lower_name.size() + 1 && name.back() == '*' &&
                              iequals(name.substr(0, lower_name.size()), lower_name);
        if (extended && lower_name == "name") return std::nullopt;
        if (!iequals(name, lower_name)) continue;
        if (seen) return std::nullopt;
        seen = true;
        found = value;
    }
    return found;
}

struct part {
    std::string_view name;
    bool is_file = false;
    bool encoded = false;
};

/// A part's head, each line with its CRLF.
std::optional<part> read_part_head(std::string_view head)
{
    part out;
    bool disposed = false;
    while (!head.empty()) {
        const auto end = head.find("\r\n");
        if (end == std::string_view::npos) return std::nullopt;
        const auto line = head.substr(0, end);
        head.remove_prefix(end + 2);
        const auto colon = line.find(':');
        if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return std::nullopt;
        for (const char c : line)
            if (c != '\t' && !is_text(c)) return std::nullopt;
        const auto name = line.substr(0, colon);
        auto value = line.substr(colon + 1);
        skip_blanks(value);
        if (iequals(name, "content-transfer-encoding")) out.encoded = true;
        if (!iequals(name, "content-disposition")) continue;
        constexpr std::string_view kind = "form-data";
        if (disposed || !iequals(value.substr(0, kind.size()), kind)) return std::nullopt;
        disposed = true;
        const auto all = read_parameters(value.substr(kind.size()));
        if (!all) return std::nullopt;
        const auto named = only(*all, "name");
        const auto file = only(*all, "filename");
        if (!named || named->empty() || !file) return std::nullopt;
        out.name = *named;
        for (const auto& [parameter, text] : *all)
            out.is_file = out.is_file || iequals(parameter, "filename") || iequals(parameter, "filename*");
    }
    if (!disposed) return std::nullopt;
    return out;
}

/// The boundary with its dashes; empty: the content type names none plainly.
std::string marker_of(std::string_view parameters_text)
{
    const auto all = read_parameters(parameters_text);
    const auto boundary = all ? only(*all, "boundary") : std::nullopt;
    if (!boundary || boundary->empty() || boundary->size() > longest_boundary) return {};
    return "--" + std::string(*boundary);
}

/// Walks the parts; `take` says what is wrong with one, nullptr: nothing is. So does the walk.
template <class Take>
const char* walk_parts(std::string_view body, std::string_view marker, Take&& take)
{
    if (!body.starts_with(marker)) return "it does not begin with its boundary";
    body.remove_prefix(marker.size());
    while (!body.starts_with("--")) {
        if (!body.starts_with("\r\n")) return "a boundary is not followed by a line's end";
        body.remove_prefix(2);
        const auto next = body.find(marker);
        if (next == std::string_view::npos) return "its last boundary is missing";
        if (next < 2 || body.substr(next - 2, 2) != "\r\n") return "its boundary also stands within a part";
        const auto whole = body.substr(0, next - 2);
        body.remove_prefix(next + marker.size());
        const auto blank = whole.find("\r\n\r\n");
        if (blank == std::string_view::npos) return "a part has no head";
        const auto head = read_part_head(whole.substr(0, blank + 2));
        if (!head) return "a part's head is not plainly written";
        if (const char* why = take(*head, whole.substr(blank + 4))) return why;
    }
    body.remove_prefix(2);
    return body.empty() || body == "\r\n" ? nullptr : "something follows its last boundary";
}

form_text unclear(const char* why)
{
    return {form_text::verdict::unclear, {}, why};
}

}  // namespace

form_text read_form_text(std::string_view content_type, std::string_view body, std::string_view name)
{
    if (!iequals(content_type.substr(0, form_type.size()), form_type)) {
        if (content_type.size() >= 10 && iequals(content_type.substr(0, 10), "multipart/"))
            return unclear("its content type is another kind of multipart");
        return {form_text::verdict::not_form, {}, nullptr};
    }
    const std::string marker = marker_of(content_type.substr(form_type.size()));
    if (marker.empty()) return unclear("its content type does not name one boundary plainly");

    form_text out;
    bool seen = false;
    const char* why = walk_parts(body, marker, [&](const part& head, std::string_view value) -> const char* {
        if (!iequals(head.name, name)) return nullptr;
        if (seen || head.name != name || head.is_file || head.encoded || value.size() > longest_value)
            return "a field that decides what the request may do is doubled or oddly written";
        seen = true;
        out.value = value;
        return nullptr;
    });
    return why != nullptr ? unclear(why) : out;
}

bool each_form_part(std::string_view content_type, std::string_view body,
                    const std::function<void(const form_part&)>& take)
{
    if (!iequals(content_type.substr(0, form_type.size()), form_type)) return false;
    const std::string marker = marker_of(content_type.substr(form_type.size()));
    if (marker.empty()) return false;
    return walk_parts(body, marker, [&](const part& head, std::string_view value) -> const char* {
               take({head.name, value, head.is_file});
               return nullptr;
           }) == nullptr;
}

}  // namespace keyhole::proxy::http
