#include "config/file.hpp"
#include "config/node.hpp"
#include "config/toml.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace keyhole::config {
namespace {

constexpr std::size_t max_file = std::size_t{1024} * 1024;

std::string position(const std::string& path, const toml::source_region& at)
{
    return path + ":" + std::to_string(at.begin.line) + ":" + std::to_string(at.begin.column);
}

node convert(const toml::node& from, const std::string& path)
{
    node to;
    to.where = position(path, from.source());
    if (const auto* table = from.as_table()) {
        to.what = node::type::table;
        std::vector<const toml::key*>
            keys;  // as they stand in the file, so that mistakes are said in that order
        for (const auto& [key, value] : *table) {
            keys.push_back(&key);
        }
        std::sort(keys.begin(), keys.end(), [](const toml::key* a, const toml::key* b) {
            const auto &left = a->source().begin, &right = b->source().begin;
            return std::pair(left.line, left.column) < std::pair(right.line, right.column);
        });
        for (const toml::key* key : keys) {
            node member = convert(*table->get(key->str()), path);
            member.where = position(path, key->source());
            to.members.push_back({std::string(key->str()), std::move(member)});
        }
    } else if (const auto* array = from.as_array()) {
        to.what = node::type::list;
        for (const auto& element : *array) {
            to.list.push_back(convert(element, path));
        }
    } else if (const auto* text = from.as_string()) {
        to.what = node::type::string;
        to.text = text->get();
    } else if (const auto* integer = from.as_integer()) {
        to.what = node::type::integer;
        to.integer = integer->get();
        to.number = static_cast<double>(to.integer);
    } else if (const auto* number = from.as_floating_point()) {
        to.what = node::type::number;
        to.number = number->get();
    } else if (const auto* boolean = from.as_boolean()) {
        to.what = node::type::boolean;
        to.boolean = boolean->get();
    } else {
        to.what = node::type::other;
    }
    return to;
}

/// Everything in `value` comes from outside a file.
void mark(node& value, origin from, const std::string& where)
{
    value.from = from;
    value.where = where;
    for (node& item : value.list) {
        mark(item, from, where);
    }
    for (auto& [name, member] : value.members) {
        mark(member, from, where);
    }
}

/// The one value that `text` is in TOML, if it is one.
std::optional<node> toml_value(const std::string& text)
{
    // One line only: a line break could carry other keys.
    if (text.find_first_of("\r\n") != std::string::npos) return std::nullopt;
    try {
        const auto parsed = parse_toml("v = " + text, "");
        if (parsed.size() != 1 || !parsed.contains("v")) return std::nullopt;
        return convert(*parsed.get("v"), "");
    } catch (const toml_mistake&) {
        return std::nullopt;  // bare text
    }
}

/// "Error while parsing table header: expected ']'" -> "table header: expected ']'"
std::string plainer(const std::string& words)
{
    constexpr std::string_view opening = "Error while parsing ";
    return words.starts_with(opening) ? words.substr(opening.size()) : words;
}

void refuse(const std::string& path, const toml_mistake& mistake, findings& out)
{
    std::string what;
    std::string remedy;
    switch (mistake.is) {
    case toml_mistake::kind::syntax:
        what = "not valid TOML: " + plainer(mistake.what);
        remedy = "text stands in \"quotes\", a number has no unit, a section is [name]";
        break;
    case toml_mistake::kind::twice:
        what = "given twice: " + plainer(mistake.what);
        remedy = "keep one of the two";
        break;
    case toml_mistake::kind::stray:
        what = mistake.what;
        remedy = "remove it, or write the value in quotation marks";
        break;
    }
    out.refuse(path + ":" + std::to_string(mistake.line) + ":" + std::to_string(mistake.column), "",
               std::move(what), std::move(remedy));
}

}  // namespace

bool read_toml_file(const std::string& path, node& root, findings& out)
{
    const auto content = read_small_file(path, max_file);
    if (const auto* failure = std::get_if<std::string>(&content)) {
        out.refuse(path, "", *failure, "give the path of a readable TOML file, or none");
        return false;
    }
    try {
        root = convert(parse_toml(std::get<file_bytes>(content).view(), path), path);
    } catch (const toml_mistake& mistake) {
        refuse(path, mistake, out);
        return false;
    }
    root.where = path;
    return true;
}

node read_outside_value(const std::string& text, origin from, const std::string& where)
{
    node value;
    if (auto written = toml_value(text)) {
        value = std::move(*written);
    } else {
        value.what = node::type::string;
        value.text = text;
    }
    mark(value, from, where);
    value.bare = text;
    return value;
}

}  // namespace keyhole::config
