#include "cuts.hpp"
#include "metering/best_known.hpp"
#include "metering/estimate.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

namespace keyhole::metering {
namespace {

std::uint64_t tokens(std::string_view text, std::size_t step = std::string_view::npos)
{
    token_counter c;
    for (std::size_t at = 0; at < text.size(); at += std::min(step, text.size() - at))
        c.add(text.substr(at, step));
    return (c.millitokens() + 500) / 1000;
}

reading read(wire w, std::string_view body, bool complete)
{
    meter m{w, {.content_type = "text/event-stream"}};
    m.feed(body);
    return m.finish(complete);
}

}  // namespace

TEST(Estimate, CountsByScript)
{
    EXPECT_EQ(tokens(""), 0U);
    EXPECT_EQ(tokens("the lantern shines"), 3U);
    EXPECT_EQ(tokens("1234567"), 3U);
    EXPECT_EQ(tokens("antidisestablishment"), 4U);
    EXPECT_EQ(tokens("a\n\n\nb"), 3U);
    EXPECT_EQ(tokens("\xE4\xB8\xAD\xE6\x96\x87\xE5\xAD\x97\xE7\xAC\xA6\xE4\xB8\xB2"), 4U);  // five characters
    EXPECT_EQ(tokens("\xF0\x9F\x98\x80"), 2U);
    EXPECT_GT(tokens(R"({"city":"Paris"})"), 4U);
    // Base64 is no word, however long it runs.
    EXPECT_GT(tokens(std::string(3000, 'A')), 900U);
}

TEST(Estimate, CountsTheSameHoweverTheTextIsCut)
{
    const std::string_view text =
        "A caf\xC3\xA9, 12345 \xE4\xB8\xAD\xE6\x96\x87\r\n\t{\"k\":[1,2]} \xF0\x9F\x98\x80 end.";
    token_counter whole;
    whole.add(text);
    for (std::size_t step = 1; step < text.size(); ++step) {
        token_counter cut;
        for (std::size_t at = 0; at < text.size(); at += step)
            cut.add(text.substr(at, step));
        EXPECT_EQ(cut.millitokens(), whole.millitokens()) << step;
    }
}

TEST(Estimate, ATokenAnEventIsBelieved)
{
    // Twenty deltas of one sign each are twenty tokens, whatever the signs look like together.
    const written_text text{.bytes = 20, .deltas = 20, .millitokens = 18'000};
    EXPECT_EQ(estimate_output(wire::openai_chat, text, true), 21);
    const written_text few{.bytes = 80, .deltas = 2, .millitokens = 18'000};
    EXPECT_EQ(estimate_output(wire::openai_chat, few, true), 19);
    EXPECT_EQ(estimate_output(wire::openai_chat, {}, true), 0);
}

TEST(Estimate, InputIsTheRequestsTextsNotItsFrame)
{
    const auto input = [](std::string_view body) { return estimate_input(wire::openai_chat, body); };
    const std::string_view body =
        R"({"model":"a-long-model-name-that-no-model-reads","messages":[{"role":"user","content":"say hi to the lantern"}]})";
    EXPECT_EQ(input(body), 9);
    EXPECT_EQ(input(""), 0);
    EXPECT_EQ(input("{\"a"), 1);
    EXPECT_EQ(input(R"({"input":[[101,7592],[2088 , 102]]})"), 5) << "tokens by their ids";
    EXPECT_GT(input(R"({"status":")" + std::string(3000, 'a') + "\"}"), 500) << "no label is as long";
    EXPECT_GT(estimate_input(wire::anthropic_messages, R"({"tools":[]})"), 300);
}

TEST(Estimate, LongTextIsTextInEveryScriptAndMediaOnlyWhereTheyAreCarried)
{
    const auto said = [](const std::string& content) {
        return estimate_input(wire::openai_chat, R"({"messages":[{"content":)" + content + "}]}");
    };
    std::string chinese;
    std::string unbroken;
    for (int i = 0; i < 5000; ++i) {
        chinese += "\xE8\xAF\xB7\xE6\x8A\x8A";  // two characters
        unbroken += "word_";
    }
    EXPECT_NEAR(static_cast<double>(said('"' + chinese + '"')), 8000, 100);
    EXPECT_GE(said('"' + unbroken + '"'), 5000);

    const std::string picture = R"("data:image\/png;base64,iVBORw0KGgo)" + std::string(4U << 20U, 'A') + '"';
    EXPECT_GT(said(picture), 100'000);
    const auto seen = said(R"([{"image_url":{"url":)" + picture + "}}]");
    EXPECT_GT(seen, 100);
    EXPECT_LT(seen, 3000);
    // What stands behind it counts.
    EXPECT_NEAR(static_cast<double>(
                    said(R"([{"image_url":{"url":)" + picture + R"(}},{"text":")" + chinese + "\"}]") - seen),
                8000, 100);
}

TEST(Estimate, VeryLongTextCountsAsItsFirstMegabyte)
{
    std::string chinese = R"({"messages":[{"content":")";
    while (chinese.size() < (3U << 20U))
        chinese += "\xE8\xAF\xB7\xE6\x8A\x8A";
    const double expected = static_cast<double>(chinese.size()) / 3 * 0.8;
    EXPECT_NEAR(static_cast<double>(estimate_input(wire::openai_chat, chinese + "\"}]}")), expected,
                expected / 100);
    EXPECT_NEAR(static_cast<double>(estimate_input(wire::openai_chat, chinese)), expected, expected / 100)
        << "though it does not end";
}

