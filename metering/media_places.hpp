// Where each wire's requests carry media, as data: a row a place, with the page it was read from. A place
// that stands in no row is text. Thread rule: constants.
#pragma once

#include "metering/media_kinds.hpp"
#include "metering/usage.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace keyhole::metering {

enum class media_role : std::uint8_t {
    string,  ///< a data: URL or base64
    source,  ///< an object with base64 in "data" and its type beside it
    sealed,  ///< reasoning that only its provider can open, as base64: never text
    frames,  ///< how many pictures a second of a film are looked at
};

struct media_row {
    wire of;
    std::string_view path;
    media_role role = media_role::string;
    media_kind otherwise = media_kind::document;  ///< where the data does not say its kind
};

/// A place in a body, and what stands below it.
struct media_place {
    std::string_view key;  ///< "*": any
    std::vector<const media_row*> rows = {};
    std::vector<media_place> children = {};           ///< of an object
    std::unique_ptr<media_place> elements = nullptr;  ///< of an array

    /// Whatever its letter case: some servers' readers do not mind it.
    const media_place* child(std::string_view name) const noexcept;
};

/// Of all wires.
const media_place& media_places();

/// Whose rows count.
using media_readers = std::array<wire, 4>;
media_readers readers_of(wire w, std::string_view model) noexcept;

}  // namespace keyhole::metering
