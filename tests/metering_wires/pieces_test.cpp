// The parts under the meter, each on its own.
#include "metering/base64.hpp"
#include "metering/decode.hpp"
#include "metering/eventstream.hpp"
#include "metering/json_paths.hpp"
#include "metering/numbers.hpp"
#include "metering/sse.hpp"
#include "metering/wires.hpp"
#include "samples.hpp"

#include <gtest/gtest.h>

#include <brotli/encode.h>
#include <string>
#include <vector>
#include <zlib.h>
#include <zstd.h>

namespace keyhole::metering {

namespace {

struct event_log final : sse_sink {
    std::string log;
    std::string data;
    void on_event_data(std::string_view piece) override { data += piece; }
    void on_event_end(std::string_view name) override
    {
        log += std::string{name} + '(' + data + ')';
        data.clear();
    }
    void on_error_line() override { log += '!'; }
};

std::string events(std::string_view body, std::size_t step)
{
    event_log sink;
    sse_splitter splitter{sink};
    for (std::size_t i = 0; i < body.size(); i += step)
        splitter.feed(std::string{body.substr(i, step)});
    splitter.finish();
    return sink.log;
}

struct value_log final : json_sink {
    std::string log;
    void on_document_end(bool element) override { log += element ? ",;" : ";"; }
    void on_begin(path_id id) override { log += std::to_string(id) + '{'; }
    void on_end(path_id id) override { log += '}' + std::to_string(id); }
    void on_scalar(path_id id, const json_scalar& v) override
    {
        log += std::to_string(id) + '=';
        if (v.kind == json_scalar::type::boolean)
            log += v.truth ? "true" : "false";
        else
            log += v.kind == json_scalar::type::null ? "null" : std::string{v.text};
        if (v.kind == json_scalar::type::string) log += '/' + std::to_string(v.length);
        log += ' ';
    }
};

std::string values(std::string_view text, std::size_t step, bool* failed = nullptr)
{
    static const path_tree tree = [] {
        path_tree t;
        t.add("a", interest::scalar);                // 0
        t.add("b.c", interest::scalar);              // 1
        t.add("l[].x", interest::scalar);            // 2
        t.add("o", interest::object);                // 3
        t.add("key\n\"\xC3\xA9", interest::scalar);  // 4
        t.add("t", interest::measure);               // 5
        return t;
    }();
    value_log sink;
    json_reader reader{tree, sink};
    for (std::size_t i = 0; i < text.size(); i += step)
        reader.feed(std::string{text.substr(i, step)});
    reader.finish();
    if (failed != nullptr) *failed = reader.failed();
    return sink.log;
}

struct collector final : decoded_sink {
    std::string text;
    void on_decoded(std::string_view bytes) override { text += bytes; }
};

struct message_log final : eventstream_sink {
    std::string log;
    void on_message_begin(const eventstream_head& head) override
    {
        log += std::string{head.event_type} + '(';
    }
    void on_payload(std::string_view piece) override { log += piece; }
    void on_message_end() override { log += ')'; }
};

std::string deflated(std::string_view text, int window)
{
    z_stream z{};
    EXPECT_EQ(deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string in{text};
    std::string out(text.size() + 200, '\0');
    z.next_in = reinterpret_cast<Bytef*>(in.data());
    z.avail_in = static_cast<uInt>(in.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}

std::string brotli(std::string_view text)
{
    std::string out(text.size() + 1000, '\0');
    std::size_t n = out.size();
    EXPECT_TRUE(BrotliEncoderCompress(5, 22, BROTLI_MODE_TEXT, text.size(),
                                      reinterpret_cast<const std::uint8_t*>(text.data()), &n,
                                      reinterpret_cast<std::uint8_t*>(out.data())));
    out.resize(n);
    return out;
}

std::string zstd(std::string_view text)
{
    std::string out(ZSTD_compressBound(text.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
    return out;
}

}  // namespace

TEST(Sse, SplitsAsTheStandardSaysHoweverItIsCut)
{
    struct row {
        std::string_view body;
        std::string_view log;
    };
    for (const auto& [body, log] : {
             row{"data: a\n\n", "(a)"},
             row{"data: a\r\n\r\ndata:b\r\rdata:  c\n\n", "(a)(b)( c)"},
             row{"event: x\ndata: a\ndata: b\ndata\n\n", "x(a\nb\n)"},
             row{": comment\n\nid: 4\nretry: 5\n\n", ""},
             row{"\xEF\xBB\xBF"
                 "data: a\n\n",
                 "(a)"},
             row{"event: x\n\ndata: a\n\n", "(a)"},
             row{"event: x\nevent: y\ndata: a\n\n", "y(a)"},
             row{"data: cut", "(cut)"},
             row{"data: cut\r", "(cut)"},
             row{"data: a\r\n\r\n\r\n\r\ndata: b\n\n", "(a)(b)"},
             row{"datax: no\nxdata: no\nDATA: no\ndata : no\n\n", ""},
             row{"error: {}\nerror\n\n", "!"},
             row{"data:\n\n", "()"},
             row{"", ""},
         })
    {
        for (std::size_t step = 1; step <= body.size() + 1; ++step)
            EXPECT_EQ(events(body, step), log) << body << " by " << step;
    }
}

TEST(JsonPaths, ReportsDeclaredPathsHoweverTheTextIsCut)
{
    struct row {
        std::string_view text;
        std::string_view log;
    };
    for (const auto& [text, log] : {
             row{R"({"a":1,"x":{"a":2},"b":{"c":-3.5e2,"d":[1,{"c":9}]}})", "0=1 1=-3.5e2 ;"},
             row{R"({ "a" : "s\"\\\n\u0041\u00e9\ud83d\ude00" , "l" : [ {"x":true}, 7, [8], {"x":null} ] })",
                 "0=s\"\\\nA\xC3\xA9\xF0\x9F\x98\x80/11 2=true 2=null ;"},
             row{R"({"o":{"a":5},"o":[1,2],"o":6})", "3{}33{}3;"},
             row{R"({"key\n\"\u00E9":false})", "4=false ;"},
             row{R"({"\u0061":7})", "0=7 ;"},
             row{R"({"t":"\u00e9\ud83d\ude00abc"})", "5=\xC3\xA9\xF0\x9F\x98\x80"},
             row{"[{\"a\":1}\r\n,\r\n{\"a\":2},[3]]", "0=1 ,;0=2 ,;,;"},
             row{"{\"a\":1}\n{\"a\":2}\n", "0=1 ;0=2 ;"},
             row{"\xEF\xBB\xBF {\"a\":{}}", ";"},
             row{R"({"a":[],"b":[{"c":1}],"l":{"x":1},"a":""})", "0=/0 ;"},
             row{"{}", ";"},
             row{"[]", ""},
             row{"3", ";"},
         })
    {
        for (std::size_t step = 1; step <= text.size() + 1; ++step) {
            bool failed = false;
            const std::string got = values(text, step, &failed);
            // What a measured string holds may or may not be reported along; its length must be.
            if (text.starts_with("{\"t\""))
                EXPECT_TRUE(got.ends_with("/9 ;")) << got;
            else
                EXPECT_EQ(got, log) << text << " by " << step;
            EXPECT_FALSE(failed) << text;
        }
    }
}

TEST(JsonPaths, StopsAtBrokenText)
{
    for (const std::string_view text :
         {"{a:1}", "{\"a\" 1}", "{\"a\":1]", "[1}", "{\"a\":\"\\u00zz\"}", "{\"a\":wat}", "{\"a\":1,,}", "}"})
    {
        for (std::size_t step = 1; step <= text.size(); ++step) {
            bool failed = false;
            values(text, step, &failed);
            EXPECT_TRUE(failed) << text << " by " << step;
        }
    }
}

TEST(JsonPaths, LongTextsAreCutAndMeasured)
{
    const std::string text = R"({"a":")" + std::string(5000, 'x') + R"(\n"})";
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{9999}}) {
        const std::string log = values(text, step);
        EXPECT_TRUE(log.ends_with("/5001 ;")) << log;
        EXPECT_LT(log.size(), 300U);
    }
}

