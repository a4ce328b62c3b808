#include "metering/request_facts.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

using namespace keyhole::metering;

namespace {

std::string filtered(std::initializer_list<std::string_view> pieces)
{
    include_usage_filter filter;
    std::string out;
    for (const auto piece : pieces)
        out += filter.feed(piece);
    out += filter.finish();
    return out;
}

const std::string usage_chunk =
    R"(data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}})";

struct filter_case {
    std::string stream;
    std::string expected;
};

const std::vector<filter_case>& cases()
{
    static const std::vector<filter_case> table = {
        {"", ""},
        {"\n", "\n"},
        {"\r\n\r\n\r\n", "\r\n\r\n\r\n"},
        {usage_chunk + "\n\n", ""},
        {usage_chunk + "\r\n\r\n", ""},
        {usage_chunk + "\r\r", ""},
        {usage_chunk + "\n\r\n", ""},
        {usage_chunk + "\r\n\n", ""},
        {usage_chunk + "\r\n\r", ""},
        {usage_chunk + "\n\r", ""},
        {usage_chunk + "\r\n\r\n\r\n", "\r\n"},
        {usage_chunk + "\r\rdata: x\r\r", "data: x\r\r"},
        {usage_chunk + "\n\n\n", "\n"},
        {"data: x\n\n" + usage_chunk + "\n\ndata: [DONE]\n\n", "data: x\n\ndata: [DONE]\n\n"},
        {"data:{ \"usage\" : {} , \"choices\" : [ ] }\n\n", ""},
        // The end of the stream without the last blank line.
        {usage_chunk, ""},
        {usage_chunk + "\n", ""},
        {usage_chunk + "\r\n", ""},
        {usage_chunk.substr(0, usage_chunk.size() - 1), usage_chunk.substr(0, usage_chunk.size() - 1)},
        {"data: {\"id\":1,\"usage\":null}", "data: {\"id\":1}"},
        {"data: hal", "data: hal"},
        // The null member goes with one comma.
        {"data: {\"id\":1,\"usage\":null}\n\n", "data: {\"id\":1}\n\n"},
        {"data: {\"id\":1 , \n\n", "data: {\"id\":1 , \n\n"},
        {"data: {\"id\":1 , \"usage\" : null }\r\n\r\n", "data: {\"id\":1  }\r\n\r\n"},
        {"data: {\"id\":1,\"usage\":null,\"x\":2}\n\n", "data: {\"id\":1,\"x\":2}\n\n"},
        {"data: {\"id\": 1, \"usage\": null, \"x\": 2}\n\n", "data: {\"id\": 1, \"x\": 2}\n\n"},
        {"data: {\"usage\":null,\"x\":2}\n\n", "data: {\"x\":2}\n\n"},
        {"data: {\"usage\": null, \"x\": 2}\n\n", "data: {\"x\": 2}\n\n"},
        {"data: { \"usage\": null }\n\n", "data: {  }\n\n"},
        {"data: {\"usage\":null}\n\n", "data: {}\n\n"},
        {"data:{\"choices\":[],\"usage\":null}\n\n", "data:{\"choices\":[]}\n\n"},
        // What only looks like it.
        {"data: {\"x\":{\"usage\":null},\"y\":[{\"usage\":null}],\"z\":\",\\\"usage\\\":null\"}\n\n",
         "data: {\"x\":{\"usage\":null},\"y\":[{\"usage\":null}],\"z\":\",\\\"usage\\\":null\"}\n\n"},
        {"data: {\"x\":{\"a\":1,\"usage\":null},\"usage\":null}\n\n",
         "data: {\"x\":{\"a\":1,\"usage\":null}}\n\n"},
        {"data: {\"choices\":[{}],\"usage\":{}}\n\n", "data: {\"choices\":[{}],\"usage\":{}}\n\n"},
        {"data: {\"choices\":[],\"usage\":[]}\n\n", "data: {\"choices\":[],\"usage\":[]}\n\n"},
        {"data: {\"choices\":{},\"usage\":{}}\n\n", "data: {\"choices\":{},\"usage\":{}}\n\n"},
        {"data: {\"a\":{\"choices\":[]},\"usage\":{}}\n\n",
         "data: {\"a\":{\"choices\":[]},\"usage\":{}}\n\n"},
        {"data: {\"choices\":[],\"a\":{\"usage\":{}}}\n\n",
         "data: {\"choices\":[],\"a\":{\"usage\":{}}}\n\n"},
        {"data: {\"a\":1,\"usage\":null,\"usage\":null}\n\n",
         "data: {\"a\":1,\"usage\":null,\"usage\":null}\n\n"},
        {"data: {\"choices\":[1],\"choices\":[],\"usage\":{}}\n\n",
         "data: {\"choices\":[1],\"choices\":[],\"usage\":{}}\n\n"},
        {"data: [{\"choices\":[],\"usage\":{}}]\n\n", "data: [{\"choices\":[],\"usage\":{}}]\n\n"},
        // Several lines, comments, no data, no JSON: as they are.
        {"data: {\"a\":1,\ndata: \"usage\":null}\n\n", "data: {\"a\":1,\ndata: \"usage\":null}\n\n"},
        {": {\"a\":1,\"usage\":null}\n\n", ": {\"a\":1,\"usage\":null}\n\n"},
        {"{\"a\":1,\"usage\":null}\n\n", "{\"a\":1,\"usage\":null}\n\n"},
        {"data: {\"a\":1,\"usage\":null\n\n", "data: {\"a\":1,\"usage\":null\n\n"},
        {"data: {\"a\":NaN,\"usage\":null}\n\n", "data: {\"a\":NaN,\"usage\":null}\n\n"},
        {"data: {\"a\":1,\"usage\":null} x\n\n", "data: {\"a\":1,\"usage\":null} x\n\n"},
        {"data: {\"a\":1,\"usage\":null,}\n\n", "data: {\"a\":1,\"usage\":null,}\n\n"},
        {"data: {\"a\":1,\"us\\u0061ge\":null}\n\n", "data: {\"a\":1,\"us\\u0061ge\":null}\n\n"},
        {"\xEF\xBB\xBF"
         "data: [DONE]\r\r",
         "\xEF\xBB\xBF"
         "data: [DONE]\r\r"},
        // Other fields of the event, wherever they stand; its comments stay.
        {"event: x\ndata: {\"a\":1,\"usage\":null}\n\n", "event: x\ndata: {\"a\":1}\n\n"},
        {"id: 7\r\n" + usage_chunk + "\r\nretry: 3\r\n\r\ndata: x\r\n\r\n", "data: x\r\n\r\n"},
        {"event: x\r" + usage_chunk + "\r\r", ""},
        {"no field\n" + usage_chunk + "\n\n", ""},
        {": wait\r\n" + usage_chunk + "\r\n: more\r\n\r\n", ": wait\r\n: more\r\n"},
        {": wait\n\n" + usage_chunk + "\n\n", ": wait\n\n"},
        {"id: 7\ndata: {\"choices\":[],\ndata: \"usage\":{}}\n\n", ""},
        {"id: 7\n" + usage_chunk, ""},
        // The usage chunk without choices, or with null for them; not an error's.
        {"data: {\"usage\":{}}\n\n", ""},
        {"data: {\"choices\":null,\"usage\":{\"total_tokens\":1}}\n\n", ""},
        {"data: {\"usage\":{},\"error\":null}\n\n", ""},
        {"data: {\"usage\":{},\"error\":{\"code\":502}}\n\n",
         "data: {\"usage\":{},\"error\":{\"code\":502}}\n\n"},
        {"data: {\"choices\":[],\"usage\":{},\"error\":\"x\"}\n\n",
         "data: {\"choices\":[],\"usage\":{},\"error\":\"x\"}\n\n"},
        // A BOM opens the stream, and stays; elsewhere it is a part of a field's name.
        {"\xEF\xBB\xBF" + usage_chunk + "\n\ndata: x\n\n", "\xEF\xBB\xBF"
                                                           "data: x\n\n"},
        {"\xEF\xBB\xBF"
         "data: {\"a\":1,\"usage\":null}\n\n",
         "\xEF\xBB\xBF"
         "data: {\"a\":1}\n\n"},
        {"data: x\n\n\xEF\xBB\xBF" + usage_chunk + "\n\n", "data: x\n\n\xEF\xBB\xBF" + usage_chunk + "\n\n"},
        // Line ends in any mix between events.
        {"data: {\"a\":1,\"usage\":null}\r\rdata: {\"b\":1,\"usage\":null}\r\n\ndata: "
         "{\"c\":1,\"usage\":null}\n\r\n: x\n\n",
         "data: {\"a\":1}\r\rdata: {\"b\":1}\r\n\ndata: {\"c\":1}\n\r\n: x\n\n"},
    };
    return table;
}

TEST(IncludeUsageFilter, RemovesWhatWasAddedAndNothingElse)
{
    for (const auto& [stream, expected] : cases())
        EXPECT_EQ(filtered({stream}), expected) << stream;
}

TEST(IncludeUsageFilter, GivesTheSameBytesWhereverTheStreamIsCut)
{
    for (const auto& [stream, expected] : cases()) {
        const std::string_view all = stream;
        for (std::size_t first = 0; first <= all.size(); ++first) {
            for (std::size_t second = first; second <= all.size(); ++second) {
                ASSERT_EQ(
                    filtered({all.substr(0, first), all.substr(first, second - first), all.substr(second)}),
                    expected)
                    << stream << " cut at " << first << " and " << second;
            }
        }
        include_usage_filter filter;
        std::string out;
        for (const char c : stream)
            out += filter.feed({&c, 1});
        out += filter.finish();
        EXPECT_EQ(out, expected);
    }
}

// A stream as the provider sends it with include_usage, and without.
std::string provider_stream(bool with_usage, std::string_view space, std::string_view end)
{
    const auto member = [&](std::string_view name, std::string_view value) {
        return "\"" + std::string(name) + "\":" + std::string(space) + std::string(value);
    };
    const std::string comma = "," + std::string(space);
    std::string out;
    const auto chunk = [&](std::string_view choices, std::string_view usage) {
        out += "data: {" + member("id", "\"chatcmpl-1\"") + comma +
               member("object", "\"chat.completion.chunk\"") + comma + member("choices", choices);
        if (with_usage) out += comma + member("usage", usage);
        out += comma + member("obfuscation", "\"aZ3\"") + "}" + std::string(end);
    };
    chunk(R"([{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}])", "null");
    for (const auto* word :
         {"Hello", " \\\"usage\\\":null", ",\\\"usage\\\":null}", "\xC3\xA9\xF0\x9F\x98\x80"})
        chunk(R"([{"index":0,"delta":{"content":")" + std::string(word) + R"("},"finish_reason":null}])",
              "null");
    chunk(
        R"([{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{\"usage\":null}"}}],"usage":null}}])",
        "null");
    chunk(R"([{"index":0,"delta":{},"finish_reason":"stop"}])", "null");
    if (with_usage)
        chunk("[]",
              R"({"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":0}})");
    return out + "data: [DONE]" + std::string(end);
}

