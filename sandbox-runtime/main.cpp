// keyhole-init: PID 1 of a sandbox. run() is the story, top to bottom. See docs/sandbox.md.
#include "bridge/system.hpp"
#include "bridge/upstream.hpp"
#include "sandbox-runtime/account.hpp"
#include "sandbox-runtime/agent_process.hpp"
#include "sandbox-runtime/bridge_process.hpp"
#include "sandbox-runtime/doctor/doctor.hpp"
#include "sandbox-runtime/environment.hpp"
#include "sandbox-runtime/privileges.hpp"
#include "sandbox-runtime/provider_keys.hpp"
#include "sandbox-runtime/secrets.hpp"
#include "sandbox-runtime/session_token.hpp"
#include "sandbox-runtime/settings.hpp"
#include "sandbox-runtime/supervise.hpp"
#include "sandbox-runtime/token_files.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace keyhole;
using namespace keyhole::runtime;

namespace {

// In a file that is both programs, the bridge is this very file: argv[0] chooses.
#if defined(KEYHOLE_ONE_FILE)
constexpr bool bridge_is_this_file = true;
#else
constexpr bool bridge_is_this_file = false;
#endif

int stop(int code, std::string_view why)
{
    sys::complain({why});
    return code;
}

enum class place { socket, nothing, forbidden };

place look_at(const std::string& path)
{
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0) return S_ISSOCK(info.st_mode) ? place::socket : place::nothing;
    return errno == EACCES ? place::forbidden : place::nothing;
}

// Root without CAP_DAC_OVERRIDE is no better than others at a directory that is its group's: it joins that
// group (only PID 1 does; bridge and agent get the groups that they are given).
void join_group_of_directory(const settings& s)
{
    if (s.single_uid || look_at(s.socket) != place::forbidden) return;
    const bridge::barrier closed = bridge::find_barrier(s.socket);
    if (closed.directory.empty() || !closed.opens_for_group()) return;
    const gid_t group = closed.gid;
    [[maybe_unused]] const int joined = ::setgroups(1, &group);
}

// 0, or the signal that came instead.
int wait_for_socket(const std::string& path, int seconds, int signal_fd)
{
    const std::int64_t until = sys::now_ms() + std::int64_t{seconds} * 1000;
    while (look_at(path) == place::nothing && sys::now_ms() < until)
        if (const int signal = stop_signal(signal_fd, 20); signal != 0) return signal;
    return 0;
}

int run(settings& s, environment& env, const sys::locked_bytes& token, const sys::unique_fd& signals)
{
    const bool expected = !token.empty() || s.socket_was_named || expects_a_proxy(env);
    join_group_of_directory(s);
    if (const int signal = wait_for_socket(s.socket, expected ? s.proxy_wait_seconds : 0, signals.get());
        signal != 0)
        return stop(128 + signal, "stopped before the agent was started");
    const place seen = look_at(s.socket);
    const bool has_socket = seen == place::socket;
    // Something is mounted there, so models are meant to be.
    if (seen == place::forbidden) {
        const bridge::upstream_problem problem = bridge::explain_upstream(s.socket, EACCES);
        return stop(sys::exit_no_proxy, problem.cause + "; " + problem.remedy);
    }
    if (expected && !has_socket)
        return stop(sys::exit_no_proxy, "a model proxy is expected (a base URL, a session token or "
                                        "LLM_PROXY_SOCKET is set), but there is no "
                                        "socket at " +
                                            s.socket +
                                            "; start the proxy, mount its socket directory at /llm-sock, and "
                                            "check the order of the mounts: "
                                            "a tmpfs over /run or /tmp hides what is mounted below it");

    bridge_process bridge(s, token);
    std::string error;
    if (has_socket)
        if (const int code = bridge.bind(error); code != 0) return stop(code, error);
    settle_account(s, env);
    // Before anything of the agent's runs.
    keep_only_supervising_capabilities();
    if (has_socket) {
        if (const int code = bridge.start(signals.get(), error); code != 0) {
            clear_up(-1, bridge, s, 0);
            return stop(code, error);
        }
        add_client_defaults(env, s.port);
    }

    terminal tty;
    if (s.new_session) tty.let_go();
    const agent_start started = start_agent(s, env, tty);
    env.wipe();  // the agent's secrets are the agent's
    if (started.pid < 0) {
        clear_up(-1, bridge, s, 0);
        return stop(started.exit_code, started.error);
    }
    return supervise(started.pid, bridge, tty, s);
}

