// The books on a request's path: reserve and settle a budget, open and settle a journal slot.
#include "metering/budget.hpp"
#include "metering/journal.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <variant>
#include <vector>

namespace keyhole::bench {
namespace {

using namespace metering;

constexpr std::int64_t now = 1'790'000'000'000'000;

/// A session with a money limit below an account with two more.
void reserve_and_settle(benchmark::State& state)
{
    const std::int64_t much = 1'000'000'000'000'000'000;
    auto account = std::make_shared<budget>(
        "account", std::vector<limit>{{limit_unit::usd, limit_window::month, much},
                                      {limit_unit::tokens, limit_window::day, much}});
    auto session = std::make_shared<budget>(
        "session", std::vector<limit>{{limit_unit::usd, limit_window::total, much}}, account);
    for (auto _ : state) {
        auto got = session->reserve({.nano_usd = 2000, .tokens = 900}, now);
        std::get<reservation>(got).settle(1500, 700, now);
    }
}
BENCHMARK(reserve_and_settle);

class journal_file {
public:
    journal_file()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "keyhole-micro-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error{"no temporary directory"};
        folder_ = pattern;
    }
    ~journal_file()
    {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    journal_file(const journal_file&) = delete;
    journal_file& operator=(const journal_file&) = delete;
    std::string path() const { return (folder_ / "inflight").string(); }

private:
    std::filesystem::path folder_;
};

void journal_slot(benchmark::State& state)
{
    const journal_file file;
    journal j{file.path(), 4096, false};
    record r;
    r.session = "ses_0123456789abcdefghij";
    r.model = "gpt-4o-mini";
    for (auto _ : state) {
        r.request_id = new_request_id();
        const auto slot = j.open(r);
        if (!slot) throw std::runtime_error{"the journal is full"};
        j.at(*slot).end = outcome::ok;
        j.settle(*slot);
        j.free_slot(*slot);
    }
}
BENCHMARK(journal_slot);

}  // namespace
}  // namespace keyhole::bench

BENCHMARK_MAIN();
