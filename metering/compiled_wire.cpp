#include "metering/compiled_wire.hpp"

#include <algorithm>
#include <initializer_list>
#include <string>

namespace keyhole::metering {
namespace {

using kind = path_action::kind;

/// What every API's errors look like. Google's list of one error is read as well, lists being transparent.
constexpr fact_place error_facts[] = {
    {"error", fact::error_object},         {"error.type", fact::error_type, 0},
    {"error.status", fact::error_type, 1}, {"error.code", fact::error_type, 2},
    {"type", fact::refusal_type, 4},    // Mistral
    {"__type", fact::refusal_type, 4},  // AWS
    {"code", fact::refusal_type, 5},       {"error_type", fact::refusal_type, 6},
};

std::string join(std::string_view place, std::string_view field)
{
    std::string path{place};
    if (!path.empty() && !field.empty() && !field.starts_with("[]")) path += '.';
    path += field;
    return path;
}

void add_usage(compiled_wire& w, std::uint8_t index, const usage_place& place)
{
    w.add(place.path, interest::object, {.what = kind::usage, .place = index});
    if (place.how == merging::beyond) {
        const std::string_view list = place.path.substr(0, place.path.size() - 2);
        w.add(list, interest::object, {.what = kind::list, .place = index});
    }
    for (const usage_field& f : place.shape->fields) {
        w.add(join(place.path, f.path), interest::scalar,
              {.what = kind::number, .rank = f.rank, .counted = f.what, .place = index});
    }
    for (const usage_breakdown& b : place.shape->breakdowns) {
        const std::string entry = join(place.path, b.path);
        w.add(entry, interest::object, {.what = kind::entry, .place = index, .breakdown = &b});
        w.add(join(entry, b.label), interest::scalar,
              {.what = kind::entry_label, .place = index, .breakdown = &b});
        w.add(join(entry, b.count), interest::scalar,
              {.what = kind::entry_count, .place = index, .breakdown = &b});
    }
}

void add_fact(compiled_wire& w, const fact_place& f)
{
    const path_action action{.what = kind::fact, .rank = f.rank, .said = f.what};
    switch (f.what) {
    case fact::text:
        w.add(f.path, interest::measure, action);
        w.add(f.path, interest::pieces, {.what = kind::text, .rank = f.rank});
        break;
    case fact::sealed:
        w.add(f.path, interest::measure, action);
        break;
    case fact::error_object:
    case fact::terminal_mark: {
        // As an object or as a scalar.
        const path_id id = w.tree.add(f.path, interest::object);
        w.add(f.path, interest::scalar, action);
        static_cast<void>(id);
        break;
    }
    default:
        w.add(f.path, interest::scalar, action);
        break;
    }
}

/// `tier_stands_alone`: nothing else in an answer decides whether a tier counts.
steadiness steady(const std::vector<path_action>& actions, bool tier_stands_alone) noexcept
{
    const auto says = [](std::initializer_list<fact> what) {
        return [what](const path_action& a) {
            return a.what == kind::fact && std::ranges::find(what, a.said) != what.end();
        };
    };
    if (std::ranges::all_of(actions, says({fact::model, fact::id}))) return steadiness::first_counts;
    return tier_stands_alone && std::ranges::all_of(actions, says({fact::service_tier}))
               ? steadiness::last_counts
               : steadiness::none;
}

compiled_wire compile(wire id)
{
    compiled_wire w;
    w.rules = &rules_of(id);
    std::uint8_t index = 0;
    for (const usage_place& place : w.rules->usages)
        add_usage(w, index++, place);
    for (const fact_place& f : w.rules->facts)
        add_fact(w, f);
    for (const fact_place& f : error_facts)
        add_fact(w, f);
    w.actions.resize(w.tree.size());
    const bool alone =
        std::ranges::find(w.rules->facts, fact::speed, &fact_place::what) == w.rules->facts.end();
    for (std::size_t i = 0; i < w.actions.size(); ++i)
        w.tree.mark(static_cast<path_id>(i), steady(w.actions[i], alone));
    return w;
}

}  // namespace

const compiled_wire& compiled(wire w)
{
    static const auto all = [] {
        std::vector<compiled_wire> wires;
        for (unsigned i = 0; i <= static_cast<unsigned>(last_wire); ++i)
            wires.push_back(compile(static_cast<wire>(i)));
        return wires;
    }();
    const auto index = static_cast<std::size_t>(w);
    return all[index < all.size() ? index : 0];
}

}  // namespace keyhole::metering
