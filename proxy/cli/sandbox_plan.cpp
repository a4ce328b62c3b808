#include "proxy/cli/sandbox_plan.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <unistd.h>

namespace keyhole::proxy::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* agent_home = "/home/agent";
constexpr const char* agent_id = "1000";

struct volume {
    std::string source;
    std::string target;
    bool writable = true;
};

volume volume_of(const std::string& text)
{
    const auto wrong = [&](const std::string& why) {
        return std::runtime_error("--volume " + text + ": " + why + " (SOURCE:TARGET or SOURCE:TARGET:ro)");
    };
    volume v;
    std::string rest = text;
    if (rest.ends_with(":ro")) {
        v.writable = false;
        rest.resize(rest.size() - 3);
    }
    const auto colon = rest.find(':');
    if (colon == std::string::npos) throw wrong("the target is missing");
    v.target = rest.substr(colon + 1);
    std::error_code failed;
    v.source = fs::canonical(rest.substr(0, colon), failed).string();
    if (failed) throw wrong("the source is not there");
    if (v.target.empty() || v.target.front() != '/' || v.target.find(':') != std::string::npos)
        throw wrong("the target is an absolute path without a colon");
    return v;
}

std::string name_of(const std::string& variable)
{
    return variable.substr(0, variable.find('='));
}

/// What a terminal program needs from the person's own environment. No other variable enters the sandbox.
std::vector<std::string> inherited(std::initializer_list<std::string_view> names)
{
    std::vector<std::string> out;
    for (const auto name : names) {
        const char* value = std::getenv(std::string(name).c_str());
        if (value != nullptr) out.push_back(std::string(name) + '=' + value);
    }
    return out;
}

void append(std::vector<std::string>& to, const std::vector<std::string>& more)
{
    to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

const char* const agent_passwd = "root:x:0:0:root:/:/usr/sbin/nologin\n"
                                 "agent:x:1000:1000:agent:/home/agent:/bin/bash\n"
                                 "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const char* const agent_group = "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n";

sandbox_plan plan_container(const sandbox_wish& w)
{
    sandbox_plan p;
    // The engine's own settings (which socket, which configuration) are this person's.
    for (char** v = environ; *v != nullptr; ++v)
        p.environment.emplace_back(*v);
    auto& a = p.arguments;
    a = {w.engine, "run", "--rm", "-i"};
    if (w.terminal) a.emplace_back("-t");
    append(a, {"--network=none", "--read-only", "--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID",
               "--cap-add=KILL", "--security-opt=no-new-privileges", "--pids-limit=1024",
               "--tmpfs=/tmp:rw,nosuid,nodev,exec,mode=1777",
               std::string("--tmpfs=") + agent_home + ":rw,nosuid,nodev,exec,mode=0700,uid=" + agent_id +
                   ",gid=" + agent_id,
               "--mount=type=bind,src=" + w.socket_directory + ",dst=/llm-sock,readonly",
               "--mount=type=bind,src=" + w.workspace + ",dst=/workspace", "--workdir=/workspace"});
    for (const auto& text : w.volumes) {
        const volume v = volume_of(text);
        a.push_back("--mount=type=bind,src=" + v.source + ",dst=" + v.target +
                    (v.writable ? "" : ",readonly"));
    }
    std::vector<std::string> variables = inherited({"TERM", "COLORTERM", "LANG"});
    append(variables, w.variables);
    for (const auto& v : variables) {
        std::erase_if(p.environment, [&](const std::string& own) { return name_of(own) == name_of(v); });
        p.environment.push_back(v);
        a.push_back("--env=" + name_of(v));
    }
    a.push_back(w.image);
    append(a, w.command);
    return p;
}

sandbox_plan plan_namespaces(const sandbox_wish& w, const std::string& programs)
{
    sandbox_plan p;
    auto& a = p.arguments;
    // A user namespace in any case: without one, bubblewrap started by root would leave the agent root's own
    // uid with all its files.
    a = {"bwrap",
         "--unshare-all",
         "--unshare-user",
         "--disable-userns",
         "--cap-drop",
         "ALL",
         "--uid",
         agent_id,
         "--gid",
         agent_id,
         "--die-with-parent",
         "--as-pid-1",
         "--hostname",
         "sandbox"};
    // Without a terminal of its own the agent could type into ours (TIOCSTI).
    if (!w.terminal) a.emplace_back("--new-session");
    append(a, {"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--dir", "/var/tmp",
               "--ro-bind", "/usr", "/usr"});
    for (const char* top : {"/bin", "/sbin", "/lib", "/lib32", "/lib64"}) {
        std::error_code failed;
        const auto link = fs::read_symlink(top, failed);
        if (!failed)
            append(a, {"--symlink", link.string(), top});
        else
            append(a, {"--ro-bind-try", top, top});
    }
    append(a, {"--ro-bind-try", "/opt", "/opt"});
    // Of /etc only what programs need to start: the rest may hold keys.
    for (const char* known :
         {"/etc/alternatives", "/etc/ca-certificates", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
          "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/nsswitch.conf", "/etc/localtime",
          "/etc/mime.types", "/etc/bash.bashrc", "/etc/profile", "/etc/terminfo"})
        append(a, {"--ro-bind-try", known, known});
    append(a, {"--ro-bind-data", std::to_string(w.passwd), "/etc/passwd", "--ro-bind-data",
               std::to_string(w.group), "/etc/group"});
    append(a, {"--tmpfs", agent_home, "--ro-bind", programs + "/keyhole-init", "/keyhole/keyhole-init",
               "--ro-bind", programs + "/keyhole-bridge", "/keyhole/keyhole-bridge", "--ro-bind",
               w.socket_directory, "/llm-sock", "--bind", w.workspace, "/workspace"});
    for (const auto& text : w.volumes) {
        const volume v = volume_of(text);
        append(a, {v.writable ? "--bind" : "--ro-bind", v.source, v.target});
    }
    append(a, {"--chdir", "/workspace", "--remount-ro", "/", "/keyhole/keyhole-init", "--"});
    append(a, w.command);

    p.environment = inherited({"PATH", "TERM", "COLORTERM", "LANG"});
    append(p.environment, {std::string("HOME=") + agent_home, "USER=agent", "LOGNAME=agent"});
    append(p.environment, w.variables);
    return p;
}

bool terminal_is_safe()
{
    char allowed = '1';
    return static_cast<bool>(std::ifstream("/proc/sys/dev/tty/legacy_tiocsti") >> allowed) && allowed == '0';
}

std::string checked_workspace(const std::string& directory, const std::vector<std::string>& secrets)
{
    std::error_code failed;
    const fs::path at = fs::canonical(directory, failed);
    if (failed || !fs::is_directory(at))
        throw std::runtime_error("--workspace " + directory + " is no directory");
    const auto holds = [&](const fs::path& inner) {
        const auto [end, rest] = std::ranges::mismatch(at, inner);
        return end == at.end();
    };
    for (const auto& secret : secrets) {
        std::error_code unknown;
        const fs::path real = fs::weakly_canonical(secret, unknown);
        if (!unknown && holds(real))
            throw std::runtime_error(
                "the workspace " + at.string() + " holds " + secret +
                ", which an agent must not reach; choose a directory of the project's own (--workspace DIR)");
    }
    return at.string();
}

}  // namespace keyhole::proxy::cli
