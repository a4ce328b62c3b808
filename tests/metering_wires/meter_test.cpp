#include "metering/meter.hpp"

#include <gtest/gtest.h>

using namespace keyhole::metering;

TEST(Meter, ReadsAChatBody)
{
    meter m{wire::openai_chat, {.content_type = "application/json"}};
    m.feed(
        R"({"id":"x","model":"gpt","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}})");
    const reading& r = m.finish(true);
    EXPECT_EQ(r.counts.all_input(), 10);
    EXPECT_EQ(r.counts.all_output(), 5);
    EXPECT_EQ(r.source, usage_source::provider);
}
