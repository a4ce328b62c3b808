// keyhole: the command line. Each command is one function elsewhere.
#include "config/load.hpp"
#include "proxy/check.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/server.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>
#include <variant>
#include <vector>

namespace {

constexpr int exit_usage = 64;          // EX_USAGE: the command line
constexpr int exit_configuration = 78;  // EX_CONFIG
constexpr int exit_failure = 1;

using namespace keyhole;

/// "--set KEY=VALUE" strings, split.
config::sources sources_of(const std::string& file, const std::vector<std::string>& sets)
{
    config::sources out;
    out.file = file;
    for (const auto& s : sets) {
        const auto equals = s.find('=');
        if (equals == std::string::npos || equals == 0)
            throw CLI::ValidationError("--set", "expects KEY=VALUE, e.g. --set log.level=debug");
        out.overrides[s.substr(0, equals)] = s.substr(equals + 1);
    }
    return out;
}

int complain(const std::vector<config::problem>& problems)
{
    for (const auto& p : problems)
        std::fprintf(stderr, "keyhole: %s\n", config::to_string(p).c_str());
    std::fprintf(stderr,
                 "keyhole: %zu mistake%s in the configuration; nothing was started. `keyhole config` prints "
                 "every key.\n",
                 problems.size(), problems.size() == 1 ? "" : "s");
    return exit_configuration;
}

}  // namespace

int main(int argc, char** argv)
{
    CLI::App app{"Keyhole lets AI agents use paid models from a sandbox without a network and without keys.",
                 "keyhole"};
    app.set_version_flag("--version", std::string("keyhole ") + KEYHOLE_VERSION);
    app.require_subcommand(1);
    app.footer("Start with: OPENAI_API_KEY=… keyhole serve    then: keyhole session create --budget 1.00");
    std::string file;
    std::vector<std::string> sets;
    const auto configurable = [&](CLI::App* c) {
        c->add_option("-c,--config", file, "TOML file (default: $KEYHOLE_CONFIG, else none)")
            ->envname("KEYHOLE_CONFIG");
        c->add_option("--set", sets, "KEY=VALUE over file and environment, e.g. --set log.level=debug")
            ->take_all();
    };
    auto* serve = app.add_subcommand("serve", "Run the proxy");
    configurable(serve);
    auto* check = app.add_subcommand(
        "check", "Say whether configuration, keys, directories and providers are in order, without starting");
    configurable(check);
    bool offline = false;
    check->add_flag("--offline", offline, "Do not try to reach the providers");
    auto* print = app.add_subcommand("config", "Print the documented configuration file with every default");
    int exit_code = 0;
    proxy::cli::register_commands(app, exit_code);

    const std::string named = argc > 1 ? argv[1] : "";
    bool known = named.empty() || named.front() == '-';
    std::string all;
    for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        known = known || command->get_name() == named;
        all += (all.empty() ? "" : ", ") + command->get_name();
    }
    if (!known) {
        std::fprintf(stderr, "keyhole: \"%s\" is no command; there are: %s\n", named.c_str(), all.c_str());
        return exit_usage;
    }
    try {
        app.parse(argc, argv);
        if (*print) std::fputs(config::example_toml().c_str(), stdout);
        if (*serve || *check) {
            proxy::guard_process();
            const auto from = sources_of(file, sets);
            auto loaded = config::load(from);
            if (const auto* problems = std::get_if<std::vector<config::problem>>(&loaded))
                return complain(*problems);
            auto settings = std::get<config::settings>(std::move(loaded));
            return *serve ? proxy::serve(std::move(settings), from) : proxy::check(settings, offline);
        }
        return exit_code;
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? 0 : exit_usage;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "keyhole: %s\n", e.what());
        return exit_failure;
    }
}
