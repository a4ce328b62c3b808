// A JSON document that remembers each value's line and keeps numbers as they were written: 1e-7 as a double
// is not 1e-7. Only for files of the operator (price lists); requests never pass through here. Thread rule:
// plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {

struct json_tree {
    struct member;
    enum class kind : std::uint8_t { null, boolean, number, text, array, object };
    kind what = kind::null;
    int line = 1;                 ///< of a scalar's end, of a container's beginning
    std::string text;             ///< of a number or a string; "true" or "false"
    std::vector<member> members;  ///< of an object; an array's elements have empty names

    /// nullptr: absent, or this is not an object.
    const json_tree* find(std::string_view name) const noexcept;
};

struct json_tree::member {
    std::string name;
    json_tree value;
};

/// Throws std::runtime_error("NAME:LINE: …") on text that is not JSON or nests deeper than 64.
json_tree parse_json(std::string_view text, const std::string& name);

}  // namespace keyhole::metering
