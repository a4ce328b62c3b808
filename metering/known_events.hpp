// The forms of what a worker's answers of one wire repeat: events of streams, or whole JSON bodies. A form
// says nothing of the answer it was learned from (what differed between two answers is open in it), so all
// answers on a thread share them, and none holds any. Thread rule: events_of() and documents_of() are the
// calling thread's own.
#pragma once

#include "metering/event_skeleton.hpp"
#include "metering/learning.hpp"
#include "metering/usage.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace keyhole::metering {

class known_events {
public:
    static constexpr std::size_t most_forms = 8;

    static known_events& events_of(wire w);
    static known_events& documents_of(wire w);

    /// If an event of a known form stands at the front: reports it as `reader`, idle and with `sink` as its
    /// sink, would have, and returns its size. 0: it must be read. `last`: the form of the document before,
    /// as take() left it; 0: there is none, or none that is known.
    std::size_t take(std::string_view bytes, json_reader& reader, json_sink& sink, std::uint32_t& last);
    /// The same of a body that is one document; what is reported by pieces comes last, if the sink wants it
    /// then.
    std::size_t take_body(std::string_view bytes, json_reader& reader, json_sink& sink);

    /// What take() did not know, from its first to its last byte.
    void learn_event(std::string_view event, const path_tree& tree);
    void learn_document(std::string_view text, const path_tree& tree);

private:
    /// Calls report(form) where one fits; open_ has what the bytes hold.
    template <class Report>
    std::size_t recognise(std::string_view bytes, Report&& report);
    void learn(event_skeleton form);

    std::vector<event_skeleton> forms_;  ///< those that are met more often stand further in front
    learning lessons_;
    event_skeleton::values open_{};
};

}  // namespace keyhole::metering
