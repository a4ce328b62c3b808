#include "bench/mock/books.hpp"

#include <utility>

namespace keyhole::bench {
namespace {

void add(std::string& json, const char* name, std::uint64_t value)
{
    if (json.back() != '{') json += ',';
    json.append(1, '"').append(name).append("\":").append(std::to_string(value));
}

}  // namespace

account* books::find(std::string_view key) noexcept
{
    const auto it = accounts_.find(key);
    return it == accounts_.end() ? nullptr : &it->second;
}

std::string books::as_json() const
{
    std::string json = "{";
    add(json, "refused", refused_);
    add(json, "broken", broken_);
    add(json, "connections", connections_);
    json += ",\"keys\":{";
    for (const auto& [key, a] : accounts_) {
        if (json.back() != '{') json += ',';
        json.append(1, '"').append(key).append("\":{");
        add(json, "requests", a.requests);
        add(json, "answered", a.answered);
        add(json, "cut", a.cut);
        add(json, "events", a.events);
        add(json, "body_bytes", a.body_bytes);
        add(json, "prompt_tokens", a.prompt_tokens);
        add(json, "cached_tokens", a.cached_tokens);
        add(json, "completion_tokens", a.completion_tokens);
        json += '}';
    }
    return json += "}}";
}

void books::reset() noexcept
{
    for (auto& [key, a] : accounts_)
        a = {};
    refused_ = broken_ = connections_ = 0;
}

}  // namespace keyhole::bench
