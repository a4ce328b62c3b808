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

int place_of_word(int argc, char** argv) noexcept
{
    return argc > 1 && std::string_view(argv[1]) == "--" ? 2 : 1;
}

// keyhole-init [--] doctor [--json], called by somebody who is not PID 1.
bool is_called_inside(int argc, char** argv) noexcept
{
    const int first = place_of_word(argc, argv);
    return argc > first && std::string_view(argv[first]) == "doctor" && ::getpid() != 1;
}

doctor::place place_from(char** argv, char** envp)
{
    const auto port = sys::parse_number(argv[3], 65'535).value_or(0);
    return {envp,
            argv[2],
            static_cast<std::uint16_t>(port),
            std::string_view(argv[4]) == "expected",
            argv[5],
            argv[6],
            std::string_view(argv[7]) == "no-new-privileges" ? doctor::certainty::yes
                                                             : doctor::certainty::no};
}

// Who came by docker exec has no ancestor in here, and no_new_privs only if the container has; the agent has
// it from PID 1.
doctor::certainty what_exec_gains()
{
    std::string status = doctor::read_file("/proc/self/status");
    const bool none = doctor::field_of(status, "NoNewPrivs") == "1";
    if (!none) return doctor::certainty::no;
    for (std::string parent = doctor::field_of(status, "PPid"); parent != "1";) {
        if (parent == "0") return doctor::certainty::yes;
        status = doctor::read_file("/proc/" + parent + "/status");
        const std::string next = doctor::field_of(status, "PPid");
        if (next.empty() || next == parent) break;
        parent = next;
    }
    return doctor::certainty::unknown;
}

std::string named_or(char** envp, const char* variable, const std::string& usual)
{
    const auto value = raw_value(envp, variable);
    return value.empty() ? usual : std::string(value);
}

doctor::place place_around(char** envp)
{
    const settings usual;
    const auto port = sys::parse_number(raw_value(envp, "LLM_PROXY_PORT"), 65'535).value_or(usual.port);
    return {envp,
            named_or(envp, "LLM_PROXY_SOCKET", usual.socket),
            static_cast<std::uint16_t>(port),
            !raw_value(envp, "LLM_PROXY_SOCKET").empty() || expects_a_proxy(environment(envp)),
            named_or(envp, "SESSION_TOKEN_FILE", usual.token_file),
            named_or(envp, "KEYHOLE_SECRETS", usual.secrets_directory),
            what_exec_gains()};
}

}  // namespace

std::vector<std::string> doctor_command(const settings& s)
{
    return {"/proc/self/exe",
            std::string(internal_word),
            s.socket,
            std::to_string(s.port),
            s.socket_was_named ? "expected" : "if-there",
            s.token_file,
            s.secrets_directory,
            s.given_no_new_privileges ? "no-new-privileges" : "new-privileges",
            s.doctor == look::json ? "json" : "text"};
}

bool is_examination(int argc, char** argv) noexcept
{
    return (argc == 9 && std::string_view(argv[1]) == internal_word) || is_called_inside(argc, argv);
}

int examine(int argc, char** argv, char** envp)
{
    const bool inside = is_called_inside(argc, argv);
    const std::string_view last = argv[argc - 1];
    if (const int word = place_of_word(argc, argv);
        inside && (argc > word + 2 || (argc == word + 2 && last != "--json")))
    {
        sys::complain({argv[word + 1], " is not an option of doctor: it has --json only"});
        return sys::exit_usage;
    }
    doctor::place here = inside ? place_around(envp) : place_from(argv, envp);
    here.expects_proxy = here.expects_proxy || expects_a_proxy(environment(envp));
    doctor::report r;
    doctor::look_at_identity(r);
    doctor::look_at_environment(r, here);
    doctor::look_at_processes(r);
    doctor::look_at_kernel(r);
    doctor::look_at_network(r);
    doctor::look_at_system_files(r, here);
    doctor::look_at_devices(r);
    doctor::look_at_mounts(r);
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
