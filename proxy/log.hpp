// Structured logs on stderr, JSON or text: one line a request at its end, and what an operator can act on.
// Values are allow-listed by who writes them: never a header's value, never a body, never a token. Lines are
// written by a thread of their own, so a slow reader of the log never holds up a worker (lines over a bound
// are dropped and counted). Thread rule: any thread.
#pragma once

#include "config/config.hpp"
#include "metering/record.hpp"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace keyhole::proxy {

class logger {
public:
    explicit logger(const config::logging& how);
    ~logger();
    logger(const logger&) = delete;
    logger& operator=(const logger&) = delete;

    void configure(const config::logging& how);
    using fields = std::initializer_list<std::pair<std::string_view, std::string_view>>;
    void write(config::log_level level, std::string_view message, fields with = {});
    void info(std::string_view message, fields with = {}) { write(config::log_level::info, message, with); }
    void warn(std::string_view message, fields with = {}) { write(config::log_level::warn, message, with); }
    void error(std::string_view message, fields with = {}) { write(config::log_level::error, message, with); }

    /// The one line of a forwarded request.
    void request(const metering::record& r, std::string_view detail);
    /// The one line of a request that the proxy refused itself.
    void refused(std::string_view request_id, std::string_view session, std::string_view route, int status,
                 std::string_view code, std::string_view detail);
    bool enabled(config::log_level level) const noexcept;
    void flush();

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::proxy
