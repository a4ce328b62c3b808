// What is left out of an event is the same whether its form was judged before or not.
#include "metering/known_cuts.hpp"

#include "metering/request_facts.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace keyhole::metering {
namespace {

std::string filtered(const std::vector<std::string>& events, bool forgetful)
{
    include_usage_filter filter;
    std::string out;
    for (const auto& event : events) {
        if (forgetful) known_cuts::of_thread() = {};
        out += filter.feed(event);
    }
    out += filter.finish();
    return out;
}

std::vector<std::string> stream(unsigned seed)
{
    constexpr std::string_view forms[] = {
        R"(data: {"id":"%","n":#,"choices":[{"delta":{"content":"%"},"logprobs":null}],"usage":null,"obfuscation":"%"})",
        R"(data: {"usage":null,"choices":[{"delta":{"content":"%"}}],"n":#})",
        R"(data: {"usage" : null , "n":#})",
        R"(data: {"n":#,"choices":[{"usage":null}]})",
        R"(data: {"id":"%","choices":[],"usage":{"total_tokens":#}})",
        R"(data: {"us\u0061ge":null,"id":"%","n":#})",
        R"(data: {"usage":null,"id":"%","usage":null})",
        R"(data: {"usage":#,"id":"%"})",
        R"(event: usage)",
    };
    constexpr std::string_view texts[] = {
        "",    "usage",   "a",    "a longer text than that before it", "\\n", "\\\"",
        "\\x", "\\u00e9", "\x01", "\",\"usage\":null,\"a\":\""};
    constexpr std::string_view numbers[] = {"1", "1", "-20", "1.5e3", "01", "1-2", "null"};
    std::mt19937 random{seed};
    const auto one_of = [&](const auto& list) { return list[random() % std::size(list)]; };
    std::vector<std::string> events;
    const auto favourite = random();
    for (int i = 0; i < 40; ++i) {
        std::string event;
        for (const char c : random() % 3 != 0 ? forms[favourite % std::size(forms)] : one_of(forms)) {
            if (c == '%')
                event += one_of(texts);
            else if (c == '#')
                event += one_of(numbers);
            else
                event += c;
        }
        events.push_back(event + (random() % 16 == 0 ? "\r\n\r\n" : "\n\n"));
    }
    return events;
}

TEST(KnownCuts, EventsOfAKnownFormAreCutAsIfTheyWereRead)
{
    std::size_t cut = 0;
    std::size_t passed = 0;
    for (unsigned seed = 0; seed < 2000; ++seed) {
        const auto events = stream(seed);
        const std::string expected = filtered(events, true);
        ASSERT_EQ(filtered(events, false), expected) << "seed " << seed;
        for (const auto& event : events)
            passed += event.size();
        cut += expected.size();
    }
    EXPECT_LT(cut, passed * 9 / 10);
}

TEST(KnownCuts, TheFormThatIsMetMostIsFoundWithoutReading)
{
    auto& known = known_cuts::of_thread();
    known = {};
    const std::string event = "data: {\"a\":\"x\",\"usage\":null,\"b\":1}\n\n";
    EXPECT_FALSE(known.find(event));
    known.learn(event, {14, 27});
    const auto cut = known.find(event);
    ASSERT_TRUE(cut);
    EXPECT_EQ(cut->begin, 14U);
    EXPECT_EQ(cut->end, 27U);
    const std::string longer = "data: {\"a\":\"xyz\",\"usage\":null,\"b\":17}\n\n";
    EXPECT_FALSE(known.find(longer));
    known.learn(longer, {16, 29});
    const auto further = known.find("data: {\"a\":\"wxyz\",\"usage\":null,\"b\":17}\n\n");
    ASSERT_TRUE(further);
    EXPECT_EQ(further->begin, 17U);
    EXPECT_EQ(further->end, 30U);
    EXPECT_EQ(known.find(event)->begin, 14U);
}

}  // namespace
}  // namespace keyhole::metering
