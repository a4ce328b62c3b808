// What is done to a request before it is forwarded: its head, its path, its route, its body's facts, whose
// token it carries.
#include "bench/micro/samples.hpp"
#include "metering/request_facts.hpp"
#include "proxy/http/head.hpp"
#include "proxy/route.hpp"
#include "proxy/session.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace keyhole::bench {
namespace {

bool is_provider(std::string_view name, const void*)
{
    return name == "openai" || name == "anthropic";
}

void scan_request_body(benchmark::State& state)
{
    const auto body = prompt(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        const auto facts = metering::scan_request(body);
        benchmark::DoNotOptimize(facts.complete);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(body.size()) * state.iterations());
}
BENCHMARK(scan_request_body)->Arg(2048)->Arg(200 * 1024)->Arg(1024 * 1024);

void find_route(benchmark::State& state)
{
    for (auto _ : state) {
        proxy::target where;
        const auto wrong = proxy::parse_target("/v1/chat/completions", &is_provider, nullptr, where);
        const auto m = proxy::match_route(proxy::http::method::post, where, config::dialect::openai);
        benchmark::DoNotOptimize(m.found);
        benchmark::DoNotOptimize(&wrong);
    }
}
BENCHMARK(find_route);

/// `range(0)`: sessions that are registered.
void find_token(benchmark::State& state)
{
    proxy::session_registry registry;
    std::vector<std::string> tokens;
    for (std::int64_t i = 0; i < state.range(0); ++i) {
        tokens.push_back(proxy::mint_token());
        proxy::session_info info;
        info.id = proxy::mint_session_id();
        auto limits = std::make_shared<metering::budget>(info.id, std::vector<metering::limit>{});
        registry.add(proxy::digest_of(tokens.back()),
                     std::make_shared<proxy::session>(std::move(info), std::move(limits), std::nullopt));
    }
    std::size_t next = 0;
    for (auto _ : state) {
        const auto found = registry.find_token(tokens[next++ % tokens.size()]);
        benchmark::DoNotOptimize(found.get());
    }
}
BENCHMARK(find_token)->Arg(1)->Arg(1000);

void refuse_token(benchmark::State& state)
{
    const proxy::session_registry registry;
    const auto unknown = proxy::mint_token();
    for (auto _ : state) {
        const auto found = registry.find_token(unknown);
        benchmark::DoNotOptimize(found.get());
    }
}
BENCHMARK(refuse_token);

}  // namespace
}  // namespace keyhole::bench
