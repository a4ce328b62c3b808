// How `keyhole run` puts a command into a sandbox without a network: the program to start, its arguments and
// its environment, for a container engine or for Linux namespaces (bubblewrap). Nothing is started here.
// Values of variables stand in the environment only, never among the arguments, which every user of the
// machine can read. Plain functions; they throw std::runtime_error with the cause and the remedy.
#pragma once

#include <string>
#include <vector>

namespace keyhole::proxy::cli {

/// What the person asked for, and the session that was made for it.
struct sandbox_wish {
    std::vector<std::string> command;
    std::string socket_directory;        ///< of the session's own socket; no token exists
    std::string workspace;               ///< absolute; the agent's /workspace, writable
    std::vector<std::string> volumes;    ///< "SOURCE:TARGET" or "SOURCE:TARGET:ro"
    std::vector<std::string> variables;  ///< "NAME=VALUE" for the agent
    std::string image;                   ///< containers
    std::string engine;                  ///< "docker" or "podman"; empty: namespaces
    bool terminal = false;               ///< the agent gets this terminal
    int passwd = -1;                     ///< namespaces: descriptors whose contents become /etc/passwd and
    int group = -1;                      ///< /etc/group; they stay open over exec
};

struct sandbox_plan {
    std::vector<std::string> arguments;    ///< the first is the program, looked for in PATH
    std::vector<std::string> environment;  ///< "NAME=VALUE"
};

sandbox_plan plan_container(const sandbox_wish& wish);
/// `programs`: the directory of keyhole-init and keyhole-bridge.
sandbox_plan plan_namespaces(const sandbox_wish& wish, const std::string& programs);

/// The agent's name and home, as the two files have them.
extern const char* const agent_passwd;
extern const char* const agent_group;

/// Where an agent may work: an existing directory that does not hold what must stay on the host (`secrets`:
/// paths of sockets, state, configuration). Returns it absolute and resolved.
std::string checked_workspace(const std::string& directory, const std::vector<std::string>& secrets);

/// Whether an agent that shares this terminal cannot type into it (dev.tty.legacy_tiocsti is 0; Linux 6.2).
bool terminal_is_safe();

}  // namespace keyhole::proxy::cli
