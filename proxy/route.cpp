#include "proxy/route.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <vector>

namespace keyhole::proxy {
namespace {

using config::dialect;

/// Whether `path` is an instance of `pattern`. "{name}" stands for one non-empty segment, or, before a
/// ":verb" of Google's kind, for what stands before the last colon.
bool matches(std::string_view pattern, std::string_view path, path_names& names) noexcept
{
    while (true) {
        const auto open = pattern.find('{');
        if (open == std::string_view::npos) return pattern == path;
        if (path.substr(0, open) != pattern.substr(0, open)) return false;
        path.remove_prefix(open);
        const auto close = pattern.find('}');
        const auto name = pattern.substr(open + 1, close - open - 1);
        pattern.remove_prefix(close + 1);
        auto end = std::min(path.find('/'), path.size());
        if (pattern.starts_with(':')) {
            end = path.substr(0, end).rfind(':');
            if (end == std::string_view::npos) return false;
        }
        if (end == 0) return false;
        if (name == "model") names.model = path.substr(0, end);
        if (name == "id") names.id = path.substr(0, end);
        path.remove_prefix(end);
    }
}

/// The path behind `/A/{x}/B/{y}`, or nullopt where it does not begin so.
std::optional<std::string_view> behind(std::string_view path, std::string_view first, std::string_view second)
{
    for (const auto fixed : {first, second}) {
        if (fixed.empty()) continue;
        if (!path.starts_with(fixed)) return std::nullopt;
        path.remove_prefix(fixed.size());
        const auto end = path.find('/');
        if (end == 0 || end == std::string_view::npos) return std::nullopt;
        path.remove_prefix(end);
    }
    return path;
}

/// How one API's path is looked up: in its own rows, or in OpenAI's where the provider speaks that as well.
struct reading {
    dialect rows;
    std::string_view path;
    std::string_view model = {};  ///< named outside of the row's part of the path
};

/// At most two; the first that fits counts.
std::array<std::optional<reading>, 2> readings(dialect api, std::string_view path)
{
    const auto openai_below = [&](std::string_view prefix) -> std::optional<reading> {
        if (!path.starts_with(prefix) || path.substr(prefix.size(), 1) != "/") return std::nullopt;
        return reading{dialect::openai, path.substr(prefix.size())};
    };
    switch (api) {
    case dialect::azure: {
        constexpr std::string_view deployments = "/deployments/";
        const auto rest = behind(path, deployments, {});
        if (!rest) return {reading{dialect::openai, path}};
        const auto named = path.substr(deployments.size());
        return {reading{dialect::openai, *rest, named.substr(0, named.find('/'))}};
    }
    case dialect::gemini: {
        path = behind(path, "/projects/", "/locations/").value_or(path);
        for (const std::string_view compatible : {"/openai", "/endpoints/openapi"})
            if (const auto found = openai_below(compatible)) return {found};
        constexpr std::string_view google = "/publishers/google";
        if (path.starts_with(google)) path.remove_prefix(google.size());
        return {reading{api, path}};
    }
    case dialect::cohere:
        return {reading{api, path}, openai_below("/compatibility/v1")};
    case dialect::ollama:
        return {reading{api, path}, reading{dialect::openai, path}};
    case dialect::openai:
    case dialect::anthropic:
    case dialect::bedrock:
        break;
    }
    return {reading{api, path}};
}

bool version_fits(dialect api, std::string_view version) noexcept
{
    switch (api) {
    case dialect::gemini:
        return version != "v2";
    case dialect::cohere:
        return version.empty() || version == "v1" || version == "v2";
    case dialect::bedrock:
        return version.empty();
    case dialect::openai:
    case dialect::anthropic:
    case dialect::azure:
    case dialect::ollama:
        break;
    }
    return version.empty() || version == "v1";
}

/// The table, ready for look-ups: most paths are literal.
class route_index {
public:
    route_index()
    {
        for (const auto& r : route_table()) {
            const auto open = r.path.find('{');
            if (open == std::string_view::npos)
                literal_[r.path].push_back(&r);
            else
                patterns_[place(r.api)].push_back({&r, r.path.substr(0, open)});
        }
    }

