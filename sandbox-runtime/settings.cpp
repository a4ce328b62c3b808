#include "sandbox-runtime/settings.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/argument_list.hpp"
#include "sandbox-runtime/environment.hpp"

#include <tuple>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr std::uint32_t usual_agent_id = 1000;

// What is neither stays what it was, and is wrong.
bool read_switch(std::string_view text, bool& out)
{
    std::string word(text);
    for (char& c : word)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool on = word == "1" || word == "true" || word == "yes" || word == "on";
    const bool off = word == "0" || word == "false" || word == "no" || word == "off";
    if (on || off) out = on;
    return on || off;
}

// "15:2"
bool read_rewrite(std::string_view text, signal_table& out)
{
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return false;
    const auto from = sys::parse_number(text.substr(0, colon), out.size() - 1);
    const auto to = sys::parse_number(text.substr(colon + 1), out.size() - 1);
    if (!from || !to || *from == 0 || *to == 0) return false;
    out[*from] = static_cast<std::uint8_t>(*to);
    return true;
}

// "doctor [--json]", or --check, its old name.
bool read_doctor(int argc, char** argv, int& i, look& out)
{
    if (i >= argc) return false;
    const std::string_view word = argv[i];
    if (word != "doctor" && word != "--check") return false;
    ++i;
    out = look::text;
    if (i < argc && std::string_view(argv[i]) == "--json") {
        out = look::json;
        ++i;
    }
    return true;
}

// Beside this program, wherever the image put the two.
std::string find_bridge()
{
    char self[4096];
    const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
    if (n <= 0) return "/usr/local/bin/keyhole-bridge";
    const std::string_view path(self, static_cast<std::size_t>(n));
    return std::string(path.substr(0, path.rfind('/') + 1)) + "keyhole-bridge";
}

struct number_setting {
    std::string_view option;
    std::string_view variable;
    int max;
    int* value;
};

struct switch_setting {
    std::string_view variable;
    bool* value;
};

// What is wrong with it, or nothing.
std::string read_command(char** envp, std::vector<std::string> arguments, settings& out)
{
    if (const auto program = raw_value(envp, "AGENT_COMMAND"); !program.empty()) {
        auto words = read_argument_list(raw_value(envp, "AGENT_ARGS"));
        if (!words)
            return "AGENT_ARGS begins with [ but is no JSON array of strings; write [\"one\",\"two words\"]";
        out.command = std::move(*words);
        out.command.insert(out.command.begin(), std::string(program));
        return {};
    }
    if (!raw_value(envp, "AGENT_ARGS").empty())
        return "AGENT_ARGS is set without AGENT_COMMAND, whose arguments they are; set both, or give the "
               "command as "
               "arguments";
    out.command = std::move(arguments);
    return out.command.empty() ? "no command: give one as arguments or set AGENT_COMMAND" : std::string();
}

}  // namespace

const char help_text[] =
    R"(keyhole-init: PID 1 of a sandbox. The agent gets its models at 127.0.0.1:8080 and finds no trace of how.

usage: keyhole-init [options] [--] COMMAND [ARG...]       executed exactly as given; for a shell name one: sh -c '…'
       keyhole-init doctor [--json]  each guarantee of this sandbox, ok or broken with cause and remedy; exit code 0 only if
                                     all are ok. As the container's command it looks as the agent would; it may be run by the
                                     agent, too

  --subreaper        run although this process is not PID 1
  --single-uid       agent, bridge and init share one uid (the default when not started as root)
  --bridge PATH      the bridge program (default: keyhole-bridge beside this program)
  --grace SECONDS    how long what the agent left running may take after SIGTERM (default 2)
  --rewrite FROM:TO  pass signal FROM on to the agent as TO, by number; repeatable
  --ok-exit CODE     an exit code of the agent that counts as success, e.g. 143
  --help, --version

