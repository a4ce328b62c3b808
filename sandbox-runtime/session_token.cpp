#include "sandbox-runtime/session_token.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/beneath.hpp"
#include "sandbox-runtime/environment.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace keyhole::runtime {
namespace {

constexpr const char* expected =
    " is not a session token (8 to 512 visible ASCII characters); create one with 'keyhole session create'";

}  // namespace

token_result take_session_token(char** envp, const std::string& path, bool must_be_there,
                                sys::locked_bytes& out)
{
    if (const std::string_view value = raw_value(envp, "SESSION_TOKEN"); !value.empty()) {
        if (!sys::looks_like_token(value) || !out.append(value.data(), value.size()))
            return {token_source::none, std::string("SESSION_TOKEN") + expected};
        return {token_source::variable, {}};
    }
    const std::size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const sys::unique_fd directory(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const sys::unique_fd fd =
        directory ? open_beneath(directory.get(), path.substr(slash + 1)) : sys::unique_fd();
    if (!fd) {
        if (errno == ENOENT || errno == ENOTDIR) {
            if (!must_be_there) return {};
            return {token_source::none, "SESSION_TOKEN_FILE names " + path +
                                            ", which is not there; mount it again (a start removes it where "
                                            "the agent could have read "
                                            "it), or leave the variable out"};
        }
        return {token_source::none, "cannot read " + path + ": " + std::strerror(errno) +
                                        "; it must be a regular file that PID 1 may read"};
    }
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > 1024)
        return {token_source::none, path + " must be a small regular file"};
    if (!out.read_from(fd.get())) return {token_source::none, "cannot read " + path};
    out.trim_line_end();
    if (!sys::looks_like_token(out.view())) {
        out.clear();
        return {token_source::none, path + expected};
    }
    return {token_source::file, {}};
}

}  // namespace keyhole::runtime