    /// A literal path comes before a pattern that also fits it (/responses/input_tokens before
    /// /responses/{id}).
    void look_up(http::method verb, const reading& as, match& out) const
    {
        if (const auto at = literal_.find(as.path); at != literal_.end()) {
            for (const auto* r : at->second) {
                if (r->api != as.rows) continue;
                out.path_known = true;
                if (r->verb != verb) continue;
                out.found = r;
                out.names = {.model = as.model};
                return;
            }
        }
        for (const auto& [r, prefix] : patterns_[place(as.rows)]) {
            if (!as.path.starts_with(prefix)) continue;
            path_names names{.model = as.model};
            if (!matches(r->path, as.path, names)) continue;
            out.path_known = true;
            if (r->verb != verb) continue;
            out.found = r;
            out.names = names;
        }
    }

private:
    struct pattern {
        const route* row;
        std::string_view prefix;  ///< what stands before its first placeholder
    };
    static std::size_t place(dialect d) noexcept { return static_cast<std::size_t>(d); }

    std::unordered_map<std::string_view, std::vector<const route*>> literal_;
    std::array<std::vector<pattern>, static_cast<std::size_t>(dialect::azure) + 1> patterns_;
};

}  // namespace

match match_route(http::method verb, const target& where, dialect api) noexcept
{
    static const route_index index;
    match out;
    if (!version_fits(api, where.version)) return out;
    for (const auto& as : readings(api, where.path))
        if (as && out.found == nullptr) index.look_up(verb, *as, out);
    return out;
}

dialect dialect_of(const target& where, const http::request_head& head,
                   bool (*is_served)(dialect, const void*), const void* context) noexcept
{
    constexpr std::array all{dialect::openai, dialect::anthropic, dialect::gemini, dialect::azure,
                             dialect::cohere, dialect::ollama,    dialect::bedrock};
    for (const bool only_served : {true, false}) {
        for (const bool with_method : {true, false}) {
            const auto fits = [&](dialect d) {
                const auto m = match_route(head.verb, where, d);
                return (with_method ? m.found != nullptr : m.path_known) &&
                       (!only_served || is_served(d, context));
            };
            if (head.get("x-goog-api-key").data() != nullptr && fits(dialect::gemini)) return dialect::gemini;
            if (head.get("anthropic-version").data() != nullptr && fits(dialect::anthropic))
                return dialect::anthropic;
            const auto* first = std::find_if(all.begin(), all.end(), fits);
            if (first != all.end()) return *first;
        }
    }
    return dialect::openai;
}

std::string path_at(const config::provider& to, const target& where)
{
    std::string_view base = to.base_path;
    std::string_view path = where.path;
    const auto without = [&](std::string_view tail) {
        if (base.ends_with(tail)) base.remove_suffix(tail.size());
    };
    const auto joined = [&](std::string_view middle) {
        std::string out(base);
        if (!middle.empty() && middle.front() != '/') out += '/';
        out += middle;
        out += path;
        return out;
    };
    switch (to.api) {
    case dialect::gemini:
    case dialect::cohere: {
        // A project that the operator pinned in the base URL is the only one there is.
        if (base.find("/projects/") != std::string_view::npos)
            path = behind(path, "/projects/", "/locations/").value_or(path);
        // The agent's version of the API, where both name one.
        const auto slash = base.rfind('/');
        const bool versioned = slash != std::string_view::npos && is_version(base.substr(slash + 1));
        if (where.version.empty() || !versioned) return joined({});
        base = base.substr(0, slash);
        return joined(where.version);
    }
    case dialect::azure:
        without("/v1");
        without("/openai");
        return joined(path.starts_with("/deployments/") ? "/openai" : "/openai/v1");
    case dialect::ollama:
        without("/v1");
        without("/api");
        return joined(path.starts_with("/api/") ? "" : "/v1");
    case dialect::openai:
    case dialect::anthropic:
    case dialect::bedrock:
        break;
    }
    return joined({});
}

bool streams_by_path(const route& way) noexcept
{
    return way.path.find("stream") != std::string_view::npos;
}

}  // namespace keyhole::proxy
