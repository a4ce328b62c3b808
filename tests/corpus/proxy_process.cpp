#include "proxy_process.hpp"

#include "metering/ledger_queries.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace keyhole::corpus {
namespace {

using std::chrono::steady_clock;

std::string contents(const std::filesystem::path& path)
{
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string quoted(const std::filesystem::path& path)
{
    return "'" + path.string() + "'";
}

}  // namespace

proxy_process::proxy_process(const std::filesystem::path& program, std::uint16_t port, const std::string& key)
    : program_(program)
{
    std::string name = (std::filesystem::temp_directory_path() / "keyhole-corpus-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error(name + ": cannot be made");
    home_ = name;
    for (const auto* d : {"config", "state", "sockets", "admin", "own"})
        std::filesystem::create_directory(home_ / d);
    std::filesystem::permissions(home_ / "admin", std::filesystem::perms::owner_all);
    socket_ = (home_ / "sockets/llm.sock").string();

    const std::string at = "http://127.0.0.1:" + std::to_string(port);
    std::ofstream config(home_ / "config/keyhole.toml");
    config << "[log]\nlevel = \"warn\"\n[agents]\nsocket = \"" << socket_ << "\"\nsession_sockets = \""
           << (home_ / "own").string() << "\"\n[admin]\nsocket = \"" << (home_ / "admin/admin.sock").string()
           << "\"\n[state]\ndirectory = \"" << (home_ / "state").string()
           << "\"\n[metrics]\nlisten = \"off\"\n";
    const std::array<std::pair<const char*, const char*>, 6> providers{{{"openai", "/v1"},
                                                                        {"anthropic", "/v1"},
                                                                        {"gemini", "/v1beta"},
                                                                        {"cohere", "/v2"},
                                                                        {"bedrock", ""},
                                                                        {"ollama", ""}}};
    for (const auto& [provider, base] : providers) {
        config << "[providers." << provider << "]\nbase_url = \"" << at << base << "\"\n";
        if (std::string_view(provider) != "ollama") config << "key = \"env:CORPUS_KEY\"\n";
    }
    config.close();

    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("cannot fork");
    if (pid_ == 0) {
        const int log = ::open((home_ / "log").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
        ::dup2(log, STDERR_FILENO);
        const std::string secret = "CORPUS_KEY=" + key;
        const std::string file = (home_ / "config/keyhole.toml").string();
        const std::array<const char*, 5> argv{program_.c_str(), "serve", "--config", file.c_str(), nullptr};
        const std::array<const char*, 3> environment{secret.c_str(), "PATH=/usr/bin:/bin", nullptr};
        ::execve(program_.c_str(), const_cast<char* const*>(argv.data()),
                 const_cast<char* const*>(environment.data()));
        ::_exit(127);
    }
    const auto limit = steady_clock::now() + std::chrono::seconds(20);
    while (token_.empty()) {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
            pid_ = -1;
            throw std::runtime_error(program_.string() + " did not start:\n" + contents(home_ / "log"));
        }
        token_ = run("session create --quiet");
        if (token_.empty() && steady_clock::now() > limit)
            throw std::runtime_error(program_.string() + " is not ready after 20 s:\n" +
                                     contents(home_ / "log"));
    }
}

proxy_process::~proxy_process()
{
    if (pid_ > 0) {
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
    }
    std::error_code ignored;
    std::filesystem::remove_all(home_, ignored);
}

std::string proxy_process::run(const std::string& arguments) const
{
    const std::string command = quoted(program_) + " " + arguments + " --admin " +
                                quoted(home_ / "admin/admin.sock") + " 2>/dev/null";
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), &::pclose);
    std::string out;
    char part[4096];
    for (std::size_t n = 0; pipe && (n = std::fread(part, 1, sizeof part, pipe.get())) != 0;)
        out.append(part, n);
    while (!out.empty() && out.back() == '\n')
        out.pop_back();
    return out;
}

std::map<std::string, metering::record> proxy_process::rows(std::size_t wanted) const
{
    const auto limit = steady_clock::now() + std::chrono::seconds(30);
    std::map<std::string, metering::record> out;
    while (true) {
        out.clear();
        metering::queries::each_row((home_ / "state/ledger.db").string(), {}, [&](const metering::record& r) {
            const auto id = metering::format_request_id(r.request_id);
            out.emplace(std::string(id.begin(), id.end()), r);
            return true;
        });
        if (out.size() >= wanted || steady_clock::now() > limit) return out;
        std::this_thread::yield();
    }
}

}  // namespace keyhole::corpus
