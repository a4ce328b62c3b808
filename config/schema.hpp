// Every key that can be configured, in one table: its name, what it is for, its default, how it is read and
// checked. Reading, the environment's names, "did you mean", and the example all come from here, so they
// cannot disagree. Thread rule: immutable; used by load() and example_toml().
#pragma once

#include "config/node.hpp"
#include "config/secret_source.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::config {

/// What reading a value may use besides the value.
struct reading {
    findings& out;
    secret_source& secrets;
};

template <class Target>
struct key_spec {
    std::string_view name;
    std::string help;    ///< one line
    std::string type;    ///< with unit and bounds: "seconds, 0 to 86400"
    std::string sample;  ///< the default as TOML, or, where there is none, an example
    bool has_default = true;
    std::function<void(Target&, const node&, const std::string& key, reading&)> read;
};

struct section_spec {
    std::string_view name;
    std::string_view help;
    std::vector<key_spec<settings>> keys;
};

/// A provider while it is put together: what is written decides only when all of it is known.
struct provider_draft {
    provider result;
    bool enabled = true;
    bool allow_plain_http = false;
    std::string base_url;
    std::string base_url_where;
    std::optional<dialect> api;
    std::optional<credential_style> credential;
    std::vector<const node*> keys;
};

const std::vector<section_spec>& sections();
const std::vector<key_spec<provider_draft>>& provider_keys();
const std::vector<key_spec<price_file>>& price_keys();

template <class Spec>
std::vector<std::string_view> names_of(const std::vector<Spec>& specs)
{
    std::vector<std::string_view> names;
    names.reserve(specs.size());
    for (const auto& spec : specs) {
        names.push_back(spec.name);
    }
    return names;
}

/// "one of: format, path", where that is short enough to be read.
std::string known_names(const std::vector<std::string_view>& names);

/// Reads each member of `table` into `target`; unknown ones are problems. `prefix`: "log",
/// "providers.openai".
template <class Target>
void read_members(const std::vector<key_spec<Target>>& keys, const node& table, const std::string& prefix,
                  Target& target, reading& with)
{
    for (const auto& [name, value] : table.members) {
        std::string full = prefix;
        full += '.';
        full += name;
        const key_spec<Target>* spec = nullptr;
        for (const auto& k : keys) {
            if (k.name == name) spec = &k;
        }
        if (spec == nullptr) {
            with.out.refuse(value.where, full, "unknown key",
                            did_you_mean(name, names_of(keys), known_names(names_of(keys))));
            continue;
        }
        const std::string_view other = other_name(name);
        if (name < other && table.find(other) != nullptr) {
            with.out.refuse(value.where, full,
                            "stands beside " + std::string(other) + ", which means the same",
                            "keep one of the two");
        }
        spec->read(target, value, full, with);
    }
}

}  // namespace keyhole::config
