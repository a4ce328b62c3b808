#include "proxy/cli/child.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::proxy::cli {
namespace {

std::atomic<pid_t> child{0};

void pass_on(int signal)
{
    const int kept = errno;
    if (const pid_t to = child.load(); to > 0) ::kill(to, signal);
    errno = kept;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts)
{
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (auto& t : texts)
        out.push_back(t.data());
    out.push_back(nullptr);
    return out;
}

/// Signal dispositions as they were, whatever happens in between.
class dispositions {
public:
    dispositions()
    {
        struct sigaction passing{};
        passing.sa_handler = pass_on;
        passing.sa_flags = SA_RESTART;
        struct sigaction ignoring{};
        ignoring.sa_handler = SIG_IGN;
        for (std::size_t i = 0; i < signals.size(); ++i) {
            const bool of_terminal = signals.at(i) == SIGINT || signals.at(i) == SIGQUIT;
            ::sigaction(signals.at(i), of_terminal ? &ignoring : &passing, &before_.at(i));
        }
    }
    ~dispositions() { restore(); }
    dispositions(const dispositions&) = delete;
    dispositions& operator=(const dispositions&) = delete;

    void restore() const noexcept
    {
        for (std::size_t i = 0; i < signals.size(); ++i)
            ::sigaction(signals[i], &before_[i], nullptr);
    }

private:
    static constexpr std::array signals{SIGINT, SIGQUIT, SIGTERM, SIGHUP};
    std::array<struct sigaction, signals.size()> before_{};
};

}  // namespace

int run_child(const std::vector<std::string>& arguments, const std::vector<std::string>& environment)
{
    std::vector<std::string> words = arguments;
    std::vector<std::string> variables = environment;
    const auto argv = pointers_to(words);
    const auto envp = pointers_to(variables);
    const dispositions kept;
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error(std::string("no process could be made: ") + std::strerror(errno));
    if (pid == 0) {
        kept.restore();
        ::execvpe(argv.front(), argv.data(), envp.data());
        ::_exit(errno == ENOENT ? 127 : 126);
    }
    child.store(pid);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    child.store(0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool is_in_path(const std::string& program)
{
    const char* path = std::getenv("PATH");
    std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        const std::string at = std::string(rest.substr(0, colon)) + '/' + program;
        if (::access(at.c_str(), X_OK) == 0) return true;
        rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
    }
    return false;
}

}  // namespace keyhole::proxy::cli
