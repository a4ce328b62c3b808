#include "metering/known_events.hpp"

#include <memory>
#include <utility>

namespace keyhole::metering {

known_events& known_events::of_thread(wire w)
{
    constexpr std::size_t wires = static_cast<std::size_t>(wire::watsonx) + 1;
    thread_local std::array<std::unique_ptr<known_events>, wires> all;
    auto& known = all[static_cast<std::size_t>(w) % wires];
    if (!known) known = std::make_unique<known_events>();
    return *known;
}

std::size_t known_events::take(std::string_view bytes, json_reader& reader, json_sink& sink)
{
    for (std::size_t i = 0; i < forms_.size(); ++i) {
        const std::size_t size = forms_[i].match(bytes, open_);
        if (size == 0) continue;
        forms_[i].report(open_, reader, sink);
        if (i != 0) std::swap(forms_[i], forms_[i - 1]);
        return size;
    }
    return 0;
}

void known_events::learn(std::string_view event, const path_tree& tree)
{
    auto form = event_skeleton::of(event, tree);
    if (!form) return;
    for (event_skeleton& known : forms_) {
        if (known.widen(*form)) return;
    }
    if (forms_.size() == most_forms) forms_.pop_back();
    forms_.push_back(std::move(*form));
}

}  // namespace keyhole::metering
