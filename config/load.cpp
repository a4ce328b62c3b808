#include "config/load.hpp"

#include "config/keys.hpp"
#include "config/secrets.hpp"
#include "config/toml.hpp"
#include "config/url.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <optional>
#include <set>
#include <sstream>
#include <unistd.h>

namespace keyhole::config {
namespace {

/// One value with the place where it was written.
struct written {
    raw_value value;
    std::string where;
};

struct provider_entry {
    std::string where;
    std::map<std::string, written> keys;
};

struct price_entry {
    std::string where;
    std::map<std::string, written> keys;
};

/// Everything that was written, before it means anything.
struct gathered {
    std::map<std::string, written> scalars;  ///< dotted key
    std::map<std::string, provider_entry> providers;
    std::vector<price_entry> prices;
};

class loader {
public:
    explicit loader(const sources& from) : from_(from)
    {
        if (from.getenv)
            getenv_ = from.getenv;
        else
            getenv_ = [](const char* name) -> const char* { return std::getenv(name); };
    }

    std::variant<settings, std::vector<problem>> run()
    {
        if (!from_.file.empty()) read_file();
        read_environment();
        read_overrides();
        take_scalars();
        take_providers();
        take_prices();
        if (problems_.empty()) check_whole();
        if (!problems_.empty()) return problems_;
        return std::move(out_);
    }

private:
    void complain(std::string where, std::string key, std::string what, std::string remedy)
    {
        problems_.push_back({std::move(where), std::move(key), std::move(what), std::move(remedy)});
    }

    std::string place(const toml::node& n) const
    {
        return from_.file + ':' + std::to_string(n.source().begin.line);
    }

    std::optional<raw_value> value_of(const toml::node& n, const std::string& key)
    {
        if (const auto* b = n.as_boolean()) return raw_value(b->get());
        if (const auto* i = n.as_integer()) return raw_value(i->get());
        if (const auto* d = n.as_floating_point()) return raw_value(d->get());
        if (const auto* s = n.as_string()) return raw_value(s->get());
        if (const auto* a = n.as_array()) {
            std::vector<std::string> list;
            for (const auto& item : *a) {
                const auto* s = item.as_string();
                if (s == nullptr) {
                    complain(place(item), key, "expected a list of strings", "quote each item");
                    return std::nullopt;
                }
                list.push_back(s->get());
            }
            return raw_value(list);
        }
        complain(place(n), key, "expected a plain value, got a table or a date", "see `keyhole config`");
        return std::nullopt;
    }

    void read_file()
    {
        std::ifstream in(from_.file);
        if (!in)
            return complain(from_.file, "file", "cannot be read",
                            "check the path and its permissions, or leave --config out");
        std::stringstream text;
        text << in.rdbuf();
        toml::table root;
        try {
            root = parse_toml(text.str(), from_.file);
        } catch (const toml_mistake& e) {
            return complain(from_.file + ':' + std::to_string(e.line), "TOML", e.what,
                            e.twice ? "each key and section may stand once"
                                    : "strings need quotes, sections stand in [brackets]");
        }
        for (const auto& [key, node] : root)
            read_section(std::string(key.str()), node);
    }

    std::vector<std::string_view> section_names() const
    {
        std::vector<std::string_view> out{"providers", "prices"};
        for (const auto& row : key_table())
            out.push_back(row.name.substr(0, row.name.find('.')));
        return out;
    }

    void read_section(const std::string& name, const toml::node& node)
    {
        if (name == "prices") return read_prices(node);
        const auto known = section_names();
        const auto* table = node.as_table();
        if (table == nullptr || std::find(known.begin(), known.end(), name) == known.end()) {
            const auto near = nearest(name, known);
            return complain(
                place(node), name, table == nullptr ? "a key outside of any section" : "unknown section",
                near.empty() ? "`keyhole config` prints all sections" : "did you mean [" + near + "]?");
        }
        if (name == "providers") return read_providers(*table);
        for (const auto& [key, value] : *table) {
            const auto dotted = name + '.' + std::string(key.str());
            if (find_key(dotted) == nullptr) {
                unknown_key(place(value), dotted);
                continue;
            }
            if (auto v = value_of(value, dotted)) out_of_file(dotted, {*v, place(value)});
        }
    }

