// links: keyhole_config
// Any bytes as an environment value, as a URL, as an address and as a file: load() answers with settings or
// with problems, each of one line, and nothing is read from the machine but the file itself.
#include "config/load.hpp"
#include "config/url.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace {

using namespace keyhole::config;

void require(bool holds)
{
    if (!holds) std::abort();
}

/// A file of the process's memory: no disk, one name.
class memory_file {
public:
    memory_file() : fd_(::memfd_create("fuzz", 0)), path_("/proc/self/fd/" + std::to_string(fd_)) {}
    void write(std::string_view bytes)
    {
        require(::ftruncate(fd_, 0) == 0);
        require(::pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    }
    const std::string& path() const { return path_; }

private:
    int fd_;
    std::string path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static memory_file file;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const std::string text(bytes);

    const auto url = parse_base_url(bytes);
    if (const auto* good = std::get_if<base_url>(&url)) {
        require(!good->host.empty() && good->port != 0 && (good->path.empty() || good->path.front() == '/'));
        require(good->host.find_first_of("/@?# \r\n") == std::string::npos &&
                good->path.find_first_of("?# \r\n") == std::string::npos);
    }
    const auto address = parse_tcp_address(bytes);
    if (const auto* good = std::get_if<tcp_address>(&address)) {
        require(std::get<tcp_address>(parse_tcp_address(to_string(*good))).host == good->host);
    }

    file.write(bytes);
    sources from;
    from.file = file.path();
    from.overrides["agents.sockets"] = text;
    from.getenv = [&](const char* name) -> const char* {
        if (std::strcmp(name, "OPENAI_API_KEY") == 0) return "sk-0123456789";
        return std::strcmp(name, "KEYHOLE_AGENTS_TCP") == 0 ? text.c_str() : nullptr;
    };
    from.environment_names = {"KEYHOLE_AGENTS_TCP"};
    const auto result = load(from);
    if (const auto* problems = std::get_if<std::vector<problem>>(&result)) {
        require(!problems->empty());
        for (const problem& p : *problems) {
            require(to_string(p).find('\n') == std::string::npos && !p.what.empty());
        }
    } else {
        require(!std::get<settings>(result).providers.empty());
    }
    return 0;
}
