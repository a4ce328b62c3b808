// The meter on an answer's bytes: splitting events, finding usage in streams and in JSON.
#include "metering/meter.hpp"

#include "bench/micro/samples.hpp"
#include "metering/request_facts.hpp"
#include "metering/sse.hpp"
#include "metering/token_counter.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

namespace keyhole::bench {
namespace {

struct counting_sink final : metering::sse_sink {
    void on_event_data(std::string_view piece) override { bytes += piece.size(); }
    void on_event_end(std::string_view) override { ++events; }
    std::size_t bytes = 0;
    std::size_t events = 0;
};

void bytes_done(benchmark::State& state, std::size_t each)
{
    state.SetBytesProcessed(static_cast<std::int64_t>(each) * state.iterations());
}

/// 200 events, delivered in reads of `range(0)` bytes.
void sse_splitter(benchmark::State& state)
{
    const auto whole = stream(200);
    const auto read = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        counting_sink sink;
        metering::sse_splitter splitter{sink};
        for (std::size_t at = 0; at < whole.size(); at += read)
            splitter.feed(std::string_view{whole}.substr(at, read));
        splitter.finish();
        benchmark::DoNotOptimize(sink.events);
    }
    state.SetItemsProcessed(state.iterations() * 202);
    bytes_done(state, whole.size());
}
BENCHMARK(sse_splitter)->Arg(300)->Arg(16'384);

/// The whole meter on the same stream: what an event costs the relay.
void usage_of_a_stream(benchmark::State& state)
{
    const auto whole = stream(200);
    const auto read = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        metering::meter m{metering::wire::openai_chat, {.content_type = "text/event-stream"}};
        for (std::size_t at = 0; at < whole.size(); at += read)
            m.feed(std::string_view{whole}.substr(at, read));
        benchmark::DoNotOptimize(m.finish(true).terminal);
    }
    state.SetItemsProcessed(state.iterations() * 202);
    bytes_done(state, whole.size());
}
BENCHMARK(usage_of_a_stream)->Arg(300)->Arg(16'384);

/// The same with what is left out where the agent did not ask for usage.
void usage_taken_out_of_a_stream(benchmark::State& state)
{
    const auto whole = stream(200);
    const auto read = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        metering::include_usage_filter filter;
        std::size_t out = 0;
        for (std::size_t at = 0; at < whole.size(); at += read)
            out += filter.feed(std::string_view{whole}.substr(at, read)).size();
        benchmark::DoNotOptimize(out);
    }
    state.SetItemsProcessed(state.iterations() * 202);
    bytes_done(state, whole.size());
}
BENCHMARK(usage_taken_out_of_a_stream)->Arg(300)->Arg(16'384);

/// The estimate's counting of a text of `range(0)` bytes.
void tokens_of_a_text(benchmark::State& state)
{
    const auto text = prose(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        metering::token_counter counter;
        counter.add(text);
        benchmark::DoNotOptimize(counter.millitokens());
    }
    bytes_done(state, text.size());
}
BENCHMARK(tokens_of_a_text)->Arg(8)->Arg(420)->Arg(65'536);

void usage_of_a_json_answer(benchmark::State& state)
{
    const auto whole = json_answer();
    for (auto _ : state) {
        metering::meter m{metering::wire::openai_chat, {.content_type = "application/json"}};
        m.feed(whole);
        benchmark::DoNotOptimize(m.finish(true).terminal);
    }
    bytes_done(state, whole.size());
}
BENCHMARK(usage_of_a_json_answer);

}  // namespace
}  // namespace keyhole::bench
