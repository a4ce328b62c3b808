// Which members of a request's body say what it demands, wire by wire, as data, and the tree that a reader of
// the body follows: what is no step of a path is stepped over unread. Thread rule: constants.
#pragma once

#include "metering/json_scan.hpp"
#include "metering/usage.hpp"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace keyhole::metering {

enum class meaning : std::uint8_t {
    bound,
    answers,
    image,  ///< its place, as text
    file,
    place,  ///< of an object that stands elsewhere
    tool,
    tool_kind,
    tool_uses,
    search,  ///< an object that asks for searches
    cache,
    cache_life,
    modality,
    spoken,
    model,
};

/// A member of a wire's requests; wire::none: of any. `family`: part of the model's name, for wires that pass
/// on what each maker's models read.
struct member {
    std::string_view path;
    meaning what;
    wire of = wire::none;
    std::string_view family = {};
};

/// A place in a body, and what stands below it.
struct place {
    std::string_view key;
    std::vector<const member*> members = {};
    std::vector<place> children = {};           ///< of an object
    std::unique_ptr<place> elements = nullptr;  ///< of an array

    /// nullptr: nothing that is looked for.
    const place* child(const json_string& name) const;
};

/// The root of all of them.
const place& asked_members();

}  // namespace keyhole::metering
