// How entries of the table of keys are made: typed reading with its complaints, and one maker for each kind
// of key. Included by schema.cpp and key_readers.cpp alone.
#pragma once

#include "config/schema.hpp"

#include <array>
#include <charconv>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace keyhole::config::making {

inline std::string_view type_name(const node& value)
{
    switch (value.what) {
    case node::type::string:
        return "a string";
    case node::type::integer:
        return "a whole number";
    case node::type::number:
        return "a number";
    case node::type::boolean:
        return "true or false";
    case node::type::list:
        return "a list";
    case node::type::table:
        return "a section";
    case node::type::other:
        return "a date or time";
    }
    return "something else";
}

inline void refuse_type(const node& value, const std::string& key, std::string_view expected,
                        std::string remedy, reading& with)
{
    with.out.refuse(value.where, key,
                    "expected " + std::string(expected) + ", got " + std::string(type_name(value)),
                    std::move(remedy));
}

inline std::string quoted(std::string_view text)
{
    return "\"" + std::string(text) + "\"";
}

inline std::string shown(double value)
{
    char text[512];
    return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::fixed).ptr};
}

inline std::optional<std::string> text_of(const node& value, const std::string& key, std::string_view example,
                                          reading& with)
{
    if (value.what == node::type::string) return value.text;
    if (value.bare) return value.bare;
    refuse_type(value, key, "a string", "write it like " + quoted(example), with);
    return std::nullopt;
}

/// A list of strings; one string alone does as well.
inline std::optional<std::vector<const node*>> items_of(const node& value, const std::string& key,
                                                        std::string_view example, reading& with)
{
    std::vector<const node*> items;
    if (value.what == node::type::string) return std::vector{&value};
    const bool is_list = value.what == node::type::list;
    for (const node& item : value.list) {
        if (item.what == node::type::string) items.push_back(&item);
    }
    if (is_list && items.size() == value.list.size()) return items;
    refuse_type(value, key, is_list ? "strings in the list" : "a list of strings",
                "write it like [" + quoted(example) + "]", with);
    return std::nullopt;
}

/// An absolute path: a service's working directory is an accident. nullopt: refused.
inline std::optional<std::string> path_of(const node& value, const std::string& text, const std::string& key,
                                          reading& with)
{
    if (text.starts_with('/') && text.find('\0') == std::string::npos) return text;
    with.out.refuse(value.where, key, text.empty() ? "the path is empty" : "the path is not absolute",
                    "begin it with /");
    return std::nullopt;
}

inline std::optional<std::string> socket_path(const node& value, const std::string& text,
                                              const std::string& key, reading& with)
{
    constexpr std::size_t longest = 107;  // sun_path holds 108 bytes with its end
    auto path = path_of(value, text, key, with);
    if (!path) return std::nullopt;
    if (path->size() > longest) {
        with.out.refuse(value.where, key,
                        "a socket's path has at most 107 bytes, this one " + std::to_string(path->size()),
                        "choose a shorter directory");
        return std::nullopt;
    }
    if (path->ends_with('/')) {
        with.out.refuse(value.where, key, "names a directory",
                        "name the socket itself, like /run/keyhole/llm.sock");
        return std::nullopt;
    }
    return path;
}

// --- Makers of table entries. `at` names the field: [](auto& s) -> auto& { return s.log.level; }

template <class Target, class At>
key_spec<Target> boolean(std::string_view name, At at, std::string_view help)
{
    Target defaults{};
    return {name,
            std::string(help),
            "true or false",
            at(defaults) ? "true" : "false",
            true,
            [at](Target& t, const node& value, const std::string& key, reading& with) {
                if (value.what != node::type::boolean)
                    return refuse_type(value, key, "true or false", "write true or false, without quotes",
                                       with);
                at(t) = value.boolean;
            }};
}

/// A number of the field's own type, within [least, most]. `unit`: "seconds", "bytes" or empty.
template <class Target, class At>
key_spec<Target> number(std::string_view name, double least, double most, std::string_view unit, At at,
                        std::string_view help)
{
    Target defaults{};
    using field = std::remove_reference_t<decltype(at(defaults))>;
    constexpr bool whole = std::integral<field>;
    const std::string type = std::string(unit.empty() ? (whole ? "whole number" : "number") : unit) + ", " +
                             shown(least) + " to " + shown(most);
    const std::string like = shown(static_cast<double>(at(defaults)));
    return {name,
            std::string(help),
            type,
            like,
            true,
            [=](Target& t, const node& value, const std::string& key, reading& with) {
                const bool is_number =
                    value.what == node::type::integer || (!whole && value.what == node::type::number);
                if (!is_number) {
                    return refuse_type(value, key, whole ? "a whole number" : "a number",
                                       "write it" + (unit.empty() ? "" : " in " + std::string(unit)) +
                                           " without quotes and without a unit, like " + like,
                                       with);
                }
                if (!(value.number >= least && value.number <= most)) {  // refuses NaN as well
                    with.out.refuse(value.where, key, shown(value.number) + " is out of range",
                                    "allowed: " + shown(least) + " to " + shown(most));
                    return;
                }
                at(t) = static_cast<field>(whole ? static_cast<field>(value.integer)
                                                 : static_cast<field>(value.number));
            }};
}

/// `choices`: pairs of a word and what it means.
template <class Target, class Choices, class At>
key_spec<Target> choice(std::string_view name, const Choices& choices, At at, std::string_view help)
{
    Target defaults{};
    std::string sample;
    std::string type;
    for (const auto& [word, meaning] : choices) {
        if (meaning == at(defaults)) sample = quoted(word);
        type += (type.empty() ? "" : ", ") + quoted(word);
    }
    return {name,
            std::string(help),
            "one of " + type,
            sample,
            true,
            [=](Target& t, const node& value, const std::string& key, reading& with) {
                std::vector<std::string_view> words;
                std::string all = "one of:";
                for (const auto& [word, meaning] : choices) {
                    words.push_back(word);
                    all += (words.size() == 1 ? " " : ", ") + std::string(word);
                }
                const auto text = text_of(value, key, words.front(), with);
                if (!text) return;
                for (const auto& [word, meaning] : choices) {
                    if (word == *text) {
                        at(t) = meaning;
                        return;
                    }
                }
                const std::string_view best = closest(*text, words);
                with.out.refuse(value.where, key, "not a value that it can have",
                                (best.empty() ? "" : "did you mean " + std::string(best) + "? ") + all);
            }};
}

template <class Target, class At>
key_spec<Target> directory(std::string_view name, std::size_t longest, At at, std::string_view help)
{
    Target defaults{};
    return {name,
            std::string(help),
            "absolute path, at most " + std::to_string(longest) + " bytes",
            quoted(at(defaults)),
            true,
            [=](Target& t, const node& value, const std::string& key, reading& with) {
                const auto text = text_of(value, key, "/path", with);
                auto path = text ? path_of(value, *text, key, with) : std::nullopt;
                if (!path) return;
                while (path->size() > 1 && path->ends_with('/')) {
                    path->pop_back();
                }
                if (path->size() > longest) {
                    with.out.refuse(value.where, key,
                                    "has " + std::to_string(path->size()) + " bytes, at most " +
                                        std::to_string(longest) + " fit",
                                    "choose a shorter directory");
                    return;
                }
                at(t) = *path;
            }};
}

template <class Target>
key_spec<Target> special(std::string_view name, std::string_view type, std::string sample, bool has_default,
                         std::string_view help,
                         void (*read)(Target&, const node&, const std::string&, reading&))
{
    return {name, std::string(help), std::string(type), std::move(sample), has_default, read};
}

}  // namespace keyhole::config::making
