#include "config/load.hpp"

#include "config/node.hpp"
#include "config/provider_reader.hpp"
#include "config/schema.hpp"
#include "config/secret_source.hpp"
#include "config/separation.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <unistd.h>

namespace keyhole::config {
namespace {

const std::string env_prefix = "KEYHOLE_";
const std::string provider_env_prefix = "KEYHOLE_PROVIDERS_";

bool is_secret(std::string_view key)
{
    return key == "key" || key == "keys" || key == "token";
}

std::string lower(std::string_view text)
{
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return out;
}

std::vector<std::string> split(std::string_view dotted)
{
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t dot = dotted.find('.');
        parts.emplace_back(dotted.substr(0, dot));
        if (dot == std::string_view::npos) return parts;
        dotted.remove_prefix(dot + 1);
    }
}

/// Names of the environment that begin with KEYHOLE_ without being keys: what the command line, the programs
/// in the sandbox and the tests read, and what Kubernetes sets in every pod beside a service named keyhole or
/// keyhole-….
bool is_foreign(std::string_view name)
{
    constexpr std::array<std::string_view, 11> ours{
        "KEYHOLE_CONFIG",     "KEYHOLE_SESSION",    "KEYHOLE_ALLOW_SECRETS", "KEYHOLE_KEEP_ENV",
        "KEYHOLE_SINGLE_UID", "KEYHOLE_PROXY_WAIT", "KEYHOLE_GRACE",         "KEYHOLE_BIN",
        "KEYHOLE_KEEP",       "KEYHOLE_LONG",       "KEYHOLE_CORPUS"};
    if (std::find(ours.begin(), ours.end(), name) != ours.end()) return true;
    if (name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != std::string_view::npos) return true;
    const std::size_t port = name.find("_PORT");
    if (port == std::string_view::npos) return false;
    const std::string_view rest = name.substr(port + 5);
    return rest.empty() || (rest.size() > 1 && rest[0] == '_' && rest[1] >= '0' && rest[1] <= '9');
}

/// Lays the environment's KEYHOLE_… over the tree.
class environment_layer {
public:
    environment_layer(node& root, const secret_source& environment, findings& out)
        : root_(root), environment_(environment), out_(out)
    {
    }

    void apply(const std::vector<std::string>& names)
    {
        for (const section_spec& section : sections()) {
            for (const auto& key : section.keys) {
                const std::string name = env_prefix + upper(section.name) + "_" + upper(key.name);
                take(name, {std::string(section.name), std::string(key.name)});
            }
        }
        // What an orchestrator written for GhostProxy sets already.
        const std::string ghost = "GHOSTPROXY_ADMIN_TOKEN";
        if (environment_.variable(ghost) != nullptr && !is_given("admin", "token"))
            lay({"admin", "token"}, reference("env:" + ghost, "environment " + ghost));
        for (const std::string& name : names) {
            if (!name.starts_with(env_prefix) || environment_.variable(name) == nullptr) continue;
            if (std::find(known_.begin(), known_.end(), name) != known_.end() || is_foreign(name) ||
                provider_key(name))
                continue;
            const auto all = every_name();
            const std::vector<std::string_view> candidates(all.begin(), all.end());
            out_.refuse(
                "environment " + name, "", "names no key",
                did_you_mean(name, candidates, "KEYHOLE_SECTION_KEY; keyhole config prints all keys"));
        }
    }

private:
    /// A secret is not copied out of the environment: the tree gets a reference to it.
    void take(const std::string& name, const std::vector<std::string>& path)
    {
        known_.push_back(name);
        const std::string where = "environment " + name;
        const char* value = environment_.variable(name);
        if (!is_secret(path.back())) {
            if (value != nullptr) lay(path, read_outside_value(value, origin::environment, where));
            return;
        }
        known_.push_back(name + "_FILE");
        const char* file = environment_.variable(name + "_FILE");
        if (value != nullptr && file != nullptr) {
            out_.refuse(where, "", name + " and " + name + "_FILE are both set", "unset one of them");
        } else if (file != nullptr) {
            lay(path, reference("file:" + std::string(file), where + "_FILE"));
        } else if (value != nullptr) {
            const std::string_view text = value;
            const bool written_as_reference =
                text.starts_with("env:") || text.starts_with("file:") || path.back() == "keys";
            lay(path, written_as_reference ? read_outside_value(value, origin::environment, where)
                                           : reference("env:" + name, where));
        }
    }

