// What a row holds, to the last field.
#include "books_on_disk.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/ledger_schema.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace keyhole::metering {

namespace {

using test::books_on_disk;
using test::random_record;

std::string id_of(const record& r)
{
    const auto text = format_request_id(r.request_id);
    return {text.data(), text.size()};
}

/// Every field, one a line.
std::string in_words(const record& r)
{
    std::string text;
    const auto print = [&](const char* name, const auto& field) {
        using field_type = std::decay_t<decltype(field)>;
        text += std::string(name) + "=";
        if constexpr (requires { field.view(); })
            text += field.view();
        else if constexpr (std::is_enum_v<field_type>)
            text += to_string(field);
        else if constexpr (std::is_integral_v<field_type>)
            text += std::to_string(field);
        else
            text += std::string(format_request_id(field).data(), 36);
        text += "\n";
    };
    schema::each_field(print, r);
    return text;
}

TEST(Ledger, KeepsEveryFieldOfARow)
{
    books_on_disk b;
    std::mt19937 random(1);
    record r = random_record(random, now_us());
    r.attempt = "2";
    r.model = "gpt-4o";
    r.provider_request_id = "req_abc";
    r.answer_id = "resp_1";
    r.service_tier = "flex";
    r.error = "rate_limit_error";
    r.price_version = "0123456789abcdef";
    r.agent_gone = true;
    r.total_mismatch = true;
    r.counts.input_audio = 1;
    r.counts.output_audio = 2;
    r.counts.input_image = 3;
    r.counts.output_image = 4;
    r.provider_cost_nano_usd = 5;
    r.reserved_nano_usd = 6;
    r.first_token_us = 7;
    r.bytes_in = 8;
    r.bytes_out = 9;
    b.add(r);
    ASSERT_TRUE(b.books.flush(10));

    const auto rows = b.books.rows({});
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(in_words(rows[0]), in_words(r));
}

/// Rows of a batch share statements, whose parameters keep what they held for the row before.
TEST(Ledger, NoRowOfABatchHasAFieldOfAnother)
{
    books_on_disk b;
    std::mt19937 random(3);
    std::map<std::string, std::string> expected;
    const auto texts = {"", "a", "rate_limit_error", "overloaded_error"};
    for (int i = 0; i < 500; ++i) {
        record r = random_record(random, now_us());
        const auto any = [&] { return texts.begin()[random() % texts.size()]; };
        r.attempt = any();
        r.service_tier = any();
        r.error = any();
        r.price_version = any();
        r.beyond_model = any();
        r.agent_gone = random() % 2 != 0;
        for (auto* number : {&r.counts.input_audio, &r.beyond.input, &r.beyond.output, &r.reserved_nano_usd,
                             &r.provider_cost_nano_usd, &r.bytes_in})
            *number = random() % 2 != 0 ? static_cast<std::int64_t>(random() % 3) : 0;
        expected[id_of(r)] = in_words(r);
        b.add(r);
        if (i % 37 == 0) b.books.flush(10);  // batches of any length
    }
    ASSERT_TRUE(b.books.flush(10));
    const auto rows = b.books.rows({});
    ASSERT_EQ(rows.size(), expected.size());
    for (const record& r : rows) {
        EXPECT_EQ(in_words(r), expected[id_of(r)]);
    }
}

}  // namespace

}  // namespace keyhole::metering
