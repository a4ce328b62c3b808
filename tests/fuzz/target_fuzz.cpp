// links: keyhole_proxy
// ONE_TABLE: a target has one canonical path, whoever reads it: nothing in it that a second reader could
// decode, collapse or climb, and reading it again gives it again.
#include "proxy/route.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

using namespace keyhole::proxy;

void require(bool condition)
{
    if (!condition) std::abort();
}

bool is_provider(std::string_view segment, const void*)
{
    return segment == "openai" || segment == "anthropic";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string raw(data, data + size);
    // Control bytes never come so far: http_head_fuzz demands that of the request line.
    for (const char c : raw) {
        if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return 0;
    }
    target t;
    if (parse_target(raw, is_provider, nullptr, t)) return 0;
    require(t.path.starts_with('/') && t.path.find("//") == t.path.npos);
    require(t.path.find("/../") == t.path.npos && !t.path.ends_with("/..") &&
            t.path.find('\\') == t.path.npos);
    for (const char c : t.path)
        require(static_cast<unsigned char>(c) > 0x20 && c != 0x7f);
    using enum keyhole::config::dialect;
    for (const auto api : {openai, anthropic, gemini, bedrock, ollama, cohere, azure}) {
        const match m = match_route(http::method::post, t, api);
        if (m.found != nullptr) require(!m.found->name.empty());
    }
    target again;
    require(!parse_target(t.path, is_provider, nullptr, again));
    // Only a provider's prefix or a version may be taken off once more: a path that repeats them.
    require(again.path.size() <= t.path.size());
    require(again.query.empty() && again.query_token.empty());
    return 0;
}
