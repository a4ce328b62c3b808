// links: keyhole_config
// Any text as keyhole.toml: settings or mistakes that name their place, never a crash.
#include "config/load.hpp"
#include "config/toml.hpp"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

namespace {

const std::string& file()
{
    static const std::string path = [] {
        std::string name = "/dev/shm/config-fuzz-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        return name + "/keyhole.toml";
    }();
    return path;
}

const char* no_environment(const char*)
{
    return nullptr;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace keyhole::config;
    const std::string text(data, data + size);
    // Files that the text names would be read: /dev/stdin would wait, and directories are no parsers.
    if (text.find("/dev") != text.npos || text.find("/proc") != text.npos) return 0;
    std::ofstream(file(), std::ios::binary) << text;
    const auto loaded = load({.file = file(), .getenv = no_environment, .environment_names = {"PATH"}});
    if (const auto* mistakes = std::get_if<1>(&loaded)) {
        if (mistakes->empty()) std::abort();
        for (const problem& p : *mistakes) {
            const std::string line = to_string(p);
            if (p.what.empty() || line.find('\n') != line.npos) std::abort();
        }
    }
    return 0;
}