TEST(IncludeUsageFilter, AgentReceivesTheStreamItWouldHaveReceivedWithoutIt)
{
    for (const auto* space : {"", " "}) {
        for (const auto* end : {"\n\n", "\r\n\r\n", "\r\r"}) {
            const std::string asked = provider_stream(true, space, end);
            const std::string plain = provider_stream(false, space, end);
            ASSERT_NE(asked, plain);
            EXPECT_EQ(filtered({asked}), plain);
            EXPECT_EQ(filtered({plain}), plain) << "a provider that ignores the option changes nothing";
            for (std::size_t size = 1; size < 300; ++size) {
                include_usage_filter filter;
                std::string out;
                for (std::size_t at = 0; at < asked.size(); at += size)
                    out += filter.feed(std::string_view(asked).substr(at, size));
                out += filter.finish();
                ASSERT_EQ(out, plain) << size;
            }
        }
    }
}

TEST(IncludeUsageFilter, AnEventIsPassedOnAsSoonAsItIsWhole)
{
    include_usage_filter filter;
    EXPECT_EQ(filter.feed("data: a\n"), "");
    EXPECT_EQ(filter.feed("\n"), "data: a\n\n");
    EXPECT_EQ(filter.feed("data: b\r\n\r"), "data: b\r\n\r");
    EXPECT_EQ(filter.feed("\ndata"), "\n");
    EXPECT_EQ(filter.finish(), "data");
    EXPECT_EQ(filter.finish(), "");
}

