// Whole JSON answers of a known form, where nobody asks for the text of one that tells its usage: the reading
// is the same to the last field but that text, and the text is there where it is needed.
#include "metering/compiled_wire.hpp"
#include "metering/meter.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>

namespace keyhole::metering {
namespace {

std::string chat(std::string_view text, std::string_view usage)
{
    return R"({"id":"chatcmpl-)" + std::to_string(text.size()) +
           R"(","model":"m-1","service_tier":"flex","choices":[)" +
           R"({"index":0,"message":{"role":"assistant","content":")" + std::string(text) +
           R"("},"finish_reason":"stop"}])" + std::string(usage) + "}";
}

reading read(const std::string& body, texts_counted texts, wire w = wire::openai_chat)
{
    meter m{w, {.content_type = "application/json", .texts = texts}};
    m.feed(body);
    return m.finish(true);
}

void expect_equal_but_text(const reading& a, const reading& b)
{
    EXPECT_EQ(a.counts, b.counts);
    EXPECT_EQ(a.source, b.source);
    EXPECT_EQ(a.provider_total, b.provider_total);
    EXPECT_EQ(a.terminal, b.terminal);
    EXPECT_EQ(a.model, b.model);
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.service_tier, b.service_tier);
    EXPECT_EQ(a.damaged, b.damaged);
}

constexpr std::string_view texts[] = {"key", "hole in the wall", "say \\\"hi\\\" \\u00e9", "one more"};

TEST(KnownBodies, ATextIsNotCountedWhereTheUsageIsTold)
{
    constexpr std::string_view usage =
        R"(,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10})";
    reading last;
    const auto read_all = [&] {
        for (const std::string_view text : texts) {
            const reading counted = read(chat(text, usage), texts_counted::all);
            last = read(chat(text, usage), texts_counted::unbilled);
            expect_equal_but_text(last, counted);
            EXPECT_NE(counted.text.bytes, 0);
        }
    };
    std::thread(read_all).join();   // forms are a thread's: nothing was learned or given up before
    EXPECT_EQ(last.text.bytes, 0);  // its form was known by then
    EXPECT_EQ(last.source, usage_source::provider);
}

TEST(KnownBodies, ATextIsCountedWhereNoUsageIsTold)
{
    for (const std::string_view usage : {"", R"(,"usage":null)"}) {
        for (const std::string_view text : texts) {
            const reading counted = read(chat(text, usage), texts_counted::all);
            const reading needed = read(chat(text, usage), texts_counted::unbilled);
            expect_equal_but_text(needed, counted);
            EXPECT_EQ(needed.text, counted.text);
            EXPECT_NE(needed.text.bytes, 0);
        }
    }
}

/// What is left unsaid with a text must be nothing but the text.
TEST(KnownBodies, NoPathOfATextSaysAnythingElse)
{
    using kind = path_action::kind;
    for (unsigned w = 0; w <= static_cast<unsigned>(last_wire); ++w) {
        for (const auto& actions : compiled(static_cast<wire>(w)).actions) {
            const bool text =
                std::ranges::any_of(actions, [](const auto& a) { return a.what == kind::text; });
            EXPECT_TRUE(!text ||
                        std::ranges::all_of(actions,
                                            [](const path_action& a) {
                                                return a.what == kind::text ||
                                                       (a.what == kind::fact && a.said == fact::text);
                                            }))
                << "wire " << w;
        }
    }
}

}  // namespace
}  // namespace keyhole::metering