    void out_of_file(const std::string& dotted, written w)
    {
        in_.scalars[std::string(find_key(dotted)->name)] = std::move(w);
    }

    void unknown_key(const std::string& where, const std::string& dotted)
    {
        std::vector<std::string_view> known;
        for (const auto& row : key_table())
            known.push_back(row.name);
        const auto near = nearest(dotted, known);
        complain(where, dotted, "unknown key",
                 near.empty() ? "`keyhole config` prints all keys" : "did you mean " + near + "?");
    }

    void read_providers(const toml::table& table)
    {
        for (const auto& [key, node] : table) {
            const std::string name(key.str());
            const auto* one = node.as_table();
            if (one == nullptr) {
                complain(place(node), "providers." + name, "expected a section",
                         "write [providers." + name + "]");
                continue;
            }
            auto& entry = in_.providers[name];
            entry.where = place(node);
            for (const auto& [k, v] : *one) {
                const std::string inner(k.str());
                const auto dotted = "providers." + name + '.' + inner;
                const auto& known = provider_keys();
                if (std::find(known.begin(), known.end(), inner) == known.end()) {
                    const auto near = nearest(inner, known);
                    complain(place(v), dotted, "unknown key",
                             near.empty() ? "`keyhole config` prints all keys"
                                          : "did you mean " + near + "?");
                    continue;
                }
                if (auto value = value_of(v, dotted)) entry.keys[inner] = {*value, place(v)};
            }
        }
    }

    void read_prices(const toml::node& node)
    {
        const auto* list = node.as_array();
        if (list == nullptr)
            return complain(place(node), "prices", "expected [[prices]] sections",
                            "write [[prices]] with format and path");
        for (const auto& item : *list) {
            const auto* one = item.as_table();
            if (one == nullptr) {
                complain(place(item), "prices", "expected a [[prices]] section",
                         "write [[prices]] with format and path");
                continue;
            }
            price_entry entry;
            entry.where = place(item);
            for (const auto& [k, v] : *one) {
                const std::string inner(k.str());
                const auto& known = price_keys();
                if (std::find(known.begin(), known.end(), inner) == known.end())
                    complain(place(v), "prices." + inner, "unknown key", "one of: format, path");
                else if (auto value = value_of(v, "prices." + inner))
                    entry.keys[inner] = {*value, place(v)};
            }
            in_.prices.push_back(std::move(entry));
        }
    }

    static std::string variable_of(std::string_view dotted)
    {
        std::string out = "KEYHOLE_";
        for (const char c : dotted)
            out += c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
        return out;
    }

    /// Text from the environment or the command line, read as the TOML value it looks like, else as a bare
    /// string.
    static raw_value guess(const std::string& text)
    {
        if (text.empty()) return text;
        try {
            const auto t = parse_toml("v = " + text, "value");
            const auto& n = *t.get("v");
            if (const auto* b = n.as_boolean()) return b->get();
            if (const auto* i = n.as_integer()) return i->get();
            if (const auto* d = n.as_floating_point()) return d->get();
            if (const auto* s = n.as_string()) return s->get();
            if (const auto* a = n.as_array()) {
                std::vector<std::string> list;
                for (const auto& item : *a)
                    if (const auto* s = item.as_string()) list.push_back(s->get());
                if (list.size() == a->size()) return list;
            }
        } catch (const toml_mistake&) {
            return text;
        }
        return text;
    }

