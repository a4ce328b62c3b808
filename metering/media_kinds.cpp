#include "metering/media_kinds.hpp"

#include "metering/request_demand.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

namespace keyhole::metering {

namespace {

/// How pictures become tokens: so many pixels a token, up to an end, which is also what a picture of unknown
/// size is taken for.
struct picture_rule {
    wire of;
    std::int64_t pixels_a_token;
    std::int64_t most;
};

/// Patches of 28 x 28 pixels without a bound of the provider's own: open models behind OpenAI's API. OpenAI:
/// patches of 32 x 32, at most 10,000, times up to 2.46.
constexpr picture_rule any_picture{wire::none, 400, 16'400};
constexpr picture_rule pictures[] = {
    // https://platform.claude.com/docs/en/build-with-claude/vision: 750 pixels a token, at most 4784.
    {wire::anthropic_messages, 700, 4'800},
    // https://ai.google.dev/gemini-api/docs/image-understanding: 258 a tile of 256 to 768 pixels.
    {wire::gemini, 250, 4'400},
    {wire::gemini_interactions, 250, 4'400},
    {wire::bedrock_converse, 400, 5'000},
    {wire::cohere, 400, 5'000},
};
constexpr std::int64_t picture_frame = 300;  // what the smallest one costs
/// gpt-4o-mini bills 5667 a tile, of which there are up to eight, and 2833 more: what its picture costs is to
/// equal what the larger model's does. https://platform.openai.com/docs/guides/images-vision
constexpr std::string_view inflated_model = "gpt-4o-mini";
constexpr std::int64_t inflated_picture = 48'200;

/// Gemini counts 32 a second, transcriptions are billed 10 to 12.5.
constexpr std::uint64_t sound_tokens_a_second = 32;
constexpr std::uint64_t transcribed_tokens_a_second = 13;
/// 6.4 kbit/s: about the least at which codecs carry a voice.
constexpr std::uint64_t least_sound_bytes = 800;
/// 128 kbit/s.
constexpr std::uint64_t usual_sound_bytes = 16'000;
/// A picture a second and its sound (https://ai.google.dev/gemini-api/docs/tokens), at 10 kbit/s.
constexpr std::uint64_t film_tokens_a_second = 300;
constexpr std::uint64_t least_film_bytes = 1'250;
constexpr std::uint64_t usual_film_bytes = 100'000;
/// The smallest empty page of a PDF is a picture of one all the same.
constexpr std::uint64_t most_tokens_a_document_byte = 32;

bool has(std::string_view text, std::size_t at, std::string_view what) noexcept
{
    return text.size() >= at && text.substr(at).starts_with(what);
}

std::uint32_t big_endian(std::string_view bytes) noexcept
{
    std::uint32_t out = 0;
    for (const char c : bytes)
        out = out << 8U | static_cast<unsigned char>(c);
    return out;
}

std::uint32_t little_endian(std::string_view bytes) noexcept
{
    std::uint32_t out = 0;
    for (auto i = bytes.size(); i-- != 0;)
        out = out << 8U | static_cast<unsigned char>(bytes[i]);
    return out;
}

bool is_jpeg(std::string_view head) noexcept
{
    return head.starts_with("\xFF\xD8\xFF");
}

bool is_png(std::string_view head) noexcept
{
    return head.starts_with("\x89PNG\r\n\x1A\n");
}

bool is_picture(std::string_view head) noexcept
{
    if (is_png(head) || is_jpeg(head) || head.starts_with("GIF87a") || head.starts_with("GIF89a"))
        return true;
    if (head.starts_with("BM") && has(head, 6, std::string_view("\0\0\0\0", 4))) return true;
    if (head.starts_with(std::string_view("II*\0", 4)) || head.starts_with(std::string_view("MM\0*", 4)))
        return true;
    if (head.starts_with("RIFF") && has(head, 8, "WEBP")) return true;
    constexpr std::string_view brands[] = {"heic", "heix", "heim", "heis", "mif1", "avif"};
    return has(head, 4, "ftyp") &&
           std::ranges::any_of(brands, [&](std::string_view b) { return has(head, 8, b); });
}

/// Of the JPEG whose frame header is in `head`.
std::optional<std::int64_t> jpeg_pixels(std::string_view head) noexcept
{
    std::size_t at = 2;
    while (at + 9 <= head.size()) {
        if (head[at] != '\xFF') return std::nullopt;
        const auto marker = static_cast<unsigned char>(head[at + 1]);
        const bool frame =
            marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
        if (frame)
            return std::int64_t{big_endian(head.substr(at + 5, 2))} * big_endian(head.substr(at + 7, 2));
        if (marker < 0xC0 || (marker >= 0xD0 && marker <= 0xD9)) return std::nullopt;
        at += 2 + big_endian(head.substr(at + 2, 2));
    }
    return std::nullopt;
}

/// nullopt: not told by its first bytes. Only of formats that have one size, which their readers take.
std::optional<std::int64_t> pixels_of(std::string_view head) noexcept
{
    if (is_png(head) && head.size() >= 24 && has(head, 12, "IHDR")) {
        const std::int64_t wide = big_endian(head.substr(16, 4));
        const std::int64_t high = big_endian(head.substr(20, 4));
        constexpr std::int64_t beyond = 1 << 20;  // one is enough to be more than any bound
        return std::min(wide, beyond) * std::min(high, beyond);
    }
    return is_jpeg(head) ? jpeg_pixels(head) : std::nullopt;
}

std::int64_t most_of_picture(wire w, std::string_view model, std::string_view head) noexcept
{
    if (bills_pictures_dearer(model)) return inflated_picture;
    const auto* found = std::ranges::find(pictures, w, &picture_rule::of);
    const picture_rule& rule = found == std::end(pictures) ? any_picture : *found;
    const auto pixels = pixels_of(head);
    return pixels ? std::min(*pixels / rule.pixels_a_token + picture_frame, rule.most) : rule.most;
}

std::int64_t likely_of_picture(std::string_view head) noexcept
{
    constexpr std::int64_t smallest = 250;
    constexpr std::int64_t largest = 1'500;
    constexpr std::int64_t usual = 1'000;
    constexpr std::int64_t pixels_a_token = 900;
    const auto pixels = pixels_of(head);
    return pixels ? std::min(*pixels / pixels_a_token + smallest, largest) : usual;
}

/// Bytes a second of a WAV file, 0: not told. Only of sorts in which a sample has a size.
std::uint64_t wave_rate(std::string_view head) noexcept
{
    if (!head.starts_with("RIFF") || !has(head, 8, "WAVE")) return 0;
    std::size_t at = 12;
    while (at + 24 <= head.size()) {
        if (!has(head, at, "fmt ")) {
            const std::size_t size = little_endian(head.substr(at + 4, 4));
            at += 8 + size + size % 2;
            continue;
        }
        const auto coding = little_endian(head.substr(at + 8, 2));
        const std::uint64_t channels = little_endian(head.substr(at + 10, 2));
        const std::uint64_t samples = little_endian(head.substr(at + 12, 4));
        const std::uint64_t bits = little_endian(head.substr(at + 22, 2));
        const bool sized = coding == 1 || coding == 3 || coding == 6 || coding == 7;
        if (!sized || channels == 0 || samples == 0 || samples > 1'000'000 || bits < 8) return 0;
        return channels * samples * (bits / 8);
    }
    return 0;
}

std::int64_t tokens(std::uint64_t bytes, std::uint64_t bytes_a_second, std::uint64_t tokens_a_second)
{
    const std::uint64_t bounded = std::min<std::uint64_t>(bytes, std::uint64_t{1} << 40U);
    return static_cast<std::int64_t>((bounded * tokens_a_second + bytes_a_second - 1) / bytes_a_second);
}

media_tokens sound(wire w, std::string_view head, std::uint64_t size) noexcept
{
    const auto by_second = w == wire::openai_audio ? transcribed_tokens_a_second : sound_tokens_a_second;
    if (const auto rate = wave_rate(head)) {
        const auto exact = tokens(size, rate, by_second);
        return {exact, exact};
    }
    return {tokens(size, least_sound_bytes, by_second), tokens(size, usual_sound_bytes, by_second)};
}

std::int64_t most_of_document(std::uint64_t size) noexcept
{
    const std::uint64_t read = std::max<std::uint64_t>(file_allowance, size / 2);
    const std::uint64_t tiny = std::min(size, read) * most_tokens_a_document_byte;
    return static_cast<std::int64_t>(std::min({tiny, read, static_cast<std::uint64_t>(largest_context)}));
}

}  // namespace

bool bills_pictures_dearer(std::string_view model) noexcept
{
    return model.find(inflated_model) != model.npos;
}

media_kind kind_of_type(std::string_view mime) noexcept
{
    const auto begins = [mime](std::string_view name) {
        const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
        return mime.size() >= name.size() && std::ranges::equal(mime.substr(0, name.size()), name, {}, lower);
    };
    // A vector image is a text that draws.
    if (begins("image/svg")) return media_kind::text;
    if (begins("image/")) return media_kind::image;
    if (begins("audio/")) return media_kind::audio;
    if (begins("video/")) return media_kind::video;
    constexpr std::string_view texts[] = {"text",
                                          "application/json",
                                          "application/x-json",
                                          "application/xml",
                                          "application/javascript",
                                          "application/x-javascript",
                                          "application/rtf",
                                          "application/x-python",
                                          "application/typescript",
                                          "application/yaml",
                                          "application/x-yaml",
                                          "application/csv"};
    return std::ranges::any_of(texts, begins) ? media_kind::text : media_kind::document;
}

media_tokens media_tokens_of(wire w, std::string_view model, media_kind kind, std::string_view head,
                             std::uint64_t size) noexcept
{
    constexpr std::uint64_t usual_document_bytes = 40;  // a token, with its pictures and fonts
    const auto bytes = static_cast<std::int64_t>(std::min<std::uint64_t>(size, std::uint64_t{1} << 40U));
    switch (kind) {
    case media_kind::text:
        return {bytes, bytes / 4};
    case media_kind::image:
        if (!is_picture(head)) break;
        return {most_of_picture(w, model, head), likely_of_picture(head)};
    case media_kind::audio:
        return sound(w, head, size);
    case media_kind::video:
        return {std::min(tokens(size, least_film_bytes, film_tokens_a_second), largest_context),
                tokens(size, usual_film_bytes, film_tokens_a_second)};
    case media_kind::document:
        break;
    }
    return {most_of_document(size),
            std::min(bytes / static_cast<std::int64_t>(usual_document_bytes), largest_context)};
}

}  // namespace keyhole::metering
