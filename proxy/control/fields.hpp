// Reading what an administrator wrote: JSON without surprises, durations, points in time. Every mistake is an
// std::invalid_argument that names the field, the mistake and how to write it. Plain functions.
#pragma once

#include "metering/budget.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::proxy {

/// A JSON object whose members are all among `known` (empty: whatever they are), none of them twice.
class fields {
public:
    fields(std::string_view body, std::initializer_list<std::string_view> known);
    ~fields();  ///< wiped: strings may be keys or tokens
    fields(const fields&) = delete;
    fields& operator=(const fields&) = delete;

    /// Absent and null are the default.
    std::string text(const char* field) const;
    bool flag(const char* field, bool otherwise) const;
    /// A list of strings; a string alone is a list of one.
    std::vector<std::string> texts(const char* field) const;
    std::map<std::string, std::string> text_map(const char* field) const;
    std::vector<metering::limit> limits(const char* field) const;
    /// Seconds: a number, or "90s", "15m", "24h", "7d".
    double duration(const char* field, double otherwise) const;

private:
    const nlohmann::json* find(const char* field) const;
    nlohmann::json body_;
};

/// "90", "90s", "15m", "24h", "7d", "2w" -> seconds.
double parse_duration(std::string_view text);
/// "7d", "24h" (before `now_us`), "2026-11-21", "2026-11-21T10:00:00Z" or microseconds -> microseconds since
/// 1970.
std::int64_t parse_time(std::string_view text, std::int64_t now_us);

}  // namespace keyhole::proxy
