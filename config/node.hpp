// The configuration as it was written, before it means anything: one tree of values, each knowing where it
// stands, merged from the file, the environment and the command line (the later one wins). Only
// toml_reader.cpp knows TOML's library. Thread rule: used by load() alone.
#pragma once

#include "config/load.hpp"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace keyhole::config {

enum class origin : std::uint8_t { file, environment, command_line };  ///< ascending precedence

struct node_member;

struct node {
    enum class type : std::uint8_t { string, integer, number, boolean, list, table, other };

    type what = type::table;
    std::string text;  ///< of a string
    std::int64_t integer = 0;
    double number = 0;  ///< also of an integer
    bool boolean = false;
    std::vector<node> list;
    std::vector<node_member> members;  ///< of a table, in the file's order

    std::string where;  ///< "keyhole.toml:12:1", "environment KEYHOLE_LOG_LEVEL", "--set log.level"
    origin from = origin::file;
    std::optional<std::string> bare;  ///< from outside a file: the text itself, should a string be wanted

    const node* find(std::string_view name) const noexcept;
    node* find(std::string_view name) noexcept;
    void erase(std::string_view name);
};

struct node_member {
    std::string name;
    node value;
};

/// What goes wrong and what is worth saying, collected: nothing ends at the first mistake.
struct findings {
    std::vector<problem> problems;
    std::vector<std::string> notes;

    void refuse(std::string where, std::string key, std::string what, std::string remedy)
    {
        problems.push_back({std::move(where), std::move(key), std::move(what), std::move(remedy)});
    }
    void note(std::string text) { notes.push_back(std::move(text)); }
};

/// Reads the TOML file into `root`; false: it could not be read, which stands in `out`.
bool read_toml_file(const std::string& path, node& root, findings& out);

/// A value from outside a file: TOML where it parses as such, else a string.
node read_outside_value(const std::string& text, origin from, const std::string& where);

/// Lays `value` over what stands at `path` ("log", "level"); a name that excludes it ("socket" and "sockets")
/// goes, if it comes from a weaker source. False: something on the way is no section.
bool overlay(node& root, const std::vector<std::string>& path, node value);

/// The one other name under which the same thing can be written, or "".
std::string_view other_name(std::string_view key) noexcept;

/// A key's or a provider's name as it stands in the environment: "my-vllm" -> "MY_VLLM".
std::string upper(std::string_view name);

/// The candidate that `name` is most likely a misspelling of, or "".
std::string_view closest(std::string_view name, const std::vector<std::string_view>& candidates);

/// "did you mean NAME?", or those that contain it, or `otherwise`.
std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates,
                         std::string otherwise);

}  // namespace keyhole::config
