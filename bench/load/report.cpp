#include "bench/load/report.hpp"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <sys/resource.h>

namespace keyhole::bench {
namespace {

nlohmann::json shown(const histogram& h)
{
    const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
    return {{"count", h.count()},   {"mean", h.mean() / 1e3}, {"p50", us(h.at(0.5))},
            {"p90", us(h.at(0.9))}, {"p99", us(h.at(0.99))},  {"p99.9", us(h.at(0.999))},
            {"max", us(h.max())}};
}

double own_cpu_seconds() noexcept
{
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto of = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return of(used.ru_utime) + of(used.ru_stime);
}

}  // namespace

void print_report(const generator& g)
{
    const auto& t = g.result();
    nlohmann::json report{
        {"requests", t.requests},
        {"seconds", g.seconds()},
        {"requests_per_second", g.seconds() > 0 ? static_cast<double>(t.requests) / g.seconds() : 0.0},
        {"latency_us", shown(t.latency)},
        {"first_token_us", shown(t.first_token)},
        {"events", t.events},
        {"answer_bytes", t.answer_bytes},
        {"prompt_tokens", t.prompt_tokens},
        {"cached_tokens", t.cached_tokens},
        {"completion_tokens", t.completion_tokens},
        {"own_cpu_seconds", own_cpu_seconds()},
        {"faults", g.faults()}};
    if (t.gap.count() != 0) {
        report["gap_us"] = shown(t.gap);
        report["delay_us"] = shown(t.delay);
    }
    std::puts(report.dump().c_str());
}

}  // namespace keyhole::bench
