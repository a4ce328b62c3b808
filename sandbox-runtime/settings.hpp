// The init's command line and environment, checked. The environment contract of docs/sandbox.md is this file.
#pragma once

#include "sandbox-runtime/users.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace keyhole::runtime {

/// What a signal from outside becomes for the agent: its own number, but for `--rewrite 15:2`. Indexed by
/// number.
using signal_table = std::array<std::uint8_t, 65>;
constexpr signal_table own_signals() noexcept
{
    signal_table table{};
    for (std::size_t i = 0; i < table.size(); ++i)
        table[i] = static_cast<std::uint8_t>(i);
    return table;
}

enum class look { none, text, json };  ///< the doctor's report

struct settings {
    std::vector<std::string> command;
    std::string socket = "/llm-sock/llm.sock";
    bool socket_was_named = false;
    std::uint16_t port = 8080;
    int proxy_wait_seconds = 3;  ///< for a proxy that is starting at the same time
    std::string workdir = "/workspace";
    bool workdir_was_named = false;  ///< AGENT_WORKDIR
    bool workdir_was_given = false;  ///< the image's, or docker run -w
    std::string token_file = "/run/secrets/session_token";
    bool token_file_was_named = false;
    std::string bridge_program;
    bool bridge_was_named = false;
    bool bridge_is_own_program = false;  ///< one file for both: argv[0] chooses
    std::vector<std::string> allowed_secrets;
    std::vector<std::string> kept_variables;
    std::string hand_off;          ///< yes or no for the bridge; empty: its default
    int connect_wait_seconds = 5;  ///< the bridge's: for an absent proxy, before a 503
    int max_connections = 16'384;  ///< the bridge's
    std::vector<std::string> dropped_variables;
    std::string secrets_directory = "/run/secrets";
    signal_table signals = own_signals();
    int ok_exit = 0;      ///< an exit code of the agent that counts as 0
    bool filter = true;   ///< system calls
    bool adopt = false;   ///< /etc/passwd and the home directory may be changed for the agent's uid
    int grace_ms = 2000;  ///< for what the agent left running
    bool single_uid = false;
    bool subreaper = false;
    bool new_session = false;    ///< the agent leads a session of its own, with the terminal, if there is one
    bool bridge_restart = true;  ///< false: a bridge that ends is the end of the agent
    look doctor = look::none;
    bool given_no_new_privileges = false;  ///< the container was started so

    std::string agent_user;  ///< as asked for; empty: not asked
    std::string agent_uid;
    std::string agent_gid;
    account agent;  ///< resolved by resolve_accounts()
    account bridge;
};

enum class settings_result { run, help, version, wrong };

/// From the arguments and the raw environment (nothing secret is read here). On `wrong`, `error` names the
/// cause and the remedy.
settings_result read_settings(int argc, char** argv, char** envp, settings& out, std::string& error);

/// Who is who, given the passwd file and our own ids. Returns an exit code, 0 when all is well.
int resolve_accounts(settings& s, std::string_view passwd, std::uint32_t own_uid, std::uint32_t own_gid,
                     std::string& error);

extern const char help_text[];

}  // namespace keyhole::runtime
