#include "sandbox-runtime/doctor/doctor.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/environment.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr std::string_view internal_word = "--examine";

// keyhole-init [--] doctor [--json], called by somebody who is not PID 1.
bool is_called_inside(int argc, char** argv) noexcept
{
    const int first = argc > 1 && std::string_view(argv[1]) == "--" ? 2 : 1;
    return argc > first && std::string_view(argv[first]) == "doctor" && ::getpid() != 1;
}

doctor::place place_from(char** argv, char** envp)
{
    const auto port = sys::parse_number(argv[3], 65'535).value_or(0);
    return {envp, argv[2], static_cast<std::uint16_t>(port), std::string_view(argv[4]) == "expected"};
}

doctor::place place_around(char** envp)
{
    const settings usual;
    const auto port = sys::parse_number(raw_value(envp, "LLM_PROXY_PORT"), 65'535).value_or(usual.port);
    const auto socket = raw_value(envp, "LLM_PROXY_SOCKET");
    return {envp, socket.empty() ? usual.socket : std::string(socket), static_cast<std::uint16_t>(port),
            !socket.empty() || expects_a_proxy(environment(envp))};
}

}  // namespace

std::vector<std::string> doctor_command(const settings& s)
{
    return {"/proc/self/exe",
            std::string(internal_word),
            s.socket,
            std::to_string(s.port),
            s.socket_was_named ? "expected" : "if-there",
            s.doctor == look::json ? "json" : "text"};
}

bool is_examination(int argc, char** argv) noexcept
{
    return (argc == 6 && std::string_view(argv[1]) == internal_word) || is_called_inside(argc, argv);
}

int examine(int argc, char** argv, char** envp)
{
    const bool inside = is_called_inside(argc, argv);
    const std::string_view last = argv[argc - 1];
    doctor::place here = inside ? place_around(envp) : place_from(argv, envp);
    here.expects_proxy = here.expects_proxy || expects_a_proxy(environment(envp));
    doctor::report r;
    doctor::look_at_identity(r);
    doctor::look_at_environment(r, here);
    doctor::look_at_processes(r);
    doctor::look_at_kernel(r);
    doctor::look_at_network(r);
    doctor::look_at_files(r, here);
    doctor::look_at_sockets(r, here);
    doctor::look_at_models(r, here);
    sys::write_all(STDOUT_FILENO, last == "json" || last == "--json" ? r.as_json() : r.as_text());
    return r.broken_ones() == 0 ? 0 : 1;
}

namespace doctor {

std::string read_file(const std::string& path)
{
    constexpr std::size_t most = 262'144;
    const sys::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    std::string text;
    char buffer[4096];
    while (fd && text.size() < most) {
        const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
        if (n <= 0) break;
        text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
}

std::string field_of(const std::string& status, const std::string& name)
{
    const std::size_t at = status.find("\n" + name + ":");
    if (at == std::string::npos) return {};
    const std::size_t start = status.find_first_not_of(" \t", at + name.size() + 2);
    if (start == std::string::npos) return {};
    return status.substr(start, status.find('\n', start) - start);
}

std::vector<std::string> names_in(const std::string& directory)
{
    std::vector<std::string> names;
    DIR* d = ::opendir(directory.c_str());
    if (d == nullptr) return names;
    const std::string own = directory == "/proc/self/fd" ? std::to_string(::dirfd(d)) : std::string();
    while (const dirent* entry = ::readdir(d))
        if (entry->d_name[0] != '.' && own != entry->d_name) names.emplace_back(entry->d_name);
    ::closedir(d);
    return names;
}

std::vector<std::string> split(std::string_view text, char separator)
{
    std::vector<std::string> parts;
    while (!text.empty()) {
        const std::size_t end = text.find(separator);
        if (end != 0) parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    return parts;
}

std::string join(const std::vector<std::string>& words)
{
    constexpr std::size_t most = 12;
    std::string out;
    for (std::size_t i = 0; i < words.size() && i < most; ++i)
        out += (i == 0 ? "" : ", ") + words[i];
    if (words.size() > most) out += " and " + std::to_string(words.size() - most) + " more";
    return out.empty() ? "none" : out;
}

}  // namespace doctor
}  // namespace keyhole::runtime