    static node reference(std::string text, const std::string& where)
    {
        node at;
        at.what = node::type::string;
        at.text = std::move(text);
        at.where = where;
        at.from = origin::environment;
        return at;
    }

    bool is_given(std::string_view section, std::string_view key) const
    {
        const node* table = root_.find(section);
        return table != nullptr && table->find(key) != nullptr;
    }

    void lay(const std::vector<std::string>& path, node value)
    {
        const std::string where = value.where;
        if (!overlay(root_, path, std::move(value)))
            out_.refuse(where, "", path.front() + " is no section in the file", "[" + path.front() + "]");
    }

    /// KEYHOLE_PROVIDERS_NAME_KEY; the key is known, so the rest is the name.
    bool provider_key(const std::string& name)
    {
        if (!name.starts_with(provider_env_prefix)) return false;
        std::string_view rest = std::string_view(name).substr(provider_env_prefix.size());
        const bool is_file = rest.ends_with("_KEY_FILE");
        if (is_file) rest.remove_suffix(5);
        const key_spec<provider_draft>* best = nullptr;
        for (const auto& key : provider_keys()) {
            const std::string suffix = "_" + upper(key.name);
            if (rest.ends_with(suffix) && rest.size() > suffix.size() &&
                (best == nullptr || key.name.size() > best->name.size()))
                best = &key;
        }
        if (best == nullptr) return false;
        const std::string provider = provider_name(rest.substr(0, rest.size() - best->name.size() - 1));
        const std::string variable = is_file ? name.substr(0, name.size() - 5) : name;
        if (std::find(known_.begin(), known_.end(), variable) == known_.end())
            take(variable, {"providers", provider, std::string(best->name)});
        return true;
    }

    /// What a misspelt name may have meant.
    std::vector<std::string> every_name() const
    {
        std::vector<std::string> all = known_;
        const auto add = [&](std::string_view provider) {
            for (const auto& key : provider_keys()) {
                all.push_back(provider_env_prefix + upper(provider) + "_" + upper(key.name));
            }
        };
        for (const provider_preset& preset : provider_presets()) {
            add(preset.name);
        }
        if (const node* table = root_.find("providers")) {
            for (const auto& [name, section] : table->members) {
                add(name);
            }
        }
        return all;
    }

    /// The configured provider that is spelled so in capitals, else the capitals in lower case.
    std::string provider_name(std::string_view capitals) const
    {
        if (const node* table = root_.find("providers")) {
            for (const auto& [name, section] : table->members) {
                if (upper(name) == capitals) return name;
            }
        }
        return lower(capitals);
    }

