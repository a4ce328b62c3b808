#include "metering/request_media.hpp"

#include "metering/base64.hpp"
#include "metering/json_scan.hpp"
#include "metering/media_places.hpp"
#include "metering/numbers.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

namespace keyhole::metering {

namespace {

constexpr std::int64_t most_frames_a_second = 24;
constexpr std::size_t longest_name = 32;
constexpr std::size_t longest_type = 256;

using kinds = std::uint8_t;  ///< a bit a media_kind

constexpr kinds bit(media_kind k) noexcept
{
    return static_cast<kinds>(1U << static_cast<unsigned>(k));
}

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is(std::string_view text, std::string_view name) noexcept
{
    return std::ranges::equal(text, name, {}, lower, lower);
}

/// Where a string's base64 begins, and of what kind it says that it is.
struct inline_data {
    std::size_t begin = 0;
    kinds said = 0;
};

/// A data: URL or bare base64; nullopt: something else, an address for one.
std::optional<inline_data> inline_data_in(std::string_view raw)
{
    std::string head;
    decode_json_string(raw.substr(0, longest_type), longest_type, head);
    if (!is(std::string_view(head).substr(0, 5), "data:")) {
        // Schemes end in a colon, which base64 does not know.
        const auto odd = [](char c) { return c == ':' || c == ' ' || static_cast<unsigned char>(c) >= 0x80; };
        if (std::ranges::any_of(std::string_view(head).substr(0, 64), odd)) return std::nullopt;
        return inline_data{};
    }
    const auto comma = head.find(',');
    constexpr std::string_view coding = ";base64";
    if (comma == head.npos || comma < 5 + coding.size()) return std::nullopt;
    if (!is(std::string_view(head).substr(comma - coding.size(), coding.size()), coding)) return std::nullopt;
    const auto type = std::string_view(head).substr(5, head.find_first_of(";,") - 5);
    return inline_data{raw.find(',') + 1, bit(kind_of_type(type))};
}

class finder {
public:
    finder(wire w, std::string_view model, const std::function<void(const media_part&)>& take)
        : wire_(w), model_(model), readers_(readers_of(w, model)), take_(take)
    {
    }

    bool walk(json_cursor& at, const media_place& here)
    {
        at.skip_space();
        if (at.done()) return false;
        switch (at.peek()) {
        case '{':
            return walk_object(at, here);
        case '[':
            return here.elements ? at.read_elements([&] { return walk(at, *here.elements); })
                                 : at.skip_value();
        case '"':
            return walk_string(at, here);
        default:
            return walk_number(at, here);
        }
    }

    /// Films are counted when it is known how many of their pictures are looked at.
    void finish()
    {
        for (media_part& film : films_) {
            film.tokens.most = std::min(film.tokens.most * frames_, largest_context);
            take_(film);
        }
    }

private:
    const media_row* row_of(const media_place& here, media_role role) const
    {
        for (const media_row* row : here.rows)
            if (row->role == role && std::ranges::find(readers_, row->of) != readers_.end()) return row;
        return nullptr;
    }

    bool walk_object(json_cursor& at, const media_place& here)
    {
        if (const media_row* source = row_of(here, media_role::source)) return walk_source(at, here, *source);
        if (here.children.empty()) return at.skip_value();
        return at.read_members([&](const json_member& m) { return walk_member(at, here, m.key); });
    }
    bool walk_member(json_cursor& at, const media_place& here, const json_string& key)
    {
        const media_place* below = here.children.empty() ? nullptr : here.child(name_of(key));
        return below != nullptr ? walk(at, *below) : at.skip_value();
    }

    /// {"media_type": …, "data": …} in any order, and whatever else stands below it. Of two types the dearer
    /// counts, since readers may take either.
    bool walk_source(json_cursor& at, const media_place& here, const media_row& row)
    {
        std::array<found, 4> data;
        std::size_t count = 0;
        kinds said = 0;
        const bool whole = at.read_members([&](const json_member& m) {
            const std::string name{name_of(m.key)};
            if (at.peek() != '"') return walk_member(at, here, m.key);
            const bool is_data = is(name, "data");
            const bool is_type = is(name, "mimeType") || is(name, "mime_type") || is(name, "media_type");
            const bool is_sort = is(name, "type");
            if (!is_data && !is_type && !is_sort) return walk_member(at, here, m.key);
            found string;
            if (!read(at, string)) return false;
            if (is_data && count < data.size()) data[count++] = string;
            if (is_type) said |= bit(kind_of_type(decoded(string)));
            if (is_sort) said |= sort_of(decoded(string));
            return true;
        });
        for (std::size_t i = 0; i < count; ++i)
            emit(data[i], said, row.otherwise);
        return whole;
    }

