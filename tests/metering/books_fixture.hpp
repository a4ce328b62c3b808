// What the tests of the books share: a directory that goes away, records to write, and ways to look at files.
#pragma once

#include "metering/record.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <thread>

namespace keyhole::metering::test {

using keyhole::test::temp_dir;

inline std::string read_file(const std::string& path)
{
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return std::move(text).str();
}

inline void write_file(const std::string& path, std::string_view content)
{
    std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

/// Waits for what another thread or process will bring about; false: it did not within the limit.
inline bool eventually(const std::function<bool()>& holds,
                       std::chrono::seconds limit = std::chrono::seconds(20))
{
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

inline std::int64_t any_of(std::mt19937& random, std::int64_t most)
{
    return std::uniform_int_distribution<std::int64_t>(0, most)(random);
}

/// A finished request like those that pass through a proxy: few sessions and models, all outcomes and
/// sources.
inline record random_record(std::mt19937& random, std::int64_t ended_us)
{
    record r;
    r.request_id = new_request_id();
    const auto one_of = [&](std::initializer_list<const char*> texts) {
        return std::string(texts.begin()[any_of(random, static_cast<std::int64_t>(texts.size()) - 1)]);
    };
    r.session = one_of({"ses_a", "ses_b", "ses_c"});
    r.account = one_of({"", "acc_1"});
    r.sandbox = one_of({"", "box-1", "box-2"});
    r.run = one_of({"", "run-1"});
    r.provider = one_of({"openai", "anthropic"});
    r.route = one_of({"POST /v1/chat/completions", "POST /v1/messages"});
    r.model = one_of({"", "gpt-4o", "claude-haiku-4-5"});
    r.answered_model = one_of({"gpt-4o-2024-08-06", "claude-haiku-4-5-20251001"});
    r.format = static_cast<wire>(any_of(random, static_cast<std::int64_t>(last_wire)));
    r.source = static_cast<usage_source>(any_of(random, 3));
    r.end = static_cast<outcome>(any_of(random, static_cast<std::int64_t>(outcome::internal_error)));
    r.status = static_cast<std::int16_t>(any_of(random, 1) != 0 ? 200 : 429);
    r.priced = any_of(random, 3) != 0;
    r.stream = any_of(random, 1) != 0;
    for (auto field : {&token_counts::input, &token_counts::cache_read, &token_counts::cache_write_5m,
                       &token_counts::cache_write_1h, &token_counts::output, &token_counts::output_reasoning,
                       &token_counts::web_searches})
    {
        r.counts.*field = any_of(random, 1) != 0 ? any_of(random, 100'000) : 0;
    }
    r.cost_nano_usd = r.priced ? any_of(random, 2'000'000'000) : 0;
    r.received_us = ended_us - 1'500'000;
    r.forwarded_us = ended_us - 1'499'000;
    r.first_byte_us = ended_us - 1'000'000;
    r.ended_us = ended_us;
    return r;
}

}  // namespace keyhole::metering::test