    node& root_;
    const secret_source& environment_;
    findings& out_;
    std::vector<std::string> known_;
};

void apply_overrides(node& root, const std::map<std::string, std::string>& overrides, findings& out)
{
    for (const auto& [key, text] : overrides) {
        const std::string where = "--set " + key;
        const auto path = split(key);
        const bool named =
            std::none_of(path.begin(), path.end(), [](const std::string& part) { return part.empty(); });
        if (!named) {
            out.refuse(where, key, "not the name of a key", "write it like --set log.level=debug");
        } else if (!overlay(root, path, read_outside_value(text, origin::command_line, where))) {
            out.refuse(where, key, "a part of it before the last is no section",
                       "write it like --set log.level=debug");
        }
    }
}

std::vector<price_file> read_prices(const node& list, reading& with)
{
    std::vector<price_file> files;
    const bool tables = list.what == node::type::list &&
                        std::all_of(list.list.begin(), list.list.end(),
                                    [](const node& n) { return n.what == node::type::table; });
    if (!tables) {
        with.out.refuse(list.where, "prices", "expected a list of sections",
                        "[[prices]] with format and path below it");
        return files;
    }
    for (const node& entry : list.list) {
        price_file file;
        read_members(price_keys(), entry, "prices", file, with);
        if (entry.find("path") == nullptr)
            with.out.refuse(entry.where, "prices.path", "not given", "path = \"/…\"");
        files.push_back(std::move(file));
    }
    return files;
}

/// "level" at the top: of which section is it a key?
std::string home_of(std::string_view name)
{
    for (const section_spec& section : sections()) {
        for (const auto& key : section.keys) {
            if (key.name == name) return "it belongs in [" + std::string(section.name) + "]";
        }
    }
    std::vector<std::string_view> all = names_of(sections());
    all.insert(all.end(), {"providers", "prices"});
    return did_you_mean(name, all, "keyhole config prints all sections");
}

void read_tree(const node& root, settings& s, reading& with)
{
    for (const auto& [name, value] : root.members) {
        if (name == "providers" || name == "prices") continue;
        const auto& all = sections();
        const auto section =
            std::find_if(all.begin(), all.end(), [&](const auto& spec) { return spec.name == name; });
        if (section == all.end()) {
            with.out.refuse(value.where, name,
                            value.what == node::type::table ? "unknown section" : "unknown key",
                            home_of(name));
        } else if (value.what != node::type::table) {
            with.out.refuse(value.where, name, "expected a section", "[" + name + "] with its keys below it");
        } else {
            read_members(section->keys, value, name, s, with);
        }
    }
    if (const node* prices = root.find("prices")) s.prices = read_prices(*prices, with);
    const node* providers = root.find("providers");
    if (providers != nullptr && providers->what != node::type::table) {
        with.out.refuse(providers->where, "providers", "expected a section",
                        "[providers.NAME] with its keys below it");
    } else {
        s.providers = read_providers(providers, with);
    }
    if (s.agents.sockets.empty() && s.agents.tcp.empty() && with.out.problems.empty()) {
        with.out.refuse("configuration", "agents.sockets", "agents have nowhere to connect",
                        "name a socket, or an address in agents.tcp");
    }
}

std::vector<std::string> process_environment_names()
{
    std::vector<std::string> names;
    for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        names.emplace_back(text.substr(0, text.find('=')));
    }
    return names;
}

}  // namespace

std::string to_string(const problem& p)
{
    std::string text = p.where;
    const bool told = p.where == "--set " + p.key;
    for (const std::string* part : {&p.key, &p.what}) {
        if (!part->empty() && !(told && part == &p.key)) text += (text.empty() ? "" : ": ") + *part;
    }
    if (!p.remedy.empty()) text += " (" + p.remedy + ")";
    // One line, whatever stood in a name or a path.
    std::replace_if(
        text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; },
        '?');
    return text;
}

std::variant<settings, std::vector<problem>> load(const sources& from)
{
    findings out;
    secret_source secrets(
        from.getenv ? from.getenv : [](const char* name) -> const char* { return std::getenv(name); }, out);
    node root;
    const bool readable = from.file.empty() || read_toml_file(from.file, root, out);
    environment_layer(root, secrets, out)
        .apply(from.environment_names.empty() ? process_environment_names() : from.environment_names);
    apply_overrides(root, from.overrides, out);
    if (!readable) return std::move(out.problems);

    settings s;
    reading with{out, secrets};
    read_tree(root, s, with);
    check_listeners(s, root, out);
    check_separation(s, from.file, secrets.files(), root, out);
    if (!out.problems.empty()) return std::move(out.problems);
    s.notes = std::move(out.notes);
    return s;
}

}  // namespace keyhole::config