TEST(BestKnown, ACutStreamKeepsWhatTheProviderSaidAndMarksWhatItDidNot)
{
    const std::string start =
        "data: "
        "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":50,\"output_tokens\":1}}}\n\n";
    const std::string delta = "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"one two three "
                              "four five six seven\"}}\n\n";
    const answer_context cut{.format = wire::anthropic_messages, .streamed = true, .complete = false};

    const best_known early = best_known_usage(read(cut.format, start, false), cut);
    EXPECT_EQ(early.source, usage_source::provider_partial);
    EXPECT_EQ(early.counts.all_output(), 1);

    const best_known later = best_known_usage(read(cut.format, start + delta, false), cut);
    EXPECT_EQ(later.source, usage_source::estimated);
    EXPECT_EQ(later.counts.all_input(), 50);
    EXPECT_GE(later.counts.all_output(), 7);

    const best_known nothing = best_known_usage(read(cut.format, "", false), cut);
    EXPECT_EQ(nothing.source, usage_source::estimated) << "a row always says how its usage is known";

    const std::string rest = "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n"
                             "data: {\"type\":\"message_stop\"}\n\n";
    const best_known whole = best_known_usage(read(cut.format, start + delta + rest, true),
                                              {.format = cut.format, .streamed = true, .complete = true});
    EXPECT_EQ(whole.source, usage_source::provider);
    EXPECT_EQ(whole.counts.all_output(), 9);
}

// EVERY_REQUEST_ONE_ROW and TOKENS_EXACT where agents hang up, over recorded streams.
TEST(Corpus, AnAgentThatHangsUpAnywhereIsBilledExactlyOrMarked)
{
    const char* named = std::getenv("KEYHOLE_CORPUS");
    const auto directory = named != nullptr
                               ? std::filesystem::path{named}
                               : std::filesystem::path{KEYHOLE_SOURCE_DIR} / ".." / "shared" / "fixtures";
    if (!std::filesystem::is_directory(directory)) {
        GTEST_SKIP() << "no recordings at " << directory << " (name their directory in KEYHOLE_CORPUS)";
    }
    std::ostringstream out;
    const auto report = corpus::run_cuts(directory, {.only = {}, .every_byte = 1024, .offsets = 20}, out);
    EXPECT_TRUE(report.wrong.empty()) << report.wrong.front();
    EXPECT_GT(report.cuts, 1000U);
}

}  // namespace keyhole::metering
