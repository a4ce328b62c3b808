// A wire's rules as one path tree: what a value at each path of its answers means. Built once a wire, for
// good. Thread rule: any thread.
#pragma once

#include "metering/json_paths.hpp"
#include "metering/wires.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace keyhole::metering {

/// What a value at a path means.
struct path_action {
    enum class kind : std::uint8_t { number, usage, list, entry, entry_label, entry_count, fact, text };
    kind what = kind::fact;
    std::uint8_t rank = 0;
    quantity counted = quantity::input;
    fact said = fact::model;
    std::uint8_t place = 0;  ///< index into wire_rules::usages
    const usage_breakdown* breakdown = nullptr;
};

struct compiled_wire {
    const wire_rules* rules = nullptr;
    path_tree tree;
    std::vector<std::vector<path_action>> actions;  ///< by path_id

    void add(std::string_view path, interest what, const path_action& action)
    {
        const path_id id = tree.add(path, what);
        if (actions.size() <= id) actions.resize(std::size_t{id} + 1);
        actions[id].push_back(action);
    }
};

/// An unknown wire's rules are those of wire::none.
const compiled_wire& compiled(wire w);

}  // namespace keyhole::metering