read from the environment, and kept from the agent:
  SESSION_TOKEN or SESSION_TOKEN_FILE (default /run/secrets/session_token), SESSION_ID, CONTROL_*, KEYHOLE_*
  KEYHOLE_ALLOW_SECRETS=NAME,…   variables that may hold what looks like a provider's key; arguments: so may the command's;
                                 session_token: the token's file may be readable, and the token in the command
  KEYHOLE_DROP_ENV=NAME,PRE*,…   more variables, or prefixes, that are the orchestrator's own
  KEYHOLE_SECRETS=DIR            a directory of the agent's secrets (default /run/secrets): file my-key becomes MY_KEY, or as
                                 its file `manifest` says in lines VARIABLE<TAB>FILE
  KEYHOLE_KEEP_ENV=NAME,…        loader variables (NODE_OPTIONS, LD_*, BASH_ENV, …) that the agent may have
  KEYHOLE_SINGLE_UID=1           as --single-uid
  KEYHOLE_HAND_OFF=yes|no        the bridge passes connections to the proxy itself where it takes them (default yes)
  KEYHOLE_CONNECT_WAIT=SECONDS   how long a connection waits for an absent proxy before its 503 (default 5)
  KEYHOLE_MAX_CONNECTIONS=N      more than this get a 503 at once (default 16384, and what the open-files limit allows)
  KEYHOLE_ADOPT=1                the agent's uid gets its line in /etc/passwd and owns its home directory, where that can be done
  KEYHOLE_NEW_SESSION=1          the agent leads a session of its own, to which the terminal belongs
  KEYHOLE_BRIDGE_RESTART=no      a bridge that ends is not started again: the agent is ended, exit code 69
  KEYHOLE_SECCOMP=off            no system call filter of our own (the engine's stays)
  KEYHOLE_PROXY_WAIT=SECONDS     how long to wait for the proxy at start (default 3)
read from the environment:
  AGENT_COMMAND, AGENT_ARGS      instead of COMMAND; AGENT_ARGS is split at blanks, or a JSON array of strings
  AGENT_USER (default agent), AGENT_UID, AGENT_GID, AGENT_WORKDIR (default: the container's, or /workspace)
  LLM_PROXY_SOCKET (default /llm-sock/llm.sock), LLM_PROXY_PORT (default 8080)
  OPENAI_API_BASE and the other base URLs: kept as given, else set to the bridge

exit codes: the agent's own, 128+n when signal n ended it; 126 and 127 when it cannot be run or found;
  1 no proxy socket although one is expected; 64 wrong option or value; 67 no such user; 69 the bridge did not start;
  71 the operating system refused; 77 no permission to become the agent's user; 78 a secret or a setting that is unsafe.
)";

settings_result read_settings(int argc, char** argv, char** envp, settings& out, std::string& error)
{
    int port = out.port;
    int grace_seconds = out.grace_ms / 1000;
    const number_setting numbers[] = {{"--grace", "KEYHOLE_GRACE", 3600, &grace_seconds},
                                      {"--ok-exit", "", 255, &out.ok_exit},
                                      {"", "KEYHOLE_PROXY_WAIT", 3600, &out.proxy_wait_seconds},
                                      {"", "KEYHOLE_CONNECT_WAIT", 3600, &out.connect_wait_seconds},
                                      {"", "KEYHOLE_MAX_CONNECTIONS", 1'000'000, &out.max_connections},
                                      {"", "LLM_PROXY_PORT", 65'535, &port}};
    const auto set_number = [&error](std::string_view name, std::string_view text, const number_setting& n) {
        const auto value = sys::parse_number(text, static_cast<std::uint64_t>(n.max));
        if (value)
            *n.value = static_cast<int>(*value);
        else
            error = std::string(name) + " cannot be '" + std::string(text) + "': it is a number up to " +
                    std::to_string(n.max);
        return value.has_value();
    };
    for (const number_setting& n : numbers)
        if (const auto text = n.variable.empty() ? std::string_view{} : raw_value(envp, n.variable);
            !text.empty() && !set_number(n.variable, text, n))
            return settings_result::wrong;

    int i = 1;
    bool is_command = false;  // what follows "--" is nothing of ours
    for (; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--") {
            ++i;
            is_command = true;
            break;
        }
        if (word.empty() || word.front() != '-') break;
        if (word == "--help" || word == "-h") return settings_result::help;
        if (word == "--version") return settings_result::version;
        if (read_doctor(argc, argv, i, out.doctor)) break;
        if (word == "--subreaper")
            out.subreaper = true;
        else if (word == "--single-uid")
            out.single_uid = true;
        else if (i + 1 < argc &&
                 (word == "--bridge" || word == "--grace" || word == "--rewrite" || word == "--ok-exit"))
        {
            const std::string_view value = argv[++i];
            if (word == "--bridge")
                out.bridge_program = value;
            else if (word == "--rewrite" && !read_rewrite(value, out.signals))
                error = "--rewrite cannot be '" + std::string(value) +
                        "': it is FROM:TO, two signals' numbers, like 15:2";
            else if (word == "--grace" || word == "--ok-exit")
                set_number(word, value, numbers[word == "--grace" ? 0 : 1]);
            if (!error.empty()) return settings_result::wrong;
        } else {
            error = std::string(word) + " is not an option or lacks its value; see --help";
            return settings_result::wrong;
        }
    }
    if (!is_command) read_doctor(argc, argv, i, out.doctor);
    if (out.doctor != look::none && i < argc) {
        error = std::string(argv[i]) + " is not an option of doctor: it has --json only";
        return settings_result::wrong;
    }
    if (port == 0) {
        error = "LLM_PROXY_PORT cannot be 0";
        return settings_result::wrong;
    }
    if (out.max_connections == 0) {
        error = "KEYHOLE_MAX_CONNECTIONS cannot be 0";
        return settings_result::wrong;
    }
    out.port = static_cast<std::uint16_t>(port);
    out.grace_ms = grace_seconds * 1000;
    if (const auto socket = raw_value(envp, "LLM_PROXY_SOCKET"); !socket.empty()) {
        out.socket = socket;
        out.socket_was_named = true;
    }
    if (const auto dir = raw_value(envp, "AGENT_WORKDIR"); !dir.empty()) {
        out.workdir = dir;
        out.workdir_was_named = true;
    }
    if (const auto file = raw_value(envp, "SESSION_TOKEN_FILE"); !file.empty()) {
        out.token_file = file;
        out.token_file_was_named = true;
    }
    out.bridge_was_named = !out.bridge_program.empty();
    if (!out.bridge_was_named) out.bridge_program = find_bridge();
    bool hand_off = true;
    const switch_setting switches[] = {{"KEYHOLE_SINGLE_UID", &out.single_uid},
                                       {"KEYHOLE_ADOPT", &out.adopt},
                                       {"KEYHOLE_SECCOMP", &out.filter},
                                       {"KEYHOLE_NEW_SESSION", &out.new_session},
                                       {"KEYHOLE_BRIDGE_RESTART", &out.bridge_restart},
                                       {"KEYHOLE_HAND_OFF", &hand_off}};
    for (const switch_setting& each : switches) {
        const auto text = raw_value(envp, each.variable);
        if (text.empty() || read_switch(text, *each.value)) continue;
        error = std::string(each.variable) + " cannot be '" + std::string(text.substr(0, 32)) +
                "': it is 1, true, yes or on, or 0, false, no or off";
        return settings_result::wrong;
    }
    if (!raw_value(envp, "KEYHOLE_HAND_OFF").empty()) out.hand_off = hand_off ? "yes" : "no";
    out.allowed_secrets = split_words(raw_value(envp, "KEYHOLE_ALLOW_SECRETS"));
    out.kept_variables = split_words(raw_value(envp, "KEYHOLE_KEEP_ENV"));
    out.dropped_variables = split_words(raw_value(envp, "KEYHOLE_DROP_ENV"));
    if (const auto dir = raw_value(envp, "KEYHOLE_SECRETS"); !dir.empty()) out.secrets_directory = dir;
    out.agent_user = raw_value(envp, "AGENT_USER");
    out.agent_uid = raw_value(envp, "AGENT_UID");
    out.agent_gid = raw_value(envp, "AGENT_GID");
    if (out.doctor != look::none) return settings_result::run;
    error = read_command(envp, std::vector<std::string>(argv + i, argv + argc), out);
    return error.empty() ? settings_result::run : settings_result::wrong;
}

namespace {

// Proxies trust the uid 998 to hand connections over (agents.hand_off_uids), so it is nobody else's.
bool is_bridges(const settings& s, std::uint32_t uid) noexcept
{
    return uid == s.bridge.uid || uid == usual_bridge_id;
}

// For an agent that stays who PID 1 is.
int fits_own_uid(const settings& s, std::string_view passwd, std::uint32_t own_uid, std::string& error)
{
    const std::string own = std::to_string(own_uid);
    // The doctor looks, and says so.
    if (is_bridges(s, own_uid) && s.doctor == look::none) {
        error = "uid " + own +
                " is the bridge's, which proxies trust to hand connections over; start the container with "
                "another --user, such as 1000:1000";
        return sys::exit_usage;
    }
    if (s.agent_user.empty()) return 0;
    std::optional<std::uint32_t> uid = parse_id(s.agent_user);
    if (!uid)
        if (const auto found = find_by_name(passwd, s.agent_user); found) uid = found->uid;
    if (uid == own_uid) return 0;
    error = "AGENT_USER '" + s.agent_user.substr(0, 32) + "' " +
            (uid ? "is uid " + std::to_string(*uid) : std::string("is not in /etc/passwd")) +
            ", but the container was started as uid " + own +
            ", which cannot become another; leave AGENT_USER out, or start with --user " +
            (uid ? std::to_string(*uid) : std::string("and that user's number"));
    return sys::exit_no_user;
}

}  // namespace

int resolve_accounts(settings& s, std::string_view passwd, std::uint32_t own_uid, std::uint32_t own_gid,
                     std::string& error)
{
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    for (const auto& [name, text, id] :
         {std::tuple{"AGENT_UID", &s.agent_uid, &uid}, std::tuple{"AGENT_GID", &s.agent_gid, &gid}})
    {
        if (text->empty()) continue;
        *id = parse_id(*text);
        if (!*id) {
            error = std::string(name) + " cannot be '" + text->substr(0, 32) +
                    "': it is a decimal number from 1 to 4294967294";
            return sys::exit_usage;
        }
    }
    if (own_uid != 0) s.single_uid = true;
    s.bridge = find_by_name(passwd, "keyhole-bridge")
                   .value_or(account{{}, usual_bridge_id, usual_bridge_id, {}, {}});
    if (s.single_uid) {
        if (const int code = fits_own_uid(s, passwd, own_uid, error); code != 0) return code;
        if ((uid && *uid != own_uid) || (gid && *gid != own_gid)) {
            error = "AGENT_UID and AGENT_GID cannot be changed to without root; start the container with "
                    "--user instead";
            return sys::exit_usage;
        }
        s.agent = find_by_uid(passwd, own_uid).value_or(account{});
        s.agent.uid = own_uid;
        s.agent.gid = own_gid;
        s.bridge = s.agent;
        return 0;
    }

    const std::string& name = s.agent_user;
    std::optional<account> found;
    if (const auto numeric = parse_id(name)) {
        found = find_by_uid(passwd, *numeric).value_or(account{{}, *numeric, *numeric, {}, {}});
    } else {
        found = find_by_name(passwd, name.empty() ? "agent" : name);
        if (!found && !name.empty() && !uid) {
            error = "AGENT_USER '" + name +
                    "' is not in /etc/passwd; name a user of the image or set AGENT_UID and AGENT_GID";
            return sys::exit_no_user;
        }
        // An image that only got the two programs.
        if (!found)
            found = find_by_uid(passwd, usual_agent_id)
                        .value_or(account{{}, usual_agent_id, usual_agent_id, {}, {}});
    }
    s.agent = *found;
    if (uid && *uid != s.agent.uid) {
        s.agent = find_by_uid(passwd, *uid)
                      .value_or(account{s.agent.name, *uid, *uid, s.agent.home, s.agent.shell});
    }
    if (gid) s.agent.gid = *gid;
    if (s.agent.uid == 0 || s.agent.gid == 0) {
        error = "the agent may not be root: choose another AGENT_USER or AGENT_UID and AGENT_GID; where the "
                "container itself is the boundary, "
                "KEYHOLE_SINGLE_UID=1 runs everything as one user";
        return sys::exit_usage;
    }
    if (is_bridges(s, s.agent.uid) || s.bridge.uid == 0) {
        error = "the agent and the bridge need different users: " + std::to_string(s.agent.uid) +
                " is the bridge's; choose another AGENT_UID";
        return sys::exit_usage;
    }
    return 0;
}

}  // namespace keyhole::runtime
