// How the admin API's JSON is put before a person. Plain functions.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace keyhole::proxy::cli {

inline void print(const std::string& text)
{
    std::fwrite(text.data(), 1, text.size(), stdout);
}

inline void print_json(const nlohmann::json& j)
{
    print(j.dump(2) + '\n');
}

/// A member as text; empty where it is missing.
inline std::string text_of(const nlohmann::json& object, const char* member)
{
    const auto at = object.find(member);
    if (at == object.end() || at->is_null()) return {};
    return at->is_string() ? at->get<std::string>() : at->dump();
}

inline std::int64_t number_of(const nlohmann::json& object, const char* member)
{
    const auto at = object.find(member);
    return at != object.end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}

inline std::string joined(const nlohmann::json& list, const std::string& otherwise)
{
    std::string out;
    for (const auto& entry : list) {
        out += (out.empty() ? "" : ", ") + (entry.is_string() ? entry.get<std::string>() : entry.dump());
    }
    return out.empty() ? otherwise : out;
}

}  // namespace keyhole::proxy::cli
