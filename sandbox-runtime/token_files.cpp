#include "sandbox-runtime/token_files.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/privileges.hpp"
#include "sandbox-runtime/secrets.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

// A child looks, because only the kernel knows all the ways a file can be readable.
bool agent_can_read(const std::string& path, const settings& s)
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        const bool dropped = drop_to({s.agent.uid, s.agent.gid, {}, !s.single_uid}) == nullptr;
        ::_exit(dropped && ::open(path.c_str(), O_RDONLY | O_CLOEXEC) < 0 ? 0 : 1);
    }
    int status = 0;
    return pid < 0 || ::waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

bool is_allowed(const settings& s, std::string_view name)
{
    return std::find(s.allowed_secrets.begin(), s.allowed_secrets.end(), name) != s.allowed_secrets.end();
}

// A secrets mount is often world-readable. Where the agent could read it, the file is removed now that it was
// read; a link is not, since what it leads to would stay.
bool hide_token_file(const settings& s, const std::string& path)
{
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0 && errno == ENOENT) return true;
    if (is_allowed(s, "session_token") || !agent_can_read(path, s)) return true;
    if (!S_ISREG(info.st_mode) || ::unlink(path.c_str()) != 0) return false;
    sys::say(
        {path,
         " was removed, since it is the session token's and the agent could have read it; where it is to "
         "serve another start, "
         "mount it with owner 0 and mode 0400 and start the container as root"});
    return true;
}

}  // namespace

token_result find_session_token(char** envp, const settings& s, sys::locked_bytes& token)
{
    token_result taken = take_session_token(envp, s.token_file, s.token_file_was_named, token);
    if (taken.source != token_source::none || !taken.error.empty()) return taken;
    for (const std::string& path : find_token_files(s.secrets_directory, {})) {
        taken = take_session_token(envp, path, false, token);
        if (taken.source != token_source::none || !taken.error.empty()) break;
    }
    return taken;
}

std::string hide_token_files(const settings& s, std::string_view token)
{
    if (!hide_token_file(s, s.token_file)) return s.token_file;
    for (const std::string& path : find_token_files(s.secrets_directory, token))
        if (!hide_token_file(s, path)) return path;
    return {};
}

}  // namespace keyhole::runtime
