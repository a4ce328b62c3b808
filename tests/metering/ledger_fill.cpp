// ledger-fill DIR [--rows N] [--sessions N] [--days N] [--seed N]   writes DIR/ledger.db full of requests
// ledger-fill DIR --ask [--times N]                                asks it every report and prints how long
// each took
//
// The rows go through the ledger's own writer, so the roll-ups are what a proxy would have kept. They look
// like agents' work: sessions of some hours, each with its run, sandbox and account, two models, mostly
// answers that end well. Every figure in docs/metering.md about large ledgers comes from this program.
#include "metering/ledger_queries.hpp"
#include "metering/ledger_schema.hpp"
#include "metering/ledger_writer.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t rows_a_commit = 4096;

struct wish {
    std::string directory;
    std::int64_t rows = 10'000'000;
    std::int64_t sessions = 100'000;
    std::int64_t days = 90;
    std::int64_t times = 5;
    unsigned seed = 1;
    bool ask = false;
};

double ms_since(steady::time_point begin)
{
    return std::chrono::duration<double, std::milli>(steady::now() - begin).count();
}

/// A UUIDv7 of that time: ids rise with time, as minted ones do.
std::array<std::uint8_t, 16> id_at(std::int64_t us, std::mt19937_64& random)
{
    std::array<std::uint8_t, 16> id{};
    const auto ms = static_cast<std::uint64_t>(us / 1000);
    for (std::size_t i = 0; i < 6; ++i) {
        id[i] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
    }
    const std::uint64_t a = random();
    const std::uint64_t b = random();
    for (std::size_t i = 0; i < 8; ++i) {
        id[8 + i] = static_cast<std::uint8_t>(a >> (8 * i));
    }
    id[6] = static_cast<std::uint8_t>(0x70U | (b & 0x0FU));
    id[7] = static_cast<std::uint8_t>(b >> 8U);
    id[8] = static_cast<std::uint8_t>((id[8] & 0x3FU) | 0x80U);
    return id;
}

class generator {
public:
    explicit generator(const wish& w) : wish_(w), random_(w.seed)
    {
        const std::int64_t now = now_us();
        begin_ = (now / schema::day_us - w.days) * schema::day_us;
        step_ = std::max<std::int64_t>((now - begin_) / w.rows, 1);
    }

