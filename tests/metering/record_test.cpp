#include "metering/record.hpp"
#include "metering/storable.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace keyhole::metering {

namespace {

TEST(RequestId, IsAUuidOfVersionSevenWithTheTimeInFront)
{
    const std::int64_t before = now_us() / 1000;
    const auto id = new_request_id();
    const std::int64_t after = now_us() / 1000;

    EXPECT_EQ(id[6] >> 4, 7);
    EXPECT_EQ(id[8] >> 6, 2);
    std::int64_t ms = 0;
    for (std::size_t i = 0; i < 6; ++i) {
        ms = ms << 8 | id[i];
    }
    EXPECT_GE(ms, before);
    EXPECT_LE(ms, after + 1);
}

TEST(RequestId, RisesWithinAThreadHoweverFast)
{
    auto last = new_request_id();
    for (int i = 0; i < 100'000; ++i) {
        const auto next = new_request_id();
        ASSERT_LT(last, next);
        last = next;
    }
}

TEST(RequestId, IsUniqueAcrossThreads)
{
    constexpr std::size_t threads = 8;
    constexpr std::size_t each = 20'000;
    std::set<std::array<std::uint8_t, 16>> all;
    std::mutex mutex;
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t) {
        running.emplace_back([&] {
            std::vector<std::array<std::uint8_t, 16>> mine;
            for (std::size_t i = 0; i < each; ++i) {
                mine.push_back(new_request_id());
            }
            const std::lock_guard lock(mutex);
            all.insert(mine.begin(), mine.end());
        });
    }
    for (auto& t : running) {
        t.join();
    }
    EXPECT_EQ(all.size(), threads * each);
}

TEST(RequestId, IsWrittenInTheUsualFiveGroups)
{
    const std::array<std::uint8_t, 16> id{0x01, 0x8f, 0x00, 0x12, 0x34, 0x56, 0x7a, 0xbc,
                                          0x80, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0xff};
    const auto text = format_request_id(id);
    EXPECT_EQ(std::string(text.data(), text.size()), "018f0012-3456-7abc-8001-0203040506ff");
}

TEST(Record, NamesEachOutcomeSourceAndWireOnce)
{
    std::set<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(outcome::internal_error); ++i) {
        names.insert(to_string(static_cast<outcome>(i)));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(outcome::internal_error) + 1);
    names.clear();
    for (int i = 0; i <= static_cast<int>(last_wire); ++i) {
        names.insert(to_string(static_cast<wire>(i)));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(last_wire) + 1);
    names.clear();
    for (int i = 0; i <= static_cast<int>(usage_source::provider); ++i) {
        names.insert(to_string(static_cast<usage_source>(i)));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(usage_source::provider) + 1);
}

TEST(FixedText, CutsWhatIsTooLongAndForgetsWhatWasThere)
{
    fixed_text<4> text;
    text = "abcdef";
    EXPECT_EQ(text.view(), "abcd");
    text = "x";
    EXPECT_EQ(text.view(), "x");
}

struct cleaning {
    const char* name;
    std::string given;
    std::string kept;
};

TEST(Storable, MakesTextsValidUtf8WithoutControlCharacters)
{
    const cleaning cases[] = {
        {"plain", "gpt-4o", "gpt-4o"},
        {"umlaut and emoji", "Mod\u00e8le \U0001F600", "Mod\u00e8le \U0001F600"},
        {"newline and escape", "a\nb\x1b[31m", "a?b?[31m"},
        {"delete", "a\x7f", "a?"},
        {"lone continuation", "a\x80z", "a?z"},
        {"overlong slash", "\xC0\xAF", "??"},
        {"surrogate", "\xED\xA0\x80", "???"},
        {"beyond unicode", "\xF5\x80\x80\x80", "????"},
        {"cut in two at the end", "ab\xC3", "ab"},
        {"cut in four at the end", "ab\xF0\x9F\x98", "ab"},
        {"cut in the middle", "\xF0\x9F\x98z", "???z"},
    };
    for (const cleaning& c : cases) {
        record r;
        r.model = c.given;
        make_storable(r);
        EXPECT_EQ(r.model.view(), c.kept) << c.name;
        EXPECT_TRUE(make_storable(r)) << c.name << ": what it made storable it must find storable";
    }
}

TEST(Storable, BoundsNumbersThatNoRequestCanHave)
{
    record r;
    r.counts.input = INT64_MAX;
    r.counts.output = -5;
    r.beyond.input = INT64_MAX;
    r.beyond.output_reasoning = INT64_MIN;
    r.beyond.input_image = INT64_MAX;
    r.cost_nano_usd = INT64_MIN;
    r.ended_us = INT64_MAX;
    EXPECT_FALSE(make_storable(r));
    EXPECT_EQ(r.counts.input, most_tokens);
    EXPECT_EQ(r.counts.output, 0);
    EXPECT_EQ(r.beyond.total(), 2 * most_tokens) << "or a damaged slot's sums overflow";
    EXPECT_EQ(r.cost_nano_usd, 0);
    EXPECT_GT(r.ended_us, 0);
    EXPECT_TRUE(make_storable(r));
}

TEST(Storable, LeavesAnOrdinaryRecordAlone)
{
    record r;
    r.request_id = new_request_id();
    r.model = "claude-haiku-4-5";
    r.counts.input = 12;
    r.received_us = now_us();
    EXPECT_TRUE(make_storable(r));
    EXPECT_EQ(r.counts.input, 12);
}

}  // namespace

}  // namespace keyhole::metering
