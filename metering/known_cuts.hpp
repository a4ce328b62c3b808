// Which bytes are left out of an event, for forms of events of which one was judged before: what is asked for
// is asked of every event of a stream, and the answer hangs on the form alone. Shared by a thread's streams,
// as known_events. Thread rule: of_thread() is the calling thread's own.
#pragma once

#include "metering/event_skeleton.hpp"
#include "metering/learning.hpp"

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace keyhole::metering {

class known_cuts {
public:
    static constexpr std::size_t most_forms = 4;

    struct span {
        std::size_t begin = 0;
        std::size_t end = 0;
    };

    static known_cuts& of_thread();

    /// What is left out of the event; nullopt: its form is not known.
    std::optional<span> find(std::string_view event);

    /// `cut` begins and ends outside values.
    void learn(std::string_view event, span cut);

private:
    struct judged {
        event_skeleton form;
        span cut;  ///< within what is fixed
    };

    std::vector<judged> judged_;  ///< those that are met more often stand further in front
    learning lessons_;
    event_skeleton::values open_{};
};

}  // namespace keyhole::metering
