#include "config/separation.hpp"

#include "config/url.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>

namespace keyhole::config {
namespace {

namespace fs = std::filesystem;

enum class kind : std::uint8_t { agents, sessions, admin, state, configuration, secret };

/// A directory and what it is for.
struct place {
    fs::path directory;  ///< with symbolic links resolved as far as it exists
    enum kind kind;
    std::string role;  ///< "the agents' sockets"
    std::string key;
    std::string where;
    bool mounted;  ///< sandboxes get it whole
};

fs::path resolved(const fs::path& directory)
{
    std::error_code ec;
    const fs::path absolute = fs::absolute(directory, ec);
    fs::path real = fs::weakly_canonical(absolute, ec);
    if (ec) real = absolute.lexically_normal();
    return real.has_filename() ? real : real.parent_path();
}

std::string where_of(const node& root, std::string_view section, std::string_view name,
                     std::string_view alias = {})
{
    const node* table = root.find(section);
    const node* at = table != nullptr ? table->find(name) : nullptr;
    if (at == nullptr && table != nullptr && !alias.empty()) at = table->find(alias);
    return at != nullptr ? at->where : "default";
}

bool is_below(const fs::path& inner, const fs::path& outer)
{
    return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

/// Says once what stands where it must not. A value that was given is blamed rather than a default.
void check_pair(const place& a, const place& b, std::set<std::string>& said, findings& out)
{
    if (a.kind == b.kind) return;
    const place& blamed = b.where == "default" || b.key.empty() ? a : b;
    const place& other = &blamed == &a ? b : a;
    std::string what;
    if (a.directory == b.directory) {
        what = blamed.role + " and " + other.role + " share the directory " + a.directory.string();
    } else if (a.mounted && is_below(b.directory, a.directory)) {
        what = "the directory of " + a.role + ", which sandboxes mount, holds that of " + b.role;
    } else if (b.mounted && is_below(a.directory, b.directory)) {
        what = "the directory of " + b.role + ", which sandboxes mount, holds that of " + a.role;
    } else {
        return;
    }
    if (said.insert(what).second)
        out.refuse(blamed.where, blamed.key, what, "give each a directory of its own, not below a sandbox's");
}

}  // namespace

void check_separation(const settings& s, const std::string& config_file,
                      const std::vector<secret_source::file>& secret_files, const node& root, findings& out)
{
    std::vector<place> places;
    for (const std::string& socket : s.agents.sockets) {
        places.push_back({resolved(fs::path(socket).parent_path()), kind::agents, "the agents' sockets",
                          "agents.sockets", where_of(root, "agents", "sockets", "socket"), true});
    }
    places.push_back({resolved(s.agents.session_sockets), kind::sessions, "the sessions' own sockets",
                      "agents.session_sockets", where_of(root, "agents", "session_sockets"), true});
    places.push_back({resolved(fs::path(s.admin.socket).parent_path()), kind::admin, "the admin socket",
                      "admin.socket", where_of(root, "admin", "socket"), false});
    places.push_back({resolved(s.store.directory), kind::state, "the state", "state.directory",
                      where_of(root, "state", "directory"), false});
    if (!config_file.empty()) {
        places.push_back({resolved(fs::absolute(config_file).parent_path()), kind::configuration,
                          "the configuration file", "", config_file, false});
    }
    for (const auto& file : secret_files) {
        places.push_back({resolved(fs::path(file.path).parent_path()), kind::secret,
                          "the secret's file " + file.path, file.key, file.where, false});
    }

    std::set<std::string> said;
    for (std::size_t i = 0; i < places.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            check_pair(places[j], places[i], said, out);
        }
    }
}

void check_listeners(const settings& s, const node& root, findings& out)
{
    std::set<std::string> taken;
    const auto claim = [&](const std::string& address, const std::string& key, const std::string& where) {
        if (!taken.insert(address).second)
            out.refuse(where, key, address + " is listened on twice", "choose another address");
    };
    const auto claim_tcp = [&](const tcp_address& a, const std::string& key, const std::string& where) {
        if (a.port != 0) claim(to_string(a), key, where);
    };
    for (const std::string& socket : s.agents.sockets) {
        claim(fs::path(socket).lexically_normal().string(), "agents.sockets",
              where_of(root, "agents", "sockets", "socket"));
    }
    claim(fs::path(s.admin.socket).lexically_normal().string(), "admin.socket",
          where_of(root, "admin", "socket"));
    for (const tcp_address& a : s.agents.tcp) {
        claim_tcp(a, "agents.tcp", where_of(root, "agents", "tcp"));
    }
    if (s.admin.tcp) claim_tcp(*s.admin.tcp, "admin.tcp", where_of(root, "admin", "tcp"));
    if (s.metrics.tcp) claim_tcp(*s.metrics.tcp, "metrics.listen", where_of(root, "metrics", "listen"));

    if (s.admin.tcp && !s.admin.token &&
        (root.find("admin") == nullptr || root.find("admin")->find("token") == nullptr))
    {
        out.refuse(where_of(root, "admin", "tcp"), "admin.tcp",
                   "a TCP listener for the admin API needs a token",
                   "admin.token = \"env:NAME\" or \"file:/path\", or leave admin.tcp out");
    }
    if (!s.admin.tcp && s.admin.token)
        out.note("admin.token has no effect without admin.tcp: the admin socket checks the peer's uid");
}

}  // namespace keyhole::config
