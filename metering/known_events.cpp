#include "metering/known_events.hpp"

#include <array>
#include <memory>
#include <utility>

namespace keyhole::metering {

namespace {

constexpr std::size_t wires = static_cast<std::size_t>(last_wire) + 1;
using by_wire = std::array<std::unique_ptr<known_events>, wires>;

known_events& of(by_wire& all, wire w)
{
    auto& known = all[static_cast<std::size_t>(w) % wires];
    if (!known) known = std::make_unique<known_events>();
    return *known;
}

}  // namespace

known_events& known_events::events_of(wire w)
{
    thread_local by_wire all;
    return of(all, w);
}

known_events& known_events::documents_of(wire w)
{
    thread_local by_wire all;
    return of(all, w);
}

template <class Report>
std::size_t known_events::recognise(std::string_view bytes, Report&& report)
{
    for (std::size_t i = 0; i < forms_.size(); ++i) {
        const event_skeleton& form = forms_[i];
        const std::size_t size = form.match(bytes, open_);
        if (size == 0) continue;
        report(form);
        if (i != 0) std::swap(forms_[i], forms_[i - 1]);
        lessons_.recognised();
        return size;
    }
    return 0;
}

std::size_t known_events::take(std::string_view bytes, json_reader& reader, json_sink& sink,
                               std::uint32_t& last)
{
    std::uint32_t taken = 0;
    const std::size_t size = recognise(bytes, [&](const event_skeleton& form) {
        taken = form.serial();
        form.report(open_, reader, sink, taken == last);
    });
    last = taken;
    return size;
}

std::size_t known_events::take_body(std::string_view bytes, json_reader& reader, json_sink& sink)
{
    return recognise(bytes,
                     [&](const event_skeleton& form) { form.report_pieces_last(open_, reader, sink); });
}

void known_events::learn_event(std::string_view event, const path_tree& tree)
{
    if (!lessons_.worth_it()) return;
    if (auto form = event_skeleton::of_event(event, tree)) learn(std::move(*form));
}

void known_events::learn_document(std::string_view text, const path_tree& tree)
{
    if (!lessons_.worth_it()) return;
    if (auto form = event_skeleton::of_document(text, tree)) learn(std::move(*form));
}

void known_events::learn(event_skeleton form)
{
    for (event_skeleton& known : forms_) {
        if (known.widen(form)) return;
    }
    if (forms_.size() == most_forms) forms_.pop_back();
    forms_.push_back(std::move(form));
}

}  // namespace keyhole::metering