    record row(std::int64_t n)
    {
        record r;
        r.ended_us = begin_ + n * step_;
        r.request_id = id_at(r.ended_us, random_);
        // Sessions follow one another; at any time two hundred of them are at work.
        const std::int64_t oldest = n * std::max<std::int64_t>(wish_.sessions - 200, 0) / wish_.rows;
        const std::int64_t session = oldest + below(std::min<std::int64_t>(200, wish_.sessions));
        const std::string number = std::to_string(session);
        r.session = "ses_" + std::string(20 - std::min<std::size_t>(number.size(), 20), '0') + number;
        r.account = "acc_" + std::to_string(session % 50);
        r.sandbox = "box-" + number;
        r.run = "run-" + std::to_string(session / 4);
        r.attempt = "1";
        const bool claude = session % 2 == 0;
        const bool small = below(4) == 0;
        r.provider = claude ? "anthropic" : "openai";
        r.route = claude ? "POST /v1/messages" : small ? "POST /v1/chat/completions" : "POST /v1/responses";
        r.format = claude ? wire::anthropic_messages : small ? wire::openai_chat : wire::openai_responses;
        r.model =
            claude ? (small ? "claude-haiku-4-5" : "claude-opus-4-8") : (small ? "gpt-5-mini" : "gpt-5");
        r.answered_model = r.model.view();
        r.provider_request_id = "req_" + std::to_string(random_());
        r.answer_id = (claude ? "msg_" : "resp_") + std::to_string(random_());
        r.service_tier = "default";
        r.price_version = "0123456789abcdef";
        r.stream = true;
        r.status = 200;
        const std::int64_t luck = below(100);
        r.end = luck < 96 ? outcome::ok : luck < 98 ? outcome::provider_error : outcome::agent_gone;
        r.source = luck < 96   ? usage_source::provider
                   : luck < 98 ? usage_source::none
                               : usage_source::provider_partial;
        if (luck == 96 || luck == 97) r.status = 429;
        if (r.source != usage_source::none) {
            r.counts.input = below(4000);
            r.counts.cache_read = below(60'000);
            r.counts.cache_write_5m = below(5000);
            r.counts.output = below(2000);
            r.counts.output_reasoning = claude ? 0 : below(1000);
            r.cost_nano_usd = r.counts.input * 3000 + r.counts.cache_read * 300 + r.counts.output * 15'000;
            r.priced = true;
        }
        r.received_us = r.ended_us - 4'000'000;
        r.forwarded_us = r.received_us + 700;
        r.first_byte_us = r.received_us + 900'000;
        r.first_token_us = r.first_byte_us;
        r.bytes_in = below(400'000);
        r.bytes_out = below(30'000);
        return r;
    }

private:
    std::int64_t below(std::int64_t n)
    {
        return n <= 1 ? 0 : static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
    }
    const wish& wish_;
    std::mt19937_64 random_;
    std::int64_t begin_ = 0;
    std::int64_t step_ = 1;
};

void fill(const wish& w)
{
    const std::string path = w.directory + "/ledger.db";
    if (std::filesystem::exists(path)) throw std::runtime_error(path + " is there already");
    ledger_writer to(path, false, 1000);
    generator rows(w);
    std::vector<record> batch;
    const auto begin = steady::now();
    for (std::int64_t n = 0; n < w.rows; ++n) {
        batch.push_back(rows.row(n));
        if (batch.size() < rows_a_commit && n + 1 < w.rows) continue;
        std::vector<const record*> written;
        for (const record& r : batch)
            written.push_back(&r);
        to.write(written);
        batch.clear();
    }
    to.db().exec("PRAGMA wal_checkpoint(TRUNCATE)");
    const double seconds = ms_since(begin) / 1000;
    std::printf("%lld rows in %.0f s, %.0f a second, %.0f bytes a row\n", static_cast<long long>(w.rows),
                seconds, static_cast<double>(w.rows) / seconds,
                static_cast<double>(std::filesystem::file_size(path)) / static_cast<double>(w.rows));
    for (const char* table : {"usage_hourly", "usage_daily", "usage_margins"}) {
        std::printf("%s: %lld lines\n", table,
                    static_cast<long long>(to.db().integer("SELECT count(*) FROM " + std::string(table))));
    }
}

/// What this process used of a processor: on a busy machine the wall clock measures the neighbours.
double cpu_ms()
{
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

/// The middle and the worst of `times` answers, after one that fills the caches.
void time_one(const wish& w, const std::string& name, const usage_query& q)
{
    const std::string path = w.directory + "/ledger.db";
    std::vector<double> took;
    std::vector<double> worked;
    std::size_t groups = 0;
    const auto cold_begin = steady::now();
    groups = queries::usage(path, q).size();
    const double first = ms_since(cold_begin);
    for (std::int64_t i = 0; i < w.times; ++i) {
        const auto begin = steady::now();
        const double worked_before = cpu_ms();
        groups = queries::usage(path, q).size();
        took.push_back(ms_since(begin));
        worked.push_back(cpu_ms() - worked_before);
    }
    std::ranges::sort(took);
    std::ranges::sort(worked);
    std::printf("%-36s %6zu groups  first %7.1f ms  median %7.1f ms  worst %7.1f ms  cpu %7.1f ms\n",
                name.c_str(), groups, first, took[took.size() / 2], took.back(), worked[worked.size() / 2]);
}

void ask(const wish& w)
{
    constexpr std::pair<const char*, group_by> groups[] = {
        {"none", group_by::none},         {"session", group_by::session}, {"account", group_by::account},
        {"sandbox", group_by::sandbox},   {"run", group_by::run},         {"model", group_by::model},
        {"provider", group_by::provider}, {"route", group_by::route},     {"day", group_by::day},
        {"outcome", group_by::outcome},   {"source", group_by::source}};
    const std::int64_t now = now_us();
    const auto back = [&](std::int64_t days) { return now - days * schema::day_us; };
    for (const auto& [name, by] : groups) {
        const std::string head = "by " + std::string(name);
        time_one(w, head, {.by = by});
        time_one(w, head + ", since 1d", {.by = by, .since_us = back(1)});
        time_one(w, head + ", since 7d", {.by = by, .since_us = back(7)});
        time_one(w, head + ", since 30d", {.by = by, .since_us = back(30)});
        time_one(w, head + ", since 80d", {.by = by, .since_us = back(80)});
        time_one(w, head + ", of an account", {.by = by, .account = "acc_7"});
        time_one(w, head + ", of a model", {.by = by, .model = "gpt-5"});
    }
}

wish read(int argc, char** argv)
{
    wish w;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        const auto number = [&] {
            if (i + 1 == argc) throw std::runtime_error(std::string(word) + " needs a number");
            return std::stoll(argv[++i]);
        };
        if (word == "--rows")
            w.rows = number();
        else if (word == "--sessions")
            w.sessions = number();
        else if (word == "--days")
            w.days = number();
        else if (word == "--times")
            w.times = number();
        else if (word == "--seed")
            w.seed = static_cast<unsigned>(number());
        else if (word == "--ask")
            w.ask = true;
        else if (!word.starts_with('-') && w.directory.empty())
            w.directory = word;
        else
            throw std::runtime_error("unknown argument " + std::string(word));
    }
    if (w.directory.empty() || w.rows < 1 || w.sessions < 1 || w.days < 1 || w.times < 1)
        throw std::runtime_error("usage: ledger-fill DIR [--rows N] [--sessions N] [--days N] | DIR --ask");
    return w;
}

}  // namespace
}  // namespace keyhole::metering

int main(int argc, char** argv)
{
    using namespace keyhole::metering;
    try {
        const wish w = read(argc, argv);
        w.ask ? ask(w) : fill(w);
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "ledger-fill: %s\n", e.what());
        return 1;
    }
}
