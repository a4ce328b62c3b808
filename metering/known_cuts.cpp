#include "metering/known_cuts.hpp"

#include <utility>

namespace keyhole::metering {

known_cuts& known_cuts::of_thread()
{
    thread_local known_cuts known;
    return known;
}

std::optional<known_cuts::span> known_cuts::find(std::string_view event)
{
    for (std::size_t i = 0; i < judged_.size(); ++i) {
        const judged& known = judged_[i];
        if (known.form.match(event, open_) != event.size()) continue;
        const span cut{known.form.place_in_event(open_, known.cut.begin),
                       known.form.place_in_event(open_, known.cut.end)};
        lessons_.recognised();
        if (i != 0) std::swap(judged_[i], judged_[i - 1]);
        return cut;
    }
    return std::nullopt;
}

void known_cuts::learn(std::string_view event, span cut)
{
    if (!lessons_.worth_it()) return;
    static const path_tree no_paths;
    auto form = event_skeleton::of_event(event, no_paths);
    if (!form) return;
    const auto same_form = [&] {
        for (auto at = judged_.begin(); at != judged_.end(); ++at) {
            if (at->form.widen(*form)) return at;
        }
        return judged_.end();
    };
    auto known = same_form();
    if (known == judged_.end()) {
        if (judged_.size() == most_forms) judged_.pop_back();
        known = judged_.insert(judged_.end(), {std::move(*form), {}});
    }
    static_cast<void>(known->form.match(event, open_));
    known->cut = {known->form.place_in_form(open_, cut.begin), known->form.place_in_form(open_, cut.end)};
}

}  // namespace keyhole::metering