// The image's WORKDIR or docker run -w, as a path: the agent goes there itself, with its own permissions, and
// never to what an engine may have left open. Empty: none was chosen.
std::string working_directory()
{
    char here[4096];
    if (::getcwd(here, sizeof here) == nullptr || here[0] != '/' || here[1] == '\0') return {};
    return here;
}

int prepare_and_run(int argc, char** argv, char** envp, const std::string& given_directory)
{
    // First of all: the kernel drops what PID 1 neither blocks nor handles, and a stop may come this early.
    const sys::unique_fd signals = catch_signals();
    if (!signals) return stop(sys::exit_os_error, std::string("no signalfd: ") + std::strerror(errno));
    settings s;
    s.given_no_new_privileges = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    std::string error;
    switch (read_settings(argc, argv, envp, s, error)) {
    case settings_result::help:
        sys::write_all(STDOUT_FILENO, help_text);
        return sys::exit_ok;
    case settings_result::version:
        sys::write_all(STDOUT_FILENO, "keyhole-init " KEYHOLE_VERSION "\n");
        return sys::exit_ok;
    case settings_result::wrong:
        return stop(sys::exit_usage, error);
    case settings_result::run:
        break;
    }
    if (!s.workdir_was_named && !given_directory.empty()) {
        s.workdir = given_directory;
        s.workdir_was_given = true;
    }
    s.bridge_is_own_program = bridge_is_this_file && !s.bridge_was_named;
    sys::locked_bytes token;
    const token_result taken = find_session_token(envp, s, token);
    environment env(envp, s.kept_variables, s.dropped_variables);
    // From here on /proc/1/environ is empty.
    sys::wipe_environment(envp);
    if (!taken.error.empty()) return stop(sys::exit_configuration, taken.error);

    if (::getpid() != 1) {
        if (!s.subreaper)
            return stop(sys::exit_usage, "this is not PID 1: start the container without --init (another PID "
                                         "1 keeps the session token in its "
                                         "environment), or add --subreaper");
        ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    if (const int code = resolve_accounts(s, read_passwd(), ::geteuid(), ::getegid(), error); code != 0)
        return stop(code, error);
    for (const std::string& complaint : load_secrets(env, s.secrets_directory))
        sys::say({complaint});
    if (!token.empty())
        for (const std::string& name : env.remove_all_with(token.view()))
            sys::say({name, " holds the session token and is kept from the agent, which needs none: the "
                            "bridge presents it"});
    if (const std::string name = find_provider_key(env, s.allowed_secrets); !name.empty())
        return stop(
            sys::exit_configuration,
            "the variable " + name +
                " holds what looks like a provider's real key; a sandbox must not have one. Give it to the "
                "proxy instead, or name it in KEYHOLE_ALLOW_SECRETS if the agent is meant to hold it");
    if (const std::string problem = find_secret_argument(s.command, s.allowed_secrets, token.view());
        !problem.empty())
        return stop(sys::exit_configuration, problem);
    if (const std::string path = hide_token_files(s, token.view()); !path.empty())
        return stop(sys::exit_configuration,
                    path + " can be read by the agent and holds the session token; mount it with owner 0 and "
                           "mode 0400, or put session_token into "
                           "KEYHOLE_ALLOW_SECRETS");
    if (!s.single_uid)
        if (const std::string missing = missing_to_change_user(); !missing.empty())
            return stop(sys::exit_no_permission, "root cannot become uid " + std::to_string(s.agent.uid) +
                                                     ": the container lacks " + missing +
                                                     "; add --cap-add SETUID --cap-add SETGID --cap-add "
                                                     "KILL, or start it with --user 1000:1000");
    if (!s.single_uid && !has_kill_capability())
        sys::say({"without --cap-add KILL, signals (docker stop) do not reach the agent"});
    for (const std::string& name : env.left_out())
        sys::say({name, " is kept from the agent; put it into KEYHOLE_KEEP_ENV if it is wanted"});
    if (s.doctor != look::none) s.command = doctor_command(s);
    return run(s, env, token, signals);
}

}  // namespace

int main(int argc, char** argv, char** envp)
{
    sys::set_program_name("keyhole-init");
    // Before anything is closed or limited: that is what it looks at.
    if (is_examination(argc, argv)) return examine(argc, argv, envp);
    sys::become_unreadable();
    sys::ensure_standard_descriptors();
    sys::close_from(STDERR_FILENO + 1);
    const std::string given = working_directory();
    if (::chdir("/") != 0) return stop(sys::exit_os_error, "cannot enter /");
    return prepare_and_run(argc, argv, envp, given);
}
