#include "proxy/cli/commands.hpp"

#include "proxy/cli/admin_client.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace keyhole::proxy::cli {

void add_common(CLI::App& command, common_options& options)
{
    const char* named = std::getenv("KEYHOLE_ADMIN_SOCKET");
    options.admin = named != nullptr && *named != '\0' ? named : default_admin_socket;
    command.add_option("--admin", options.admin, "The proxy's admin socket (else $KEYHOLE_ADMIN_SOCKET)")
        ->capture_default_str();
    command.add_flag("--json", options.as_json, "JSON for programs");
}

void report(int& exit_code, const std::function<void()>& work)
{
    try {
        work();
    } catch (const CLI::Error&) {
        throw;
    } catch (const std::exception& e) {
        std::fflush(stdout);
        std::fprintf(stderr, "keyhole: %s\n", e.what());
        exit_code = 1;
    }
}

void register_commands(CLI::App& app, int& exit_code)
{
    add_run_command(app, exit_code);
    add_session_commands(app, exit_code);
    add_account_commands(app, exit_code);
    add_usage_commands(app, exit_code);
    add_top_command(app, exit_code);
}

}  // namespace keyhole::proxy::cli
