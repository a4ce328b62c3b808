// The client side of `keyhole run`, `session …`, `account …`, `usage …`, `status` and `top`: talks to the
// admin socket.
#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace keyhole::proxy::cli {

/// Adds the commands to `app`. A command that ran leaves its exit code (0 done, 1 refused or failed) in
/// `exit_code`; mistakes on the command line are CLI::Errors (exit code 64, the caller's).
void register_commands(CLI::App& app, int& exit_code);

// ---- one file a noun

void add_session_commands(CLI::App& app, int& exit_code);
void add_account_commands(CLI::App& app, int& exit_code);
void add_usage_commands(CLI::App& app, int& exit_code);
/// `usage prune` and `usage compact`, below the command that add_usage_commands() made.
void add_upkeep_commands(CLI::App& usage, int& exit_code);
void add_top_command(CLI::App& app, int& exit_code);
void add_run_command(CLI::App& app, int& exit_code);

/// What every command has: where the proxy is, and how to answer.
struct common_options {
    std::string admin;
    bool as_json = false;
};
void add_common(CLI::App& command, common_options& options);

/// Runs `work`; its exception becomes one line on stderr and exit code 1.
void report(int& exit_code, const std::function<void()>& work);

}  // namespace keyhole::proxy::cli
