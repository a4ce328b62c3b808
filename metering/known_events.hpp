// The forms of events that a worker's streams repeat. Forms say nothing of the stream they were learned from
// (what differed between two streams is open in them), so all streams of a wire on one thread share them: a
// stream holds none. Thread rule: of_thread() is the calling thread's own.
#pragma once

#include "metering/event_skeleton.hpp"
#include "metering/usage.hpp"

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

namespace keyhole::metering {

class known_events {
public:
    static constexpr std::size_t most_forms = 8;

    static known_events& of_thread(wire w);

    /// If an event of a known form stands at the front: reports it as `reader`, idle and with `sink` as its
    /// sink, would have, and returns its size. 0: it must be read.
    std::size_t take(std::string_view bytes, json_reader& reader, json_sink& sink);

    /// An event that had to be read, from its first line to its blank line. Costs about as much as reading it
    /// twice.
    void learn(std::string_view event, const path_tree& tree);

private:
    std::vector<event_skeleton> forms_;  ///< those that are met more often stand further in front
    event_skeleton::values open_{};
};

}  // namespace keyhole::metering
