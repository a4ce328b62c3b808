#include "config/secrets.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::config {
namespace {

constexpr std::size_t longest_secret = 16 * 1024;

/// What a key can't contain, since it is sent in a header field.
bool is_usable(std::string_view value)
{
    for (const char c : value)
        if (c <= 0x20 || c == 0x7f) return false;
    return true;
}

resolved_secret refuse(std::string what, std::string remedy)
{
    return {nullptr, std::move(what), std::move(remedy), {}};
}

resolved_secret accept(std::string_view value, const std::string& where)
{
    while (!value.empty() && (value.back() == '\n' || value.back() == '\r'))
        value.remove_suffix(1);  // editors and `echo` add them
    if (value.empty()) return refuse(where + " is empty", "put the key there");
    if (!is_usable(value))
        return refuse(where + " holds white space or control characters inside the key",
                      "put the bare key there");
    return {std::make_shared<const secret>(value), {}, {}, {}};
}

resolved_secret from_file(const std::string& path)
{
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse("the file " + path + " cannot be read: " + std::strerror(errno),
                      "check the path and its permissions");
    struct stat at{};
    if (::fstat(fd, &at) != 0 || !S_ISREG(at.st_mode)) {
        ::close(fd);
        return refuse(path + " is not a regular file", "name the file that holds the key and nothing else");
    }
    char room[longest_secret + 1];
    std::size_t size = 0;
    while (size < sizeof room) {
        const auto n = ::read(fd, room + size, sizeof room - size);
        if (n <= 0) break;
        size += static_cast<std::size_t>(n);
    }
    ::close(fd);
    auto out = size > longest_secret ? refuse("the file " + path + " is too large for a key",
                                              "name the file that holds the key and nothing else")
                                     : accept({room, size}, "the file " + path);
    wipe(room, size);
    if (out.value && (at.st_mode & 077U) != 0) out.note = path + " can be read by others: chmod 600 it";
    return out;
}

}  // namespace

resolved_secret resolve_secret(std::string_view reference,
                               const std::function<const char*(const char*)>& getenv)
{
    if (reference.starts_with("env:")) {
        const std::string name(reference.substr(4));
        const char* value = getenv(name.c_str());
        if (value == nullptr)
            return refuse("the environment has no " + name, "export it before the start, or use file:/path");
        return accept(value, "the environment's " + name);
    }
    if (reference.starts_with("file:")) return from_file(std::string(reference.substr(5)));
    // Most likely the secret itself: it must not be echoed.
    return refuse("a secret may not stand in the configuration", "write env:NAME or file:/path");
}

}  // namespace keyhole::config
