// BUDGET_HOLDS: what a wire carries as media is held as media, and nothing else is.
#include "metering/request_media.hpp"

#include "metering/request_demand.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {
namespace {

std::string base64(std::string_view bytes)
{
    constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group = group << 8U | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        for (std::size_t k = 0; k < 4; ++k)
            out += i + k > bytes.size() ? '=' : letters[(group >> (18 - 6 * k)) & 63U];
    }
    return out;
}

std::string number(std::uint32_t n, unsigned bytes, bool big)
{
    std::string out;
    for (unsigned i = 0; i < bytes; ++i)
        out += static_cast<char>(n >> (8 * (big ? bytes - 1 - i : i)));
    return out;
}

std::string png(std::uint32_t wide, std::uint32_t high, std::size_t size)
{
    std::string out =
        "\x89PNG\r\n\x1A\n" + std::string("\0\0\0\rIHDR", 8) + number(wide, 4, true) + number(high, 4, true);
    out.resize(std::max(out.size(), size), 'x');
    return out;
}

std::string jpeg(std::uint32_t wide, std::uint32_t high, std::size_t size)
{
    std::string out = "\xFF\xD8\xFF\xE0" + number(302, 2, true) + std::string(300, 'e') + "\xFF\xC0" +
                      number(17, 2, true) + "\x08" + number(high, 2, true) + number(wide, 2, true);
    out.resize(std::max(out.size(), size), 'x');
    return out;
}

std::string wave(std::uint32_t rate, std::size_t size)
{
    std::string out = "RIFF" + number(0, 4, false) + "WAVEfmt " + number(16, 4, false) + number(1, 2, false) +
                      number(1, 2, false) + number(rate, 4, false) + number(rate * 2, 4, false) +
                      number(2, 2, false) + number(16, 2, false) + "data";
    out.resize(size, '\0');
    return out;
}

std::int64_t held(wire w, const std::string& body, std::string_view model = "m")
{
    return most_input_tokens(scan_request(body), media_sum_of(w, model, body));
}

/// The body with `@` in place of the data.
std::string with(std::string_view body, std::string_view data)
{
    std::string out(body);
    for (auto at = out.find('@'); at != out.npos; at = out.find('@', at + data.size()))
        out.replace(at, 1, data);
    return out;
}

struct place {
    wire of;
    std::string_view body;  ///< @: base64
    std::string_view model = "m";
};

const std::vector<place> picture_places = {
    {wire::openai_chat,
     R"({"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,@"}}]}]})"},
    {wire::openai_chat,
     R"({"messages":[{"content":[{"type":"image_url","image_url":"data:image\/png;base64,@"}]}]})"},
    {wire::openai_chat, R"({"messages":[{"content":[{"image_url":{"url":"@"}}]}]})"},
    {wire::openai_chat,
     R"({"messages":[{"content":[{"image\u005furl":{"u\u0072l":"data:image/png;base64,@"}}]}]})"},
    {wire::openai_chat, R"({"messages":[{"content":[{"file":{"file_data":"DATA:Image/PNG;base64,@"}}]}]})"},
    {wire::openai_responses, R"({"input":[{"content":[{"image_url":"data:image/png;base64,@"}]}]})"},
    {wire::openai_responses, R"({"input":[{"output":[{"image_url":"data:image/png;base64,@"}]}]})"},
    {wire::openai_responses, R"({"input":[{"output":{"image_url":"data:image/png;base64,@"}}]})"},
    {wire::openai_responses, R"({"prompt":{"variables":{"any":{"image_url":"data:image/png;base64,@"}}}})"},
    {wire::anthropic_messages,
     R"({"messages":[{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"@"}}]}]})"},
    {wire::anthropic_messages,
     R"({"messages":[{"content":[{"type":"tool_result","content":[{"source":{"data":"@","media_type":"image/png"}}]}]}]})"},
    {wire::anthropic_messages,
     R"({"messages":[{"content":[{"type":"document","source":{"type":"content","content":[{"source":{"data":"@","media_type":"image/png"}}]}}]}]})"},
    {wire::gemini, R"({"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"@"}}]}]})"},
    {wire::gemini, R"({"contents":{"parts":[{"inline_data":{"data":"@","mime_type":"image/png"}}]}})"},
    {wire::gemini_embed, R"({"content":{"parts":[{"inline_data":{"data":"@","mime_type":"image/png"}}]}})"},
    {wire::gemini_interactions, R"({"input":[{"type":"image","data":"@","mime_type":"image/png"}]})"},
    {wire::gemini_interactions, R"({"input":[{"content":[{"type":"image","data":"@"}]}]})"},
    {wire::bedrock_converse,
     R"({"messages":[{"content":[{"image":{"format":"png","source":{"bytes":"@"}}}]}]})"},
    {wire::bedrock_converse,
     R"({"messages":[{"content":[{"toolResult":{"content":[{"image":{"source":{"bytes":"@"}}}]}}]}]})"},
    {wire::bedrock_invoke, R"({"messages":[{"content":[{"source":{"media_type":"image/png","data":"@"}}]}]})",
     "us.anthropic.claude-sonnet-4"},
    {wire::bedrock_invoke, R"({"messages":[{"content":[{"image":{"source":{"bytes":"@"}}}]}]})",
     "amazon.nova-pro-v1:0"},
    {wire::bedrock_invoke, R"({"messages":[{"content":[{"source":{"media_type":"image/png","data":"@"}}]}]})",
     "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"},
    {wire::bedrock_invoke, R"({"images":["@"]})", "meta.llama3-2-90b"},
    {wire::cohere, R"({"messages":[{"content":[{"image_url":{"url":"data:image/png;base64,@"}}]}]})"},
    {wire::cohere, R"({"images":["data:image/png;base64,@"]})"},
    {wire::ollama, R"({"messages":[{"images":["@"]}]})"},
    {wire::ollama, R"({"Images":["@"]})"},
    {wire::openai_images, R"({"images":[{"image_url":"data:image/png;base64,@"}]})"},
    {wire::mistral_ocr, R"({"document":{"type":"image_url","image_url":"data:image/png;base64,@"}})"},
};

