#include "proxy/log.hpp"

#include "metering/budget.hpp"
#include "proxy/reply.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

namespace keyhole::proxy {
namespace {

constexpr std::size_t max_waiting = 8U * 1024 * 1024;
constexpr auto linger = std::chrono::milliseconds(20);

std::string_view name_of(config::log_level level) noexcept
{
    switch (level) {
    case config::log_level::debug:
        return "debug";
    case config::log_level::info:
        return "info";
    case config::log_level::warn:
        return "warn";
    case config::log_level::error:
        return "error";
    }
    return "info";
}

std::string timestamp()
{
    const auto us = metering::now_us();
    const std::time_t seconds = us / 1'000'000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char text[40];
    const auto n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    std::string out(text, n);
    const auto ms = std::to_string(1000 + us / 1000 % 1000);
    return out + '.' + ms.substr(1) + 'Z';
}

/// Text format: bare where that is unambiguous, else quoted as JSON.
std::string plain_or_quoted(std::string_view value)
{
    for (const char c : value)
        if (static_cast<unsigned char>(c) <= 0x20 || c == '"' || c == '=' || c == '\\')
            return json_quote(value);
    return value.empty() ? std::string("\"\"") : std::string(value);
}

}  // namespace

struct logger::impl {
    std::atomic<config::log_level> level{config::log_level::info};
    std::atomic<config::log_format> format{config::log_format::text};
    std::mutex mutex;
    std::condition_variable filled;
    std::condition_variable emptied;
    std::string waiting;
    bool stopping = false;
    bool writing = false;
    std::uint64_t dropped = 0;
    std::thread writer;

    void append(std::string line)
    {
        line += '\n';
        bool was_empty = false;
        {
            const std::lock_guard lock(mutex);
            if (waiting.size() + line.size() > max_waiting) {
                ++dropped;
                return;
            }
            was_empty = waiting.empty();
            waiting += line;
        }
        if (was_empty) filled.notify_one();
    }

    void run()
    {
        std::unique_lock lock(mutex);
        while (true) {
            filled.wait(lock, [&] { return stopping || !waiting.empty(); });
            if (!stopping) filled.wait_for(lock, linger, [&] { return stopping; });
            std::string batch;
            batch.swap(waiting);
            if (dropped != 0)
                batch += "log: " + std::to_string(std::exchange(dropped, 0)) +
                         " lines dropped, the reader is too slow\n";
            writing = true;
            lock.unlock();
            std::string_view rest = batch;
            while (!rest.empty()) {
                const auto n = ::write(STDERR_FILENO, rest.data(), rest.size());
                if (n <= 0) break;
                rest.remove_prefix(static_cast<std::size_t>(n));
            }
            lock.lock();
            writing = false;
            emptied.notify_all();
            if (stopping && waiting.empty()) return;
        }
    }

    using strings = std::vector<std::pair<std::string_view, std::string>>;

    /// Values in `raw` are numbers and booleans, printed bare in both formats.
    void line(config::log_level at, std::string_view message, const strings& texts, const strings& raw)
    {
        std::string out;
        if (format.load(std::memory_order_relaxed) == config::log_format::json) {
            out = R"({"time":")" + timestamp() + R"(","level":")";
            out += name_of(at);
            out += R"(","msg":)" + json_quote(message);
            for (const auto& [key, value] : texts) {
                out += ",\"";
                out += key;
                out += "\":" + json_quote(value);
            }
            for (const auto& [key, value] : raw) {
                out += ",\"";
                out += key;
                out += "\":" + value;
            }
            out += '}';
        } else {
            out = timestamp() + ' ';
            out += name_of(at);
            out += ' ';
            out += message;
            for (const auto& [key, value] : texts) {
                out += ' ';
                out += key;
                out += '=' + plain_or_quoted(value);
            }
            for (const auto& [key, value] : raw) {
                out += ' ';
                out += key;
                out += '=' + value;
            }
        }
        append(std::move(out));
    }
};

logger::logger(const config::logging& how) : impl_(std::make_unique<impl>())
{
    configure(how);
    impl_->writer = std::thread([this] { impl_->run(); });
}

logger::~logger()
{
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->stopping = true;
    }
    impl_->filled.notify_all();
    impl_->writer.join();
}

void logger::configure(const config::logging& how)
{
    impl_->level = how.level;
    impl_->format = how.format;
}

bool logger::enabled(config::log_level level) const noexcept
{
    return level >= impl_->level.load(std::memory_order_relaxed);
}

void logger::flush()
{
    std::unique_lock lock(impl_->mutex);
    impl_->filled.notify_all();
    impl_->emptied.wait_for(lock, std::chrono::seconds(1),
                            [&] { return impl_->waiting.empty() && !impl_->writing; });
}

void logger::write(config::log_level level, std::string_view message, fields with)
{
    if (!enabled(level)) return;
    impl::strings texts;
    for (const auto& [key, value] : with)
        if (!value.empty()) texts.emplace_back(key, value);
    impl_->line(level, message, texts, {});
}

void logger::request(const metering::record& r, std::string_view detail)
{
    if (!enabled(config::log_level::info)) return;
    const auto id = metering::format_request_id(r.request_id);
    impl::strings texts{{"request", std::string(id.data(), id.size())},
                        {"session", std::string(r.session.view())}};
    const auto add = [&](std::string_view key, std::string_view value) {
        if (!value.empty()) texts.emplace_back(key, value);
    };
    add("sandbox", r.sandbox.view());
    add("provider", r.provider.view());
    add("route", r.route.view());
    add("model", r.model.view());
    add("answered_model",
        r.answered_model.view() == r.model.view() ? std::string_view{} : r.answered_model.view());
    add("outcome", metering::to_string(r.end));
    add("error", r.error.view());
    add("usage", metering::to_string(r.source));
    add("provider_request", r.provider_request_id.view());
    add("detail", detail);
    if (r.priced) texts.emplace_back("usd", metering::format_usd(r.cost_nano_usd));
    impl::strings raw{{"status", std::to_string(r.status)},
                      {"input", std::to_string(r.counts.all_input())},
                      {"cache_read", std::to_string(r.counts.cache_read)},
                      {"output", std::to_string(r.counts.all_output())},
                      {"ms", std::to_string((r.ended_us - r.received_us) / 1000)},
                      {"bytes_in", std::to_string(r.bytes_in)},
                      {"bytes_out", std::to_string(r.bytes_out)},
                      {"stream", r.stream ? "true" : "false"}};
    if (r.first_byte_us != 0)
        raw.emplace_back("ttfb_ms", std::to_string((r.first_byte_us - r.received_us) / 1000));
    if (r.agent_gone) raw.emplace_back("agent_gone", "true");
    impl_->line(config::log_level::info, "request", texts, raw);
}

void logger::refused(std::string_view request_id, std::string_view session, std::string_view route,
                     int status, std::string_view code, std::string_view detail)
{
    if (!enabled(config::log_level::info)) return;
    impl::strings texts{{"request", std::string(request_id)}, {"code", std::string(code)}};
    if (!session.empty()) texts.emplace_back("session", session);
    if (!route.empty()) texts.emplace_back("route", route);
    if (!detail.empty()) texts.emplace_back("detail", detail);
    impl_->line(config::log_level::info, "refused", texts, {{"status", std::to_string(status)}});
}

}  // namespace keyhole::proxy
