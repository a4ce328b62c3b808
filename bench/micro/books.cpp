// The books on a request's path: reserve and settle a budget, open and settle a journal slot.
#include "metering/budget.hpp"
#include "metering/journal.hpp"
#include "metering/ledger_writer.hpp"

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

class folder {
public:
    folder()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "keyhole-micro-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error{"no temporary directory"};
        folder_ = pattern;
    }
    ~folder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    folder(const folder&) = delete;
    folder& operator=(const folder&) = delete;
    std::string at(const std::string& name) const { return (folder_ / name).string(); }

private:
    std::filesystem::path folder_;
};

void journal_slot(benchmark::State& state)
{
    const folder files;
    journal j{files.at("inflight"), 4096, false};
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

/// As a chat completion leaves it.
record finished(std::int64_t ended_us, std::int64_t session)
{
    record r;
    r.request_id = new_request_id();
    r.session = "ses_" + std::to_string(10'000'000'000'000'000 + session);
    r.provider = "openai";
    r.route = "POST /v1/chat/completions";
    r.model = "gpt-4o-mini";
    r.answered_model = "gpt-4o-mini-2024-07-18";
    const auto id = format_request_id(r.request_id);
    r.provider_request_id = "req_" + std::string(id.data(), id.size());
    r.answer_id = "chatcmpl-" + std::string(id.rbegin(), id.rend());
    r.service_tier = "default";
    r.price_version = "2026-11-21";
    r.format = wire::openai_chat;
    r.source = usage_source::provider;
    r.end = outcome::ok;
    r.priced = true;
    r.status = 200;
    r.counts.input = 300 + ended_us % 300;
    r.counts.cache_read = 128;
    r.counts.output = 100 + ended_us % 100;
    r.cost_nano_usd = r.counts.input * 150 + r.counts.output * 600;
    r.reserved_nano_usd = 2'000'000;
    r.received_us = ended_us - 900;
    r.forwarded_us = ended_us - 850;
    r.first_byte_us = r.first_token_us = ended_us - 20;
    r.ended_us = ended_us;
    r.bytes_in = 2048;
    r.bytes_out = 800;
    return r;
}

/// Rows of so many sessions into the ledger's file, so many a commit, 32 at a time; a time is that of one
/// commit.
void ledger_rows(benchmark::State& state)
{
    const folder files;
    ledger_writer file{files.at("ledger.db"), false, 1000};
    std::vector<record> rows(static_cast<std::size_t>(state.range(0)));
    std::int64_t at = now;
    constexpr std::size_t a_step = 32;
    for (auto _ : state) {
        state.PauseTiming();
        for (record& r : rows) {
            at += 30;
            r = finished(at, at / 30 * 7919 % state.range(1));
        }
        std::vector<const record*> some;
        state.ResumeTiming();
        for (const record& r : rows) {
            some.push_back(&r);
            if (some.size() != a_step && &r != &rows.back()) continue;
            file.take(some);
            some.clear();
        }
        file.commit();
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(ledger_rows)->Args({80, 1})->Args({800, 1})->Args({800, 1000});

}  // namespace
}  // namespace keyhole::bench

BENCHMARK_MAIN();