TEST(IncludeUsageFilter, GarbagePassesByteForByte)
{
    std::uint32_t state = 7;
    for (int round = 0; round < 300; ++round) {
        std::string garbage;
        for (int i = 0; i < 400; ++i) {
            state = state * 1664525U + 1013904223U;
            garbage.push_back(static_cast<char>(state >> 24));
            if (state % 11 == 0) garbage += "\r\n";
            if (state % 13 == 0) garbage += "\n\ndata: {\"usage\"";
        }
        const std::string_view all = garbage;
        EXPECT_EQ(filtered({all}), garbage);
        EXPECT_EQ(filtered({all.substr(0, 123), all.substr(123)}), garbage);
    }
}

TEST(IncludeUsageFilter, AHugeEventStreamsOnUneditedAndTheNextIsEdited)
{
    const std::string huge = "data: {\"x\":\"" + std::string(1024 * 1024, 'x') + "\",\"usage\":null}\r\n\r\n";
    const std::string next = "data: {\"a\":1,\"usage\":null}\n\n";
    EXPECT_EQ(filtered({huge + next}), huge + "data: {\"a\":1}\n\n");

    include_usage_filter filter;
    std::string out;
    std::size_t longest_silence = 0;
    const std::string all = huge + usage_chunk + "\n\n" + next;
    for (std::size_t at = 0; at < all.size(); at += 1000) {
        out += filter.feed(std::string_view(all).substr(at, 1000));
        longest_silence = std::max(longest_silence, std::min(at + 1000, all.size()) - out.size());
    }
    out += filter.finish();
    EXPECT_EQ(out, huge + "data: {\"a\":1}\n\n");
    EXPECT_LE(longest_silence, 1024U * 1024 + 1000);
}