    bool walk_string(json_cursor& at, const media_place& here)
    {
        const media_row* plain = row_of(here, media_role::string);
        const media_row* sealed = row_of(here, media_role::sealed);
        if (plain == nullptr && sealed == nullptr) return at.skip_value();
        found string;
        if (!read(at, string)) return false;
        if (plain != nullptr) {
            emit(string, 0, plain->otherwise);
        } else {
            const auto half = static_cast<std::int64_t>(string.raw.size() / 2);
            take_({.begin = string.begin,
                   .size = string.raw.size(),
                   .unbroken = string.unbroken,
                   .tokens = {half, 0}});
        }
        return true;
    }

    bool walk_number(json_cursor& at, const media_place& here)
    {
        const bool frames = row_of(here, media_role::frames) != nullptr;
        const std::size_t from = at.offset();
        if (!at.skip_value()) return false;
        // 1.5 is two; what is no plain number is the most.
        if (frames) {
            const auto text = at.since(from);
            const auto whole = text.substr(0, text.find('.'));
            const bool plain =
                !whole.empty() && whole.size() < 3 && text.find_first_not_of("0123456789.") == text.npos;
            std::int64_t n = whole.size() == text.size() ? 0 : 1;
            if (plain) n += parse_count(whole).value_or(most_frames_a_second);
            frames_ = std::max(frames_, plain ? std::min(n, most_frames_a_second) : most_frames_a_second);
        }
        return true;
    }

    struct found {
        std::string_view raw;
        std::size_t begin = 0;
        bool unbroken = false;
    };

    static bool read(json_cursor& at, found& out)
    {
        const auto blobs = at.blobs();
        json_string text;
        out.begin = at.offset() + 1;
        if (!at.read_string(text)) return false;
        out.raw = text.raw;
        out.unbroken = at.blobs() != blobs;
        return true;
    }
    std::string_view name_of(const json_string& key)
    {
        if (!key.escaped) return key.raw;
        name_.clear();
        // Cut: longer than every name in the table.
        if (!decode_json_string(key.raw, longest_name, name_)) return {};
        return name_;
    }
    std::string_view decoded(const found& string)
    {
        type_.clear();
        decode_json_string(string.raw.substr(0, longest_type * 6), longest_type, type_);
        return type_;
    }
    static kinds sort_of(std::string_view type)
    {
        if (is(type, "text")) return bit(media_kind::text);
        if (is(type, "image")) return bit(media_kind::image);
        if (is(type, "audio")) return bit(media_kind::audio);
        if (is(type, "video")) return bit(media_kind::video);
        return 0;
    }

    void emit(const found& string, kinds said, media_kind otherwise)
    {
        const auto data = inline_data_in(string.raw);
        if (!data) return;
        said |= data->said;
        if (said == 0) said = bit(otherwise);
        if ((said & bit(media_kind::text)) != 0) return;
        const auto coded = string.raw.substr(data->begin);
        std::string plain;
        std::string head;
        decode_json_string(coded.substr(0, media_head * 3 / 2), media_head * 4 / 3, plain);
        base64_decoder().decode(plain, head);

        media_part part{
            .begin = string.begin, .size = string.raw.size(), .unbroken = string.unbroken, .tokens = {}};
        for (const auto kind :
             {media_kind::image, media_kind::audio, media_kind::video, media_kind::document})
        {
            if ((said & bit(kind)) == 0) continue;
            const auto t = media_tokens_of(wire_, model_, kind, head, coded.size() / 4 * 3 + 3);
            part.tokens.most = std::max(part.tokens.most, t.most);
            part.tokens.likely = std::max(part.tokens.likely, t.likely);
        }
        if ((said & bit(media_kind::video)) != 0)
            films_.push_back(part);
        else
            take_(part);
    }

    wire wire_;
    std::string_view model_;
    media_readers readers_;
    const std::function<void(const media_part&)>& take_;
    std::vector<media_part> films_;
    std::int64_t frames_ = 1;
    std::string name_;
    std::string type_;
};

}  // namespace

void each_media(wire w, std::string_view model, std::string_view body,
                const std::function<void(const media_part&)>& take)
{
    json_cursor at{body};
    finder f{w, model, take};
    f.walk(at, media_places());
    f.finish();
}

media_sum media_sum_of(wire w, std::string_view model, std::string_view body)
{
    media_sum out;
    each_media(w, model, body, [&out](const media_part& part) {
        (part.unbroken ? out.unbroken_bytes : out.text_bytes) += part.size;
        out.most += part.tokens.most;
    });
    return out;
}

std::int64_t most_input_tokens(const request_facts& facts, const media_sum& media) noexcept
{
    const auto text = facts.text_bytes - std::min(facts.text_bytes, media.text_bytes);
    const auto unbroken = facts.unbroken_bytes - std::min(facts.unbroken_bytes, media.unbroken_bytes);
    // In this order nothing overflows for any body that fits into memory.
    return static_cast<std::int64_t>(text / 2 + text % 2) + static_cast<std::int64_t>(unbroken) + media.most +
           facts.upload_tokens;
}

}  // namespace keyhole::metering
