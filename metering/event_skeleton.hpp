// The form of an event that a stream repeats, or of a whole JSON answer: what stands between its values, the
// values that never change, and what a json_reader reports of such an event. Bytes that have this form need
// no parsing: comparing what is fixed and finding the ends of what is open tells everything, and the same
// reports are made with the new values. Exact by construction: an event that differs in anything else (a key,
// a nesting, a null that became an object) has not this form. Thread rule: immutable but for widen(); one
// owner.
#pragma once

#include "metering/json_paths.hpp"
#include "metering/json_scan.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {

class event_skeleton {
public:
    static constexpr std::size_t most_values = 64;
    static constexpr std::size_t longest_read = 16'384;  ///< that a form is learned from
    static constexpr std::size_t longest_fixed = 2048;   ///< what a form holds
    using values = std::array<json_string, most_values>;

    /// The form of an event as it stands in the body, from its first line to its blank line; texts are open,
    /// every other value is fixed. nullopt: it is none that is worth knowing (long, several data lines, an
    /// error, bad JSON).
    static std::optional<event_skeleton> of_event(std::string_view event, const path_tree& tree);
    /// The form of a JSON object that stands alone.
    static std::optional<event_skeleton> of_document(std::string_view text, const path_tree& tree);

    /// If both differ in nothing but values: opens the values that differ, and is true.
    bool widen(const event_skeleton& other);

    /// How many bytes at the front are an event of this form; 0: they are none, or not all of it is there.
    /// `open` receives what it holds.
    std::size_t match(std::string_view bytes, values& open) const noexcept;

    /// Reports what `reader`, idle and with `sink` as its sink, would have reported of the event that
    /// matched. `again`: the document before was reported by this form, too, so that what is fixed at steady
    /// paths has nothing to say.
    void report(const values& open, json_reader& reader, json_sink& sink, bool again = false) const;
    /// The same, but strings that are reported by pieces come last, and only where the sink wants them then.
    void report_pieces_last(const values& open, json_reader& reader, json_sink& sink) const;

    /// Where a fixed byte of an event that matched stands among what is fixed, and the other way round.
    std::size_t place_in_form(const values& open, std::size_t in_event) const noexcept;
    std::size_t place_in_event(const values& open, std::size_t in_form) const noexcept;

    /// Of this form as it is: no other one, and not this one before or after a widen(), has the same. Never
    /// 0.
    std::uint32_t serial() const noexcept { return serial_; }

private:
    /// A string's inside or a number, and where it stands (open: would stand) in text_.
    struct value {
        std::uint16_t at = 0;
        std::uint16_t size = 0;
        bool number = false;
        bool open = false;
        bool escaped = false;
    };
    /// Fixed bytes, and the open value behind them.
    struct stretch {
        std::uint16_t size = 0;
        std::uint8_t open = most_values;  ///< none: the event's end
        bool number = false;
    };
    enum class report_kind : std::uint8_t { begin, end, text, number, word, document_end, value_end };
    struct reported {
        report_kind what = report_kind::begin;
        std::uint8_t value = 0;
        bool pieces = false;                   ///< of a text: its path has that interest
        steadiness steady = steadiness::none;  ///< of the path of a text
        json_scalar::type word = json_scalar::type::null;
        bool truth = false;  ///< of a boolean; of a document_end: array_element
        path_id id = no_path;
        bool operator==(const reported&) const = default;
    };
    class builder;
    class recorder;
    static std::optional<event_skeleton> of(std::string_view whole, std::string_view data,
                                            const path_tree& tree);

    void lay_out();
    void tell(const reported& r, const values& open, json_reader& reader, json_sink& sink) const;
    std::string_view bytes_of(const value& v) const noexcept
    {
        return std::string_view{text_}.substr(v.at, v.size);
    }

    std::uint32_t serial_ = 0;
    std::string text_;  ///< all that is fixed
    std::vector<value> values_;
    std::vector<stretch> stretches_;  ///< text_ cut at its open values
    std::vector<reported> reports_;
    std::vector<reported> news_;  ///< of those: without what has nothing to say again
};

}  // namespace keyhole::metering
