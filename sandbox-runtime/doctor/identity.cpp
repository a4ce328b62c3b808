#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/environment.hpp"
#include "sandbox-runtime/name.hpp"
#include "sandbox-runtime/provider_keys.hpp"
#include "sandbox-runtime/users.hpp"

#include <algorithm>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

bool is_zero(const std::string& capabilities) noexcept
{
    return capabilities.find_first_not_of('0') == std::string::npos;
}

void look_at_ids(report& r, const std::string& status)
{
    const std::string groups = field_of(status, "Groups");
    const auto words = split(groups, ' ');
    const bool roots_group = ::getegid() == 0 || std::find(words.begin(), words.end(), "0") != words.end();
    r.expect(::geteuid() != 0 && ::getuid() != 0, "not root", "uid " + std::to_string(::geteuid()),
             "the agent is root",
             "start the container without KEYHOLE_SINGLE_UID, or with --user 1000:1000; with docker exec: -u "
             "agent");
    const auto bridge = find_by_name(read_passwd(), "keyhole-bridge");
    r.expect(::geteuid() != usual_bridge_id && (!bridge || ::geteuid() != bridge->uid),
             "not the bridge's user",
             "uid " + std::to_string(::geteuid()) + " may hand no connections to the proxy",
             "the agent has the bridge's uid, which proxies trust to hand connections over",
             "start with another --user, such as 1000:1000");
    r.expect(!roots_group, "not in root's group",
             "gid " + std::to_string(::getegid()) + ", groups " + (groups.empty() ? "none" : groups),
             "the agent is in group 0, which owns much of an image",
             "start with --user 1000:1000, not --user 1000");
    auto entry = find_by_uid(read_passwd(), ::geteuid());
    if (!entry) entry = find_by_uid(read_passwd(extra_users_file), ::geteuid());
    r.note("name", entry ? entry->name : "no line in /etc/passwd; USER is what programs have to go by");
}

void look_at_privileges(report& r, const std::string& status)
{
    std::vector<std::string> held;
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
        if (const std::string value = field_of(status, set); !is_zero(value))
            held.push_back(std::string(set) + " " + value);
    r.expect(held.empty(), "capabilities", "none", join(held),
             "start with --cap-drop ALL, and with SETUID, SETGID and KILL at most added for PID 1");
    const std::string bounding = field_of(status, "CapBnd");
    const bool no_new = field_of(status, "NoNewPrivs") == "1";
    r.expect(no_new, "no new privileges", "set-user-id programs have no effect",
             "set-user-id programs work (no_new_privs is off)",
             "run as keyhole-init's agent, or start with --security-opt no-new-privileges");
    r.expect(no_new || is_zero(bounding), "capability bounding set",
             is_zero(bounding) ? "empty" : bounding + ", out of reach without new privileges",
             "programs with file capabilities gain " + bounding, "start with --cap-drop ALL");
}

void look_at_core_dumps(report& r)
{
    rlimit core{};
    const bool none = ::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0;
    r.expect(none, "core dumps", "limited to 0",
             "a program that crashes may leave its memory in a file, or hand it to the host's core_pattern",
             "start with --ulimit core=0, or under keyhole-init");
}

}  // namespace

void look_at_identity(report& r)
{
    const std::string status = read_file("/proc/self/status");
    look_at_ids(r, status);
    look_at_privileges(r, status);
    look_at_core_dumps(r);
}

void look_at_environment(report& r, const place& here)
{
    std::vector<std::string> names;
    std::vector<std::string> orchestrators;
    std::vector<std::string> keys;
    std::vector<std::string> tokens;
    for (char** each = here.environment; *each != nullptr; ++each) {
        const std::string_view entry = *each;
        std::string name(entry.substr(0, entry.find('=')));
        if (is_control_variable(name))
            orchestrators.push_back(name);
        else if (entry.size() > name.size() && looks_like_provider_key(entry.substr(name.size() + 1)))
            keys.push_back(name);
        else if (holds_session_token(entry.substr(std::min(entry.size(), name.size() + 1))))
            tokens.push_back(name);
        names.push_back(std::move(name));
    }
    r.expect(
        orchestrators.empty(), "environment: orchestrator", join(names),
        "the agent has the orchestrator's " + join(orchestrators),
        "start the agent through keyhole-init; docker exec hands out the container's configured variables "
        "again, so give the token as a file or use a socket of the session's own");
    r.expect(keys.empty(), "environment: provider keys", "no variable looks like one",
             "what looks like a provider's real key is in " + join(keys),
             "give the key to the proxy, not to the sandbox");

    r.expect(tokens.empty(), "environment: session token", "in no variable",
             "what looks like a session's token is in " + join(tokens),
             "give it as SESSION_TOKEN only, which keyhole-init keeps, and use it for nothing else");

    std::vector<std::string> extra;
    for (const std::string& fd : names_in("/proc/self/fd"))
        if (fd.size() > 1 || fd > "2") extra.push_back(fd);
    r.expect(extra.empty(), "descriptors", "0, 1, 2", "inherited descriptors " + join(extra),
             "start the agent through keyhole-init, which closes all but 0, 1 and 2");
    std::vector<std::string> sockets;
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        struct stat info{};
        if (::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode)) sockets.push_back(std::to_string(fd));
    }
    if (!sockets.empty())
        r.note("standard descriptors",
               join(sockets) + " are sockets: whoever started the container holds the other end");
}

}  // namespace keyhole::runtime::doctor