TEST(Eventstream, DeliversOnlyWhatItsChecksumHolds)
{
    const std::string good = samples::message("a", "one") + samples::message("b", "");
    for (std::size_t step = 1; step <= good.size(); ++step) {
        message_log sink;
        eventstream_splitter splitter{sink};
        for (std::size_t i = 0; i < good.size(); i += step)
            splitter.feed(std::string_view{good}.substr(i, step));
        EXPECT_EQ(sink.log, "a(one)b()");
        EXPECT_FALSE(splitter.damaged());
        EXPECT_TRUE(splitter.idle());
    }
    for (std::size_t flipped = 0; flipped < good.size(); ++flipped) {
        std::string bad = good;
        bad[flipped] = static_cast<char>(bad[flipped] ^ 0x10);
        message_log sink;
        eventstream_splitter splitter{sink};
        splitter.feed(bad);
        EXPECT_TRUE(splitter.damaged()) << flipped;
        EXPECT_NE(sink.log, "a(one)b()") << flipped;
    }
}

TEST(Eventstream, LargeMessagesPassInPieces)
{
    const std::string payload(3u << 20, 'p');
    std::string large = samples::message("a", payload) + samples::message("b", "x");
    for (const std::size_t step : {std::size_t{1000}, std::size_t{65536}, large.size()}) {
        message_log sink;
        eventstream_splitter splitter{sink};
        for (std::size_t i = 0; i < large.size(); i += step)
            splitter.feed(std::string_view{large}.substr(i, step));
        EXPECT_EQ(sink.log.size(), payload.size() + 3 + 4);
        EXPECT_FALSE(splitter.damaged());
    }
    large[5000] = 'q';
    message_log sink;
    eventstream_splitter splitter{sink};
    splitter.feed(large);
    EXPECT_TRUE(splitter.damaged());
}