    void read_environment()
    {
        for (const auto& row : key_table()) {
            if (row.name == "admin.token")
                continue;  // its variable holds the token itself, see take_scalars()
            const auto name = variable_of(row.name);
            if (const char* value = getenv_(name.c_str()))
                in_.scalars[std::string(row.name)] = {guess(value), "environment " + name};
        }
        std::vector<std::string> names = from_.environment_names;
        if (names.empty() && !from_.getenv)
            for (char** e = environ; *e != nullptr; ++e)
                names.emplace_back(*e, std::string_view(*e).find('='));
        // Variables of the other programs and of the command line, which are no keys of this configuration.
        const std::set<std::string> others{"KEYHOLE_CONFIG", "KEYHOLE_ADMIN_SOCKET", "KEYHOLE_ADMIN_TOKEN",
                                           "KEYHOLE_CORPUS", "KEYHOLE_LONG",         "KEYHOLE_ALLOW_SECRETS",
                                           "KEYHOLE_SESSION"};
        std::vector<std::string> all;
        for (const auto& row : key_table())
            all.push_back(variable_of(row.name));
        const std::vector<std::string_view> known(all.begin(), all.end());
        for (const auto& n : names) {
            if (!n.starts_with("KEYHOLE_") || others.contains(n) ||
                std::find(all.begin(), all.end(), n) != all.end())
                continue;
            const auto near = nearest(n, known);
            complain("environment " + n, n, "names no key of the configuration",
                     near.empty() ? "unset it" : "did you mean " + near + "?");
        }
    }

    void read_overrides()
    {
        for (const auto& [key, text] : from_.overrides) {
            const std::string where = "--set " + key;
            if (key.starts_with("providers.")) {
                const auto dot = key.find('.', 10);
                const auto inner = dot == std::string::npos ? std::string() : key.substr(dot + 1);
                const auto& known = provider_keys();
                if (std::find(known.begin(), known.end(), inner) == known.end())
                    unknown_key(where, key);
                else {
                    auto& entry = in_.providers[key.substr(10, dot - 10)];
                    if (entry.where.empty()) entry.where = where;
                    entry.keys[inner] = {guess(text), where};
                }
            } else if (find_key(key) == nullptr)
                unknown_key(where, key);
            else
                out_of_file(key, {guess(text), where});
        }
    }

    void take_scalars()
    {
        for (const auto& [name, w] : in_.scalars) {
            const auto* row = find_key(name);
            if (auto bad = row->take(out_, w.value)) complain(w.where, name, bad.what, bad.remedy);
        }
        const auto token = in_.scalars.find("admin.token");
        if (token != in_.scalars.end())
            if (const auto* reference = std::get_if<std::string>(&token->second.value);
                reference != nullptr && !reference->empty())
                out_.admin.token = secret_of(token->second.where, "admin.token", *reference);
        for (const char* name : {"KEYHOLE_ADMIN_TOKEN", "GHOSTPROXY_ADMIN_TOKEN"})
            if (const char* value = getenv_(name); !out_.admin.token && value != nullptr && *value != '\0')
                out_.admin.token = secret_of("environment", name, "env:" + std::string(name));
    }

    secret_ptr secret_of(const std::string& where, const std::string& key, const std::string& reference)
    {
        auto got = resolve_secret(reference, getenv_);
        if (!got.value) complain(where, key, got.what, got.remedy);
        if (!got.note.empty()) out_.notes.push_back(key + ": " + got.note);
        return got.value;
    }

    /// The preset's variable, or the same name with _FILE.
    secret_ptr preset_key(const provider_preset& preset)
    {
        const std::string name(preset.key_env);
        if (name.empty()) return nullptr;
        const auto file = name + "_FILE";
        if (const char* path = getenv_(file.c_str()); path != nullptr && *path != '\0') {
            out_.notes.push_back(std::string(preset.name) + ": key from the file that " + file + " names");
            return secret_of("environment " + file, "providers." + std::string(preset.name) + ".key",
                             "file:" + std::string(path));
        }
        if (const char* value = getenv_(name.c_str()); value != nullptr && *value != '\0') {
            out_.notes.push_back(std::string(preset.name) + ": key from " + name);
            return secret_of("environment " + name, "providers." + std::string(preset.name) + ".key",
                             "env:" + name);
        }
        return nullptr;
    }

    void take_providers()
    {
        for (const auto& preset : provider_presets()) {
            if (in_.providers.contains(std::string(preset.name)) || preset.base_url.empty()) continue;
            if (auto key = preset_key(preset)) {
                auto p = provider_of(preset);
                p.keys.push_back(std::move(key));
                out_.providers.push_back(std::move(p));
            }
        }
        for (const auto& [name, entry] : in_.providers)
            take_provider(name, entry);
    }