TEST(IncludeUsageFilter, EventsAroundTheLimitAreTreatedAlikeWhereverTheyAreCut)
{
    for (std::size_t extra = 0; extra < 8; ++extra) {
        std::string event = "data: {\"usage\":null,\"x\":\"";
        event += std::string(1024 * 1024 - 8 + extra - event.size(), 'x') + "\"}\r\n\r\n";
        const std::string whole = filtered({event});
        EXPECT_EQ(whole == event, event.size() - 1 > 1024 * 1024) << event.size();
        const std::string_view all = event;
        for (std::size_t back = 1; back < 10; ++back)
            EXPECT_EQ(filtered({all.substr(0, all.size() - back), all.substr(all.size() - back)}), whole);
    }
}

TEST(IncludeUsageFilter, TakesTheExtraChunkOutThoughItStandsOnSeveralLines)
{
    include_usage_filter filter;
    const std::string chunk = "data: {\"choices\":[{\"delta\":{}}],\ndata: \"usage\":null}\n\n";
    std::string got(filter.feed(chunk + "data: {\"choices\":[],\ndata: \"usage\":{\"total_tokens\":1}}\n\n" +
                                "data: [DONE]\n\n"));
    got += filter.finish();
    EXPECT_EQ(got, chunk + "data: [DONE]\n\n");
}

}  // namespace