TEST(Base64, DecodesAnyPieces)
{
    for (const std::string_view text : {"", "a", "ab", "abc", "abcd", "\xff\xfe\xfd\x00z"}) {
        const std::string coded = samples::base64(text);
        for (std::size_t step = 1; step <= coded.size() + 1; ++step) {
            base64_decoder decoder;
            std::string out;
            for (std::size_t i = 0; i < coded.size(); i += step)
                decoder.decode(std::string_view{coded}.substr(i, step), out);
            EXPECT_EQ(out, text);
        }
    }
}

TEST(Decode, EveryCodingHoweverItIsCut)
{
    std::string text;
    for (int i = 0; i < 300'000; ++i)
        text += std::to_string(i % 9973 * 7919 % 1013);
    struct row {
        std::string_view name;
        std::string bytes;
    };
    for (const auto& [name, bytes] :
         {row{"gzip", deflated(text, 31)},
          row{"x-gzip", deflated(text.substr(0, 99), 31) + deflated(text.substr(99), 31)},
          row{"deflate", deflated(text, 15)}, row{"deflate", deflated(text, -15)}, row{"br", brotli(text)},
          row{"zstd", zstd(text)}, row{"GZIP", text}})
    {
        for (const std::size_t step : {std::size_t{1}, std::size_t{13}, std::size_t{70'000}, bytes.size()}) {
            bool known = false;
            const auto decoder = content_decoder::make(name, known);
            ASSERT_TRUE(known && decoder);
            collector sink;
            for (std::size_t i = 0; i < bytes.size(); i += step)
                ASSERT_TRUE(decoder->feed(std::string_view{bytes}.substr(i, step), sink))
                    << name << " by " << step;
            EXPECT_TRUE(sink.text == text)
                << sink.text.size() << " of " << text.size() << " bytes, " << name << " by " << step;
        }
    }
    bool known = true;
    EXPECT_EQ(content_decoder::make("compress", known), nullptr);
    EXPECT_FALSE(known);
    EXPECT_EQ(content_decoder::make("identity", known), nullptr);
    EXPECT_TRUE(known);
}

TEST(Decode, WhatCompressesNothingIsIdentity)
{
    for (const auto* name : {"", "identity", "none", "UTF-8", " identity , none", "binary", ","})
        EXPECT_TRUE(content_decoder::is_identity(name)) << name;
    for (const auto* name : {"gzip, identity", "identity,GZIP", "none, x-gzip"}) {
        bool known = false;
        const auto decoder = content_decoder::make(name, known);
        ASSERT_TRUE(known && decoder) << name;
        collector sink;
        EXPECT_TRUE(decoder->feed(deflated("hello", 31), sink));
        EXPECT_EQ(sink.text, "hello");
    }
    for (const auto* name : {"gzip, gzip", "br, gzip", "nothing"}) {
        bool known = true;
        EXPECT_EQ(content_decoder::make(name, known), nullptr) << name;
        EXPECT_FALSE(known) << name;
    }
}

TEST(Decode, ABombEndsLongBeforeItsEnd)
{
    const std::string zeros(std::size_t{64} << 20, '0');
    struct row {
        std::string_view name;
        std::string bytes;
    };
    for (const auto& [name, bytes] :
         {row{"gzip", deflated(zeros, 31)}, row{"br", brotli(zeros)}, row{"zstd", zstd(zeros)}})
    {
        bool known = false;
        const auto decoder = content_decoder::make(name, known);
        struct counter final : decoded_sink {
            std::uint64_t size = 0;
            void on_decoded(std::string_view piece) override { size += piece.size(); }
        } sink;
        bool goes_on = true;
        for (std::size_t i = 0; i < bytes.size() && goes_on; i += 4096)
            goes_on = decoder->feed(std::string_view{bytes}.substr(i, 4096), sink);
        EXPECT_FALSE(goes_on) << name;
        EXPECT_TRUE(decoder->swollen()) << name;
        EXPECT_LE(sink.size, content_decoder::max_decoded(bytes.size())) << name;
        EXPECT_FALSE(decoder->feed("more", sink)) << name;
    }
}

TEST(Numbers, CountsAndDecimals)
{
    EXPECT_EQ(parse_count("12"), 12);
    EXPECT_EQ(parse_count("-3"), -3);
    EXPECT_EQ(parse_count("99999999999999999999999"), largest_count);
    EXPECT_EQ(parse_count("-99999999999999999999999"), -largest_count);
    for (const auto& [text, count] : std::initializer_list<std::pair<std::string_view, std::int64_t>>{
             {"10.0", 10},
             {"1e1", 10},
             {"1.5E+1", 15},
             {"-2.0", -2},
             {"1500e-2", 15},
             {"0.000", 0},
             {"0.012e3", 12},
             {"-0.0", 0},
             {"0e999", 0},
             {"1e17", largest_count},
             {"123456789012345678901234567890.0", largest_count}})
        EXPECT_EQ(parse_count(text), count) << text;
    for (const std::string_view text : {"",
                                        "-",
                                        "x",
                                        "1 ",
                                        "+1",
                                        " 1",
                                        "2.5",
                                        "1e-1",
                                        "1.",
                                        ".5",
                                        "1e",
                                        "1e+",
                                        "1.0x",
                                        "0x10",
                                        "1.0.0",
                                        "1e99999999999999999999",
                                        "10.000000000000000000001",
                                        "NaN",
                                        "1,0",
                                        "-.0",
                                        "--1",
                                        "1e1.0"})
        EXPECT_EQ(parse_count(text), std::nullopt) << text;
    EXPECT_EQ(scaled_decimal("0.000001", 9), 1000);
    EXPECT_EQ(scaled_decimal("3.4e-07", 9), 340);
    EXPECT_EQ(scaled_decimal("1", 9), 1'000'000'000);
    EXPECT_EQ(scaled_decimal("0.0000000005", 9), 1);
    EXPECT_EQ(scaled_decimal("0.00000000049", 9), 0);
    EXPECT_EQ(scaled_decimal("-0.0000000005", 9), -1);
    EXPECT_EQ(scaled_decimal("700000005", -1), 70000001);
    EXPECT_EQ(scaled_decimal("0.1234567890123456789", 9), 123456789);
    EXPECT_EQ(scaled_decimal("1e999", 9), INT64_MAX / 10);
    EXPECT_EQ(scaled_decimal("1e-999", 9), 0);
    EXPECT_EQ(scaled_decimal("abc", 9), std::nullopt);
}

TEST(Buckets, AreNeverNegativeAndKeepTheSums)
{
    using enum quantity;
    usage_numbers n;
    n.set(input, 10);
    n.set(output, 5);
    n.set(cache_read, 161);
    n.set(cache_write, 7);
    n.set(reasoning, 19);
    n.set(input_audio, 3);
    EXPECT_EQ(buckets_of(n, {}), (token_counts{.cache_read = 10, .output_reasoning = 5}));
    n.set(cache_read, -4);
    n.set(cache_write_1h, 100);
    EXPECT_EQ(buckets_of(n, {}),
              (token_counts{.cache_write_1h = 7, .output_reasoning = 5, .input_audio = 3}));
    n.set(input, -10);
    n.set(output, largest_count);
    EXPECT_EQ(buckets_of(n, {}).all_input(), 0);
    EXPECT_EQ(buckets_of(n, {.reasoning_beside_output = true}).all_output(), largest_count + 19);
}

TEST(Buckets, AWriteWithoutALifeTimeIsAFiveMinuteWrite)
{
    using enum quantity;
    usage_numbers n;
    n.set(input, 1);
    n.set(cache_write, 100);
    n.set(cache_write_5m, 0);
    n.set(cache_write_1h, 0);
    EXPECT_EQ(buckets_of(n, {.cache_beside_input = true}), (token_counts{.input = 1, .cache_write_5m = 100}));
}

TEST(Wires, EveryWireHasItsRules)
{
    for (int w = 1; w <= static_cast<int>(last_wire); ++w) {
        const wire_rules& rules = rules_of(static_cast<wire>(w));
        EXPECT_EQ(rules.id, static_cast<wire>(w));
        EXPECT_FALSE(rules.usages.empty());
        for (const usage_place& place : rules.usages) {
            EXPECT_TRUE(place.shape->source.starts_with("https://"));
            EXPECT_LT(place.slot, slot_limit);
        }
        EXPECT_NE(to_string(static_cast<wire>(w)), "none");
    }
}

}  // namespace keyhole::metering