    const written* find(const provider_entry& e, const std::string& key) const
    {
        const auto at = e.keys.find(key);
        return at == e.keys.end() ? nullptr : &at->second;
    }

    void take_provider(const std::string& name, const provider_entry& e)
    {
        const std::string section = "providers." + name;
        const auto before = problems_.size();
        const auto bad = [&](const written& w, const std::string& key, const verdict& v) {
            complain(w.where, section + '.' + key, v.what, v.remedy);
        };
        for (const char c : name)
            if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
                return complain(e.where, section, "the name is not usable in paths", "use a-z, 0-9 and -");
        if (name.empty() || name.size() > 32 || name == "v1" || name == "v1beta")
            return complain(e.where, section, "the name is not usable in paths",
                            "choose another name of at most 32 bytes");
        if (const auto* w = find(e, "enabled")) {
            const auto* on = std::get_if<bool>(&w->value);
            if (on == nullptr) return bad(*w, "enabled", {"expected true or false", "write true or false"});
            if (!*on) return;
        }
        const auto* preset = find_provider_preset(name);
        provider p = preset != nullptr ? provider_of(*preset) : provider{};
        p.name = name;
        bool allow_plain = false;
        if (const auto* w = find(e, "allow_plain_http")) {
            if (const auto* b = std::get_if<bool>(&w->value))
                allow_plain = *b;
            else
                bad(*w, "allow_plain_http", {"expected true or false", "write true or false"});
        }
        if (const auto* w = find(e, "api"))
            take_api(*w, section, p);
        else if (preset == nullptr)
            complain(e.where, section + ".api", "is missing", "say which API it speaks: openai, anthropic");
        if (const auto* w = find(e, "base_url")) {
            std::string url;
            if (const auto v = take_text(w->value, url))
                bad(*w, "base_url", v);
            else if (const auto what = set_base_url(p, url, allow_plain); !what.empty())
                bad(*w, "base_url", {"\"" + url + "\" " + what, "for example https://api.example.com/v1"});
        } else if (p.host.empty())
            complain(e.where, section + ".base_url", "is missing", "for example https://api.example.com/v1");
        if (const auto* w = find(e, "credential")) take_credential(*w, section, p);
        if (const auto* w = find(e, "ca_file")) {
            if (const auto v = take_text(w->value, p.ca_file))
                bad(*w, "ca_file", v);
            else if (::access(p.ca_file.c_str(), R_OK) != 0)
                bad(*w, "ca_file",
                    {"the file " + p.ca_file + " cannot be read", "check the path and its permissions"});
        }
        const std::pair<const char*, double provider::*> times[] = {
            {"connect_timeout", &provider::connect_timeout},
            {"first_byte_timeout", &provider::first_byte_timeout},
            {"idle_timeout", &provider::idle_timeout},
            {"keepalive", &provider::keepalive}};
        for (const auto& [key, field] : times)
            if (const auto* w = find(e, key))
                if (const auto v = take_number(w->value, 0.001, 86'400, p.*field)) bad(*w, key, v);
        if (const auto* w = find(e, "max_idle_connections")) {
            double n = 0;
            if (const auto v = take_number(w->value, 0, 10'000, n)) bad(*w, "max_idle_connections", v);
            p.max_idle_connections = static_cast<unsigned>(n);
        }
        take_keys(e, section, preset, p);
        if (problems_.size() == before) out_.providers.push_back(std::move(p));
    }

    void take_api(const written& w, const std::string& section, provider& p)
    {
        const auto* name = std::get_if<std::string>(&w.value);
        for (const auto d : {dialect::openai, dialect::anthropic})
            if (name != nullptr && *name == to_string(d)) {
                p.api = d;
                p.credential = d == dialect::anthropic ? credential_style::x_api_key : p.credential;
                return;
            }
        complain(w.where, section + ".api", "unknown API", "one of: openai, anthropic");
    }

    void take_credential(const written& w, const std::string& section, provider& p)
    {
        const auto* name = std::get_if<std::string>(&w.value);
        for (const auto c : {credential_style::bearer, credential_style::x_api_key, credential_style::api_key,
                             credential_style::x_goog_api_key, credential_style::none})
            if (name != nullptr && *name == to_string(c)) {
                p.credential = c;
                return;
            }
        complain(w.where, section + ".credential", "unknown way to send the key",
                 "one of: bearer, x-api-key, api-key, x-goog-api-key, none");
    }

    void take_keys(const provider_entry& e, const std::string& section, const provider_preset* preset,
                   provider& p)
    {
        std::vector<std::pair<std::string, std::string>> references;
        for (const auto* name : {"key", "keys"}) {
            const auto* w = find(e, name);
            if (w == nullptr) continue;
            if (const auto* one = std::get_if<std::string>(&w->value))
                references.emplace_back(w->where, *one);
            else if (const auto* many = std::get_if<std::vector<std::string>>(&w->value))
                for (const auto& r : *many)
                    references.emplace_back(w->where, r);
            else
                complain(w->where, section + '.' + name, "expected a reference",
                         "write env:NAME or file:/path");
        }
        for (const auto& [where, reference] : references)
            if (auto key = secret_of(where, section + ".key", reference)) p.keys.push_back(std::move(key));
        if (references.empty() && preset != nullptr)
            if (auto key = preset_key(*preset)) p.keys.push_back(std::move(key));
        if (p.keys.empty() && references.empty() && p.credential != credential_style::none)
            complain(e.where, section + ".key", "is missing",
                     preset != nullptr
                         ? "set " + std::string(preset->key_env) +
                               ", or write key = \"env:NAME\" or \"file:/path\""
                         : "write key = \"env:NAME\" or \"file:/path\", or credential = \"none\"");
    }

    void take_prices()
    {
        for (const auto& e : in_.prices) {
            price_file file;
            const auto format = e.keys.find("format");
            const auto path = e.keys.find("path");
            if (path == e.keys.end()) {
                complain(e.where, "prices.path", "is missing", "name the file");
                continue;
            }
            if (const auto bad = take_text(path->second.value, file.path))
                complain(path->second.where, "prices.path", bad.what, bad.remedy);
            else if (::access(file.path.c_str(), R_OK) != 0)
                complain(path->second.where, "prices.path", "the file " + file.path + " cannot be read",
                         "check the path and its permissions");
            if (format != e.keys.end()) {
                std::string name;
                if (const auto bad = take_text(format->second.value, name))
                    complain(format->second.where, "prices.format", bad.what, bad.remedy);
                else if (name == "keyhole")
                    file.format = price_format::keyhole;
                else if (name == "litellm")
                    file.format = price_format::litellm;
                else if (name == "models.dev")
                    file.format = price_format::models_dev;
                else
                    complain(format->second.where, "prices.format", "unknown format \"" + name + "\"",
                             "one of: keyhole, litellm, models.dev");
            }
            out_.prices.push_back(file);
        }
    }

    std::string where_of(const std::string& key) const
    {
        const auto at = in_.scalars.find(key);
        return at == in_.scalars.end() ? "default" : at->second.where;
    }

    /// What only the whole can tell.
    void check_whole()
    {
        if (out_.providers.empty())
            complain("configuration", "providers", "no provider is configured",
                     "set OPENAI_API_KEY or ANTHROPIC_API_KEY (or the key of another known provider), or "
                     "write a [providers.NAME] section");
        if (out_.admin.tcp && !out_.admin.token)
            complain(where_of("admin.tcp"), "admin.tcp", "an admin listener on TCP needs admin.token",
                     "set admin.token = \"env:NAME\" or \"file:/path\"");
        if (out_.admin.socket.size() > 107)
            complain(where_of("admin.socket"), "admin.socket",
                     "\"" + out_.admin.socket + "\" has " + std::to_string(out_.admin.socket.size()) +
                         " bytes, a unix socket's path may have 107",
                     "choose a shorter directory");
        if (out_.agents.sockets.empty() && out_.agents.tcp.empty())
            complain(where_of("agents.sockets"), "agents.sockets", "no listener for agents is left",
                     "name a socket or a TCP address");
        if (!out_.agents.socket_group.empty() && ::getgrnam(out_.agents.socket_group.c_str()) == nullptr)
            complain(where_of("agents.socket_group"), "agents.socket_group",
                     "the group \"" + out_.agents.socket_group + "\" does not exist",
                     "create it, or name another");
        if (out_.metrics.tcp && out_.metrics.tcp->host != "127.0.0.1" && out_.metrics.tcp->host != "::1")
            out_.notes.push_back(
                "metrics.listen is not loopback: whoever reaches it reads spend and model names");

        // What a sandbox mounts holds its socket and nothing else, at no depth.
        namespace fs = std::filesystem;
        std::set<fs::path> mounted;
        for (const auto& s : out_.agents.sockets)
            mounted.insert(fs::path(s).lexically_normal().parent_path());
        const auto below = [](const fs::path& inner, const fs::path& outer) {
            const auto relative = inner.lexically_relative(outer);
            return !relative.empty() && *relative.begin() != "..";
        };
        const auto apart = [&](const std::string& key, const fs::path& directory) {
            const auto normal = directory.lexically_normal();
            for (const auto& m : mounted)
                if (below(normal, m) || normal == m)
                    complain(where_of(key), key,
                             normal.string() + " lies in " + m.string() +
                                 ", the directory of an agents' socket, which sandboxes mount",
                             "keep sockets, keys, configuration and state in directories of their own");
        };
        apart("agents.session_sockets", out_.agents.session_sockets);
        mounted.insert(fs::path(out_.agents.session_sockets).lexically_normal());
        apart("admin.socket", fs::path(out_.admin.socket).parent_path());
        apart("state.directory", fs::path(out_.store.directory));
        if (!from_.file.empty()) apart("file", fs::absolute(from_.file).parent_path());
    }

    const sources& from_;
    std::function<const char*(const char*)> getenv_;
    gathered in_;
    settings out_;
    std::vector<problem> problems_;
};

}  // namespace

std::string to_string(const problem& p)
{
    return p.where + ": " + p.key + ": " + p.what + " (" + p.remedy + ")";
}

std::variant<settings, std::vector<problem>> load(const sources& from)
{
    return loader(from).run();
}

std::string example_toml()
{
    std::string out =
        "# Keyhole's configuration: every key with its default. Command line (--set) over environment "
        "(KEYHOLE_SECTION_KEY)\n"
        "# over this file. Secrets stand here by reference only: \"env:NAME\" or \"file:/path\".\n";
    std::string section;
    for (const auto& row : key_table()) {
        const auto dot = row.name.find('.');
        if (row.name.substr(0, dot) != section) {
            section = row.name.substr(0, dot);
            out += "\n[" + section + "]\n";
        }
        out += "# ";
        out += row.about;
        out += '\n';
        out += row.name.substr(dot + 1);
        out += " = ";
        out += row.shown;
        out += '\n';
    }
    out += R"(
# Known providers (openai, anthropic, mistral, deepseek, groq, xai, together, fireworks, openrouter, cerebras, perplexity)
# need no section: their usual variable, e.g. OPENAI_API_KEY or OPENAI_API_KEY_FILE, enables them.
# [providers.openai]
# enabled = true
# base_url = "https://api.openai.com/v1"  # with the version segment; plain http only for loopback
# key = "env:OPENAI_API_KEY"              # or keys = ["file:/etc/keyhole-keys/a", "file:/etc/keyhole-keys/b"]
# ca_file = ""                            # PEM file instead of the system's certificate store
# connect_timeout = 10                    # seconds: DNS, TCP, TLS
# first_byte_timeout = 600
# idle_timeout = 600                      # between two bytes of an answer
# max_idle_connections = 32               # per worker
# keepalive = 55
# A provider of your own, reached at /mine/v1/…:
# [providers.mine]
# api = "openai"                          # or "anthropic"
# base_url = "http://127.0.0.1:8000/v1"
# credential = "none"                     # or bearer, x-api-key, api-key, x-goog-api-key
# allow_plain_http = false                # true: http:// to other machines, keys readable on the way

# Prices laid over the built-in table, in order.
# [[prices]]
# format = "keyhole"                      # or litellm, models.dev
# path = "/etc/keyhole/prices.toml"
)";
    return out;
}

}  // namespace keyhole::config
