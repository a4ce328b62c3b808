// The way back of an inserted include_usage: see include_usage_filter in request_facts.hpp.
#include "metering/request_facts.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>

namespace keyhole::metering {
namespace {

constexpr std::size_t longest_event = 1024 * 1024;

bool is_space(char c) noexcept
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// Where the first whole event of `text` ends (its blank line included), or npos. A lone CR at the very end
/// waits: LF may follow.
std::size_t event_end(std::string_view text) noexcept
{
    std::size_t line = 0;
    while (true) {
        const auto end = text.find_first_of("\r\n", line);
        if (end == std::string_view::npos) return std::string_view::npos;
        std::size_t next = end + 1;
        if (text[end] == '\r') {
            if (next == text.size()) return std::string_view::npos;
            if (text[next] == '\n') ++next;
        }
        if (end == line) return next;
        line = next;
    }
}

/// The only data line of an event, or an empty view where there is none or several.
std::string_view data_of(std::string_view event) noexcept
{
    std::string_view data;
    bool found = false;
    std::size_t line = 0;
    while (line < event.size()) {
        const auto end = std::min(event.find_first_of("\r\n", line), event.size());
        const auto text = event.substr(line, end - line);
        if (text.starts_with("data:")) {
            if (found) return {};
            found = true;
            data = text.substr(5);
        }
        line = end + 1;
    }
    return data;
}

/// The span of the top-level member `"usage":null` together with one adjacent comma; {0, 0}: none.
std::pair<std::size_t, std::size_t> null_usage(std::string_view json) noexcept
{
    std::size_t depth = 0;
    std::size_t key = std::string_view::npos;
    std::size_t comma = std::string_view::npos;
    bool expects_key = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (c == '"') {
            const auto begin = i++;
            while (i < json.size() && json[i] != '"')
                i += json[i] == '\\' ? 2U : 1U;
            if (i >= json.size()) return {0, 0};
            if (depth == 1 && expects_key) {
                key = json.substr(begin, i + 1 - begin) == "\"usage\"" ? begin : std::string_view::npos;
                expects_key = false;
            }
        } else if (c == '{' || c == '[') {
            expects_key = ++depth == 1 && c == '{';
            if (depth == 1) comma = std::string_view::npos;
        } else if (c == '}' || c == ']')
            --depth;
        else if (c == ',' && depth == 1) {
            comma = i;
            expects_key = true;
        } else if (c == ':' && depth == 1 && key != std::string_view::npos) {
            auto value = i + 1;
            while (value < json.size() && is_space(json[value]))
                ++value;
            const auto begin = key;
            key = std::string_view::npos;
            if (json.substr(value, 4) != "null") continue;
            const auto end = value + 4;
            if (comma != std::string_view::npos) return {comma, end};
            auto after = end;
            while (after < json.size() && is_space(json[after]))
                ++after;
            return after < json.size() && json[after] == ',' ? std::pair{begin, after + 1}
                                                             : std::pair{begin, end};
        }
    }
    return {0, 0};
}

/// The chunk that only include_usage brings: no choices, a usage object.
bool is_usage_chunk(std::string_view json)
{
    boost::system::error_code ec;
    const auto value = boost::json::parse(boost::json::string_view(json.data(), json.size()), ec);
    const auto* object = ec ? nullptr : value.if_object();
    if (object == nullptr) return false;
    const auto* choices = object->if_contains("choices");
    const auto* usage = object->if_contains("usage");
    return choices != nullptr && choices->is_array() && choices->get_array().empty() && usage != nullptr &&
           usage->is_object();
}

/// Appends what goes on of one event.
void pass(std::string_view event, std::string& out)
{
    if (event.size() > longest_event || event.find("\"usage\"") == std::string_view::npos) {
        out += event;
        return;
    }
    const auto data = data_of(event);
    if (data.empty()) {
        out += event;
        return;
    }
    if (data.find("\"choices\"") != std::string_view::npos && is_usage_chunk(data)) return;
    const auto [begin, end] = null_usage(data);
    if (end == 0) {
        out += event;
        return;
    }
    const auto at = static_cast<std::size_t>(data.data() - event.data());
    out += event.substr(0, at + begin);
    out += event.substr(at + end);
}

}  // namespace

std::string_view include_usage_filter::feed(std::string_view bytes)
{
    out_.clear();
    held_ += bytes;
    std::string_view rest = held_;
    while (!rest.empty()) {
        const auto end = event_end(rest);
        if (end == std::string_view::npos) break;
        pass(rest.substr(0, end), out_);
        rest.remove_prefix(end);
    }
    if (rest.size() > longest_event) {  // too long to be judged: it goes on as it comes
        out_ += rest;
        rest = {};
    }
    held_.erase(0, held_.size() - rest.size());
    return out_;
}

std::string_view include_usage_filter::finish()
{
    out_.clear();
    pass(held_, out_);
    held_.clear();
    return out_;
}

}  // namespace keyhole::metering
