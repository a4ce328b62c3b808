#include "sandbox-runtime/session_token.hpp"

#include "bridge/system.hpp"
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

token_result take_session_token(char** envp, const std::string& path, sys::locked_bytes& out)
{
    if (const std::string_view value = raw_value(envp, "SESSION_TOKEN"); !value.empty()) {
        if (!sys::looks_like_token(value) || !out.append(value.data(), value.size()))
            return {token_source::none, std::string("SESSION_TOKEN") + expected};
        return {token_source::variable, {}};
    }
    // O_NONBLOCK: a FIFO planted there must not hang the start.
    const sys::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) {
        if (errno == ENOENT || errno == ENOTDIR) return {};
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
