// Trees of places in a JSON body, made from paths ("messages[].content[].source"): what a table of rows says
// of a place is found by walking the tree beside the body. Thread rule: pure.
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>

namespace keyhole::metering {

/// The place that `path` names below `root`, made if it is not there. A Place has a `key`, `children` (a
/// vector) and `elements` (a pointer to the place of an array's elements).
template <class Place>
Place& place_at(Place& root, std::string_view path)
{
    Place* at = &root;
    while (!path.empty()) {
        const auto dot = path.find('.');
        std::string_view step = path.substr(0, dot);
        path.remove_prefix(dot == path.npos ? path.size() : dot + 1);
        const bool array = step.ends_with("[]");
        if (array) step.remove_suffix(2);
        const auto known = std::ranges::find(at->children, step, &Place::key);
        at = known != at->children.end() ? &*known : &at->children.emplace_back(Place{.key = step});
        if (!array) continue;
        if (!at->elements) at->elements = std::make_unique<Place>();
        at = at->elements.get();
    }
    return *at;
}

}  // namespace keyhole::metering
