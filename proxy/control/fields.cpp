#include "proxy/control/fields.hpp"

#include "config/secret.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <set>
#include <stdexcept>
#include <utility>

namespace keyhole::proxy {
namespace {

using nlohmann::json;

constexpr int deepest = 8;
constexpr double longest_seconds = 3.2e9;  // a hundred years

[[noreturn]] void bad(const std::string& what)
{
    throw std::invalid_argument(what);
}

/// Two readers of a member that stands twice could disagree on which one counts.
json parse_strictly(std::string_view body)
{
    std::vector<std::set<std::string>> seen(deepest + 2);
    const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
        if (depth > deepest) bad("the body is nested too deeply");
        const auto level = static_cast<std::size_t>(depth);
        if (event == json::parse_event_t::object_start) seen[level + 1].clear();
        if (event == json::parse_event_t::key && !seen[level].insert(parsed.get<std::string>()).second)
            bad("\"" + parsed.get<std::string>() + "\" stands twice");
        return true;
    };
    try {
        return json::parse(body, watch);
    } catch (const json::parse_error& e) {
        // Its own text would repeat what was read, and that may be a key.
        bad("the body is not valid JSON (byte " + std::to_string(e.byte) + ")");
    } catch (const json::exception&) {
        bad("the body is not valid JSON");
    }
}

void wipe(json& j) noexcept
{
    if (auto* text = j.get_ptr<std::string*>()) config::wipe(text->data(), text->size());
    if (j.is_structured()) {
        for (auto& child : j) {
            wipe(child);
        }
    }
}

bool all_digits(std::string_view text)
{
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

fields::fields(std::string_view body, std::initializer_list<std::string_view> known)
    : body_(parse_strictly(body))
{
    if (!body_.is_object()) bad("the body must be a JSON object");
    for (const auto& [key, value] : body_.items()) {
        if (known.size() == 0 || std::ranges::find(known, key) != known.end()) continue;
        std::string all;
        for (const auto name : known) {
            all.append(all.empty() ? "" : ", ").append(name);
        }
        bad("unknown field \"" + key.substr(0, 64) + "\" (one of: " + all + ")");
    }
}

fields::~fields()
{
    wipe(body_);
}

const json* fields::find(const char* field) const
{
    const auto at = body_.find(field);
    return at == body_.end() || at->is_null() ? nullptr : &*at;
}

std::string fields::text(const char* field) const
{
    const json* value = find(field);
    if (value == nullptr) return {};
    if (!value->is_string()) bad(std::string(field) + ": expected a string");
    return value->get<std::string>();
}

bool fields::flag(const char* field, bool otherwise) const
{
    const json* value = find(field);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) bad(std::string(field) + ": expected true or false");
    return value->get<bool>();
}

std::vector<std::string> fields::texts(const char* field) const
{
    const json* value = find(field);
    if (value == nullptr) return {};
    if (value->is_string()) return {value->get<std::string>()};
    std::vector<std::string> out;
    const bool fits =
        value->is_array() && std::ranges::all_of(*value, [](const json& j) { return j.is_string(); });
    if (!fits) bad(std::string(field) + ": expected a list of strings");
    for (const auto& entry : *value) {
        out.push_back(entry.get<std::string>());
    }
    return out;
}

std::map<std::string, std::string> fields::text_map(const char* field) const
{
    const json* value = find(field);
    std::map<std::string, std::string> out;
    if (value == nullptr) return out;
    if (!value->is_object()) bad(std::string(field) + ": expected an object of strings");
    for (const auto& [key, entry] : value->items()) {
        if (!entry.is_string()) bad(std::string(field) + ": expected an object of strings");
        out[key] = entry.get<std::string>();
    }
    return out;
}

std::vector<metering::limit> fields::limits(const char* field) const
{
    std::vector<metering::limit> out;
    for (const auto& text : texts(field)) {
        const auto l = metering::parse_limit(text);
        if (!l)
            bad(std::string(field) + ": \"" + text.substr(0, 64) +
                "\" is not understood (write usd=2.50, usd/day=1, tokens/hour=100000, requests/minute=60 or "
                "concurrency=4)");
        out.push_back(*l);
    }
    return out;
}

double fields::duration(const char* field, double otherwise) const
{
    const json* value = find(field);
    if (value == nullptr) return otherwise;
    double seconds = 0;
    try {
        seconds = value->is_number() ? value->get<double>() : parse_duration(text(field));
    } catch (const std::invalid_argument& e) {
        bad(std::string(field) + ": " + e.what());
    }
    if (!(seconds >= 0) || seconds > longest_seconds)
        bad(std::string(field) + ": expected 0 to 3200000000 seconds, or e.g. \"24h\"");
    return seconds;
}

double parse_duration(std::string_view text)
{
    constexpr std::array<std::pair<std::string_view, double>, 6> units{
        {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}, {"w", 604'800}}};
    double n = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    if (ec == std::errc{} && std::isfinite(n) && n >= 0) {
        for (const auto& [name, factor] : units) {
            if (unit == name && n * factor <= longest_seconds) return n * factor;
        }
    }
    bad("\"" + std::string(text.substr(0, 64)) + "\" is not a duration (write e.g. 90s, 15m, 24h, 7d)");
}

std::int64_t parse_time(std::string_view text, std::int64_t now_us)
{
    const std::string copy(text);
    for (const char* form : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"}) {
        std::tm parts{};
        const char* end = ::strptime(copy.c_str(), form, &parts);
        if (end != copy.c_str() + copy.size() || parts.tm_year <= 0) continue;
        const int day = parts.tm_mday;
        const std::int64_t seconds = ::timegm(&parts);
        if (parts.tm_mday == day)
            return seconds * 1'000'000;  // else there is no such day, as the 31st of June
    }
    // A bare number is a point in time, not seconds ago: "2026" is neither.
    if (all_digits(text)) {
        std::int64_t us = 0;
        const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), us);
        if (ec == std::errc{} && us >= 100'000'000'000'000) return us;
    } else {
        try {
            return now_us - static_cast<std::int64_t>(parse_duration(text) * 1e6);
        } catch (const std::invalid_argument&) {
            // said below, with all the forms there are
        }
    }
    bad("\"" + copy.substr(0, 64) +
        "\" is not a time (write 7d, 24h, 2026-11-21, 2026-11-21T10:00:00Z or microseconds since 1970)");
}

}  // namespace keyhole::proxy