TEST(RequestMedia, APictureIsHeldAsOneWhereItsWireCarriesIt)
{
    const std::string megabyte = base64(png(1920, 1080, 1 << 20U));
    const std::string tiny = base64(png(1920, 1080, 100));
    for (const place& p : picture_places) {
        const auto most = held(p.of, with(p.body, megabyte), p.model);
        EXPECT_GT(most, 2'700) << p.body;
        EXPECT_LT(most, 9'000) << p.body;
        // However few its bytes are.
        EXPECT_GT(held(p.of, with(p.body, tiny), p.model), 2'700) << p.body;
    }
}

TEST(RequestMedia, TheSameElsewhereIsText)
{
    const std::string data = base64(png(100, 100, 200'000));
    for (
        const auto& [of, body, model] : std::vector<place>{
            {wire::openai_chat, R"({"messages":[{"content":"@"}]})"},
            {wire::openai_chat,
             R"({"messages":[{"content":[{"type":"text","text":"data:image/png;base64,@"}]}]})"},
            {wire::openai_chat, R"({"messages":[{"content":"{\"image_url\":{\"url\":\"@\"}}"}]})"},
            {wire::openai_chat, R"({"messages":[{"tool_calls":[{"function":{"arguments":"@"}}]}]})"},
            {wire::openai_chat,
             R"({"tools":[{"function":{"parameters":{"image_url":{"url":"data:image/png;base64,@"}}}}]})"},
            {wire::openai_chat,
             R"({"messages":[{"content":[{"text":{"image_url":{"url":"data:image/png;base64,@"}}}]}]})"},
            {wire::openai_chat, R"({"image_url":{"url":"data:image/png;base64,@"}})"},
            {wire::openai_chat, R"({"messages":[{"content":[{"image_url":{"url":"data:image/png,@"}}]}]})"},
            {wire::openai_chat,
             R"({"messages":[{"content":[{"source":{"media_type":"image/png","data":"@"}}]}]})"},
            {wire::openai_responses, R"({"input":"data:image/png;base64,@"})"},
            {wire::openai_responses, R"({"input":[{"type":"function_call","arguments":"@"}]})"},
            {wire::openai_responses,
             R"({"input":[{"type":"function_call_output","output":"data:image/png;base64,@"}]})"},
            {wire::openai_responses, R"({"instructions":"@"})"},
            {wire::anthropic_messages, R"({"system":[{"source":{"media_type":"image/png","data":"@"}}]})"},
            {wire::anthropic_messages,
             R"({"messages":[{"content":[{"type":"tool_use","input":{"source":{"media_type":"image/png","data":"@"}}}]}]})"},
            {wire::anthropic_messages,
             R"({"tools":[{"input_schema":{"messages":[{"content":[{"source":{"media_type":"image/png","data":"@"}}]}]}}]})"},
            {wire::anthropic_messages,
             R"({"messages":[{"content":[{"source":{"type":"text","media_type":"image/png","data":"@"}}]}]})"},
            {wire::anthropic_messages,
             R"({"messages":[{"content":[{"source":{"type":"base64","type":"text","media_type":"image/png","data":"@"}}]}]})"},
            {wire::anthropic_messages,
             R"({"messages":[{"content":[{"source":{"data":"@","media_type":"image/png","media\u005ftype":"text/plain"}}]}]})"},
            {wire::gemini,
             R"({"contents":[{"parts":[{"functionCall":{"args":{"inlineData":{"mimeType":"image/png","data":"@"}}}}]}]})"},
            {wire::gemini,
             R"({"contents":[{"parts":[{"functionResponse":{"response":{"inlineData":{"mimeType":"image/png","data":"@"}}}}]}]})"},
            {wire::gemini,
             R"({"contents":[{"parts":[{"inlineData":{"mimeType":"text/plain","data":"@"}}]}]})"},
            {wire::gemini,
             R"({"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","mime_type":"text/html","data":"@"}}]}]})"},
            {wire::gemini_interactions,
             R"({"input":[{"type":"function_result","result":{"data":"@","mime_type":"image/png"}}]})"},
            {wire::bedrock_converse,
             R"({"messages":[{"content":[{"toolUse":{"input":{"image":{"source":{"bytes":"@"}}}}}]}]})"},
            {wire::bedrock_converse,
             R"({"messages":[{"content":[{"toolResult":{"content":[{"json":{"bytes":"@"}}]}}]}]})"},
            {wire::bedrock_invoke, R"({"images":["@"]})", "us.anthropic.claude-sonnet-4"},
            {wire::cohere, R"({"documents":["@"]})"},
            {wire::ollama, R"({"messages":[{"tool_calls":[{"function":{"arguments":{"images":["@"]}}}]}]})"},
            {wire::openai_embeddings, R"({"input":["@"]})"},
        })
        EXPECT_GE(held(of, with(body, data), model), static_cast<std::int64_t>(data.size() / 2)) << body;
}

TEST(RequestMedia, TextWithoutABlankIsTextOfATokenAByteAtMost)
{
    std::string text;
    while (text.size() < 400'000)
        text += "word_";
    const auto most = held(wire::openai_chat, R"({"messages":[{"content":")" + text + "\"}]}");
    EXPECT_GE(most, 160'000);
    EXPECT_LE(most, 400'100);
    EXPECT_EQ(held(wire::openai_chat, std::string(5000, 'x')), 5000) << "what is no object";
}

std::int64_t picture_of(std::string_view bytes, wire w = wire::openai_chat, std::string_view model = "m")
{
    return media_tokens_of(w, model, media_kind::image, bytes.substr(0, media_head), bytes.size()).most;
}

TEST(RequestMedia, APictureCostsByItsSizeAsFarAsItsHeadTells)
{
    EXPECT_EQ(picture_of(png(100, 100, 1000)), 325);
    EXPECT_EQ(picture_of(png(1000, 800, 1000)), 2300);
    EXPECT_EQ(picture_of(jpeg(1000, 800, 1000)), 2300);
    EXPECT_EQ(picture_of(png(60'000, 60'000, 1000)), 16'400);
    EXPECT_EQ(picture_of(png(0xFFFFFFFF, 0xFFFFFFFF, 1000)), 16'400);
    EXPECT_EQ(picture_of(png(8000, 8000, 1000), wire::anthropic_messages), 4800);
    EXPECT_EQ(picture_of(jpeg(1000, 800, 1000).substr(0, 200)), 16'400) << "its frame is not in sight";
    for (const std::string_view head : {"GIF89a\1\0\1\0", "RIFF0000WEBPVP8 ", "0000ftypavif"})
        EXPECT_EQ(picture_of(head), 16'400);
    EXPECT_EQ(picture_of(png(100, 100, 1000), wire::openai_chat, "gpt-4o-mini-2024-07-18"), 48'200);
    // 256 tokens a tile of 256 pixels at the least.
    EXPECT_GE(picture_of(png(1920, 1080, 1000), wire::gemini), 258 * 6);
}

TEST(RequestMedia, WhatIsCalledAPictureAndIsNoneIsADocument)
{
    const std::string text(400'000, 'w');
    EXPECT_EQ(picture_of(text), 200'000);
    EXPECT_EQ(picture_of(text.substr(0, 40'000)), file_allowance);
    EXPECT_EQ(picture_of(text.substr(0, 10)), 320);
    EXPECT_EQ(picture_of(std::string(30'000'000, 'w')), largest_context);
}

TEST(RequestMedia, SoundsAndFilmsCostByTheirLength)
{
    const auto most = [](wire w, media_kind kind, std::string_view bytes) {
        return media_tokens_of(w, "m", kind, bytes.substr(0, media_head), bytes.size()).most;
    };
    // Ten seconds, which the head tells exactly.
    EXPECT_EQ(most(wire::gemini, media_kind::audio, wave(16'000, 320'000)), 320);
    EXPECT_EQ(most(wire::openai_audio, media_kind::audio, wave(16'000, 320'000)), 130);
    EXPECT_EQ(most(wire::gemini, media_kind::audio, wave(0, 320'000)), 12'800) << "it tells nothing";
    EXPECT_EQ(most(wire::openai_audio, media_kind::audio, std::string(4'000'000, 'x')), 65'000);
    EXPECT_EQ(most(wire::gemini, media_kind::video, std::string(1'500'000, 'x')), 360'000);
    EXPECT_EQ(most(wire::gemini, media_kind::video, std::string(20'000'000, 'x')), largest_context);
}

TEST(RequestMedia, FilmsCostByThePicturesThatAreLookedAt)
{
    const auto film = [](std::string_view frames) {
        const std::string body = R"({"contents":[{"parts":[{"inlineData":{"mimeType":"video/mp4","data":")" +
                                 base64(std::string(30'000, 'x')) + "\"}" + std::string(frames) + "}]}]}";
        return media_sum_of(wire::gemini, "m", body).most;
    };
    const auto one = film("");
    EXPECT_NEAR(static_cast<double>(one), 7200, 10);
    EXPECT_EQ(film(R"(,"videoMetadata":{"fps":1})"), one);
    EXPECT_EQ(film(R"(,"video_metadata":{"fps":0.5})"), one);
    EXPECT_EQ(film(R"(,"videoMetadata":{"fps":1.5})"), one * 2);
    EXPECT_EQ(film(R"(,"videoMetadata":{"fps":24})"), one * 24);
    EXPECT_EQ(film(R"(,"videoMetadata":{"fps":1e1})"), one * 24);
}

TEST(RequestMedia, OfTwoTypesTheDearerCounts)
{
    const std::string data = base64(png(100, 100, 300'000));
    const auto said = [&](std::string_view types) {
        return media_sum_of(wire::gemini, "m",
                            R"({"contents":[{"parts":[{"inlineData":{)" + std::string(types) +
                                R"(,"data":")" + data + "\"}}]}]}")
            .most;
    };
    const auto picture = said(R"("mimeType":"image/png")");
    const auto film = said(R"("mimeType":"video/mp4")");
    EXPECT_LT(picture, film);
    EXPECT_EQ(said(R"("mimeType":"image/png","mimeType":"video/mp4")"), film);
    EXPECT_EQ(said(R"("mime_type":"video/mp4","mimeType":"image/png")"), film);
    EXPECT_EQ(said(R"("other":1)"), said(R"("mimeType":"application/pdf")")) << "nothing said: a document";
    const std::string twice = R"({"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":")" +
                              data + R"(","data":")" + data + "\"}}]}]}";
    EXPECT_EQ(media_sum_of(wire::gemini, "m", twice).most, picture * 2);
}

TEST(RequestMedia, DocumentsAndSealedReasoning)
{
    const std::string pdf = base64("%PDF-1.7" + std::string(30'000, 'x'));
    for (const place& p : std::vector<place>{
             {wire::openai_chat,
              R"({"messages":[{"content":[{"file":{"file_data":"data:application/pdf;base64,@"}}]}]})"},
             {wire::openai_chat,
              R"({"messages":[{"content":[{"image_url":{"url":"data:application/pdf;base64,@"}}]}]})"},
             {wire::openai_responses, R"({"input":[{"content":[{"file_data":"@"}]}]})"},
             {wire::anthropic_messages,
              R"({"messages":[{"content":[{"source":{"media_type":"application/pdf","data":"@"}}]}]})"},
             {wire::bedrock_converse,
              R"({"messages":[{"content":[{"document":{"source":{"bytes":"@"}}}]}]})"}})
    {
        const auto most = held(p.of, with(p.body, pdf));
        EXPECT_GE(most, file_allowance) << p.body;
        EXPECT_LE(most, file_allowance + 100) << p.body;
    }
    const std::string sealed(8000, 'Q');
    EXPECT_NEAR(static_cast<double>(
                    held(wire::openai_responses, R"({"input":[{"encrypted_content":")" + sealed + "\"}]}")),
                4000, 40);
    EXPECT_NEAR(static_cast<double>(held(wire::anthropic_messages,
                                         R"({"messages":[{"content":[{"signature":")" + sealed + "\"}]}]}")),
                4000, 40);
}

TEST(RequestMedia, BodiesThatEndAnywhereAreReadAsFarAsTheyGo)
{
    for (const place& p : picture_places) {
        const std::string body = with(p.body, base64(png(9, 9, 30)));
        for (std::size_t n = 0; n <= body.size(); ++n) {
            const auto part = body.substr(0, n);
            EXPECT_GE(held(p.of, part, p.model), 0);
        }
    }
    const std::string deep = R"({"messages":)" + std::string(20'000, '[') + std::string(20'000, ']') + "}";
    EXPECT_GT(held(wire::openai_chat, deep), 19'000);
}

}  // namespace
}  // namespace keyhole::metering
