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
    more_bound,  ///< another name for it that no request needs: raises a bound, makes none
    answers,
    prompt,       ///< an element of a list of prompts, each with its own answer
    input_bound,  ///< of all that a run reads
    tier,         ///< the service tier that is asked for
    image,        ///< its place, as text
    file,
    place,       ///< of an object that stands elsewhere
    kept,        ///< names what the provider keeps and reads with the request
    input_kind,  ///< of an item of the input, which may only refer to one that is kept
    tool,
    tool_kind,
    tool_uses,
    tool_calls,   ///< most calls of all tools of the server
    search,       ///< an object that asks for searches
    page,         ///< an object that asks for pages to be read
    stored_file,  ///< an object that asks for files to be searched
    plugin,
    plugin_name,
    sources,       ///< an object that asks for searches, billed by the source
    sources_mode,  ///< "off": for none
    cache,
    cache_life,
    modality,
    spoken,
    model,
    tool_model,  ///< that a tool of the server consults
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
