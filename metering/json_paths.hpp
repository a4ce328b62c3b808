// Reads JSON as it passes and reports the values at declared paths; everything else is skipped. It holds no
// document: a key, a number or a captured text is at most a few hundred bytes, and depth costs nothing
// outside the declared paths (a model may be asked to write a tool call a million brackets deep, so nothing
// here recurses or keeps a stack of it). One reader takes a sequence of values: a body, lines of NDJSON, or
// the elements of a top-level array, each reported as a document. It does not validate what it skips: the
// provider's answer is only read, never judged. Thread rule: a reader has one owner.
#pragma once

#include "metering/path_tree.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace keyhole::metering {

struct json_scalar {
    enum class type : std::uint8_t { string, number, boolean, null };
    type kind = type::null;
    std::string_view text;     ///< a string's decoded beginning, or a number as written
    std::uint64_t length = 0;  ///< a string's decoded length
    bool truth = false;
};

class json_sink {
public:
    virtual ~json_sink() = default;
    virtual void on_document_end(bool array_element) = 0;
    /// A top-level value ended: a document, or the array of several.
    virtual void on_value_end() {}
    virtual void on_begin(path_id) {}
    virtual void on_end(path_id) {}
    virtual void on_scalar(path_id, const json_scalar&) = 0;
    virtual void on_piece(path_id, std::string_view) {}
    /// Whether the strings of a document matter that are reported by pieces, once all else of it was said.
    virtual bool wants_pieces() const { return true; }
};

inline constexpr std::size_t longest_reported_text = 256;

/// A string without escapes, as it is reported; `pieces`: its path has that interest.
inline void report_text(json_sink& sink, path_id id, std::string_view text, bool pieces)
{
    if (pieces && !text.empty()) sink.on_piece(id, text);
    json_scalar value;
    value.kind = json_scalar::type::string;
    value.length = text.size();
    value.text = text.substr(0, longest_reported_text);
    sink.on_scalar(id, value);
}

class json_reader {
public:
    static constexpr std::size_t max_text = longest_reported_text;

    json_reader(const path_tree& tree, json_sink& sink);

    /// The next bytes. Ignored after a syntax error, until reset().
    void feed(std::string_view bytes);
    /// The input ended: a number that only its end can close is reported.
    void finish();
    /// Forgets an unfinished document; the next byte begins a new one.
    void reset() noexcept;
    /// Between documents: reports a string with escapes as if it stood at a path of this reader's tree. `raw`
    /// is what stands between its quotes, well-formed; its closing quote must follow it in memory.
    void report_escaped(path_id id, std::string_view raw);

    bool failed() const noexcept { return state_ == state::failed; }
    /// Between documents (also at the very start), not within one.
    bool idle() const noexcept { return depth_ == 0 && state_ == state::value; }

private:
    enum class state : std::uint8_t {
        value,        ///< a value must come (between documents: may)
        first_value,  ///< after '[': a value or ']'
        first_key,    ///< after '{': a key or '}'
        key,          ///< after ',' in an object
        in_key,
        colon,
        in_string,
        in_word,  ///< number, true, false, null
        after_value,
        skipping,  ///< inside a container nobody asks for
        skipping_string,
        failed,
    };
    struct frame {
        const path_tree::node* node = nullptr;
        bool object = false;
    };
    static constexpr std::size_t max_frames = 16;
    static constexpr std::uint8_t string_interests =
        bit(interest::scalar) | bit(interest::measure) | bit(interest::pieces);
    /// Of a key: kept whole, compared, dropped. Not an interest of a path.
    static constexpr std::uint8_t key_mode = 128;

    const char* begin_value(const char* p, const char* end);
    const char* begin_key(const char* p, const char* end);
    const char* begin_text(const char* p, const char* end, std::uint8_t mode);
    void end_text();
    const char* after_key(const char* p, const char* end) noexcept;
    const char* read_key(const char* p, const char* end);
    const char* read_string(const char* p, const char* end);
    const char* begin_word(const char* p, const char* end);
    const char* read_word(const char* p, const char* end);
    const char* skip(const char* p, const char* end);
    bool string_bytes(const char*& p, const char* end);
    void run(const char* begin, const char* end, bool closed);
    void escaped(char c);
    void append(std::string_view bytes);
    void append_code_point(std::uint32_t code);
    void open(bool object);
    void close(bool object);
    void ended_value();
    void end_word();
    void report_word(std::string_view word);
    void begin_string(std::uint8_t mode) noexcept;
    bool wants(interest what) const noexcept;
    void fail() noexcept { state_ = state::failed; }

    const path_tree& tree_;
    const path_tree::node* root_;
    json_sink& sink_;
    std::array<frame, max_frames> frames_{};
    std::size_t depth_ = 0;
    const path_tree::node* at_ =
        nullptr;  ///< node of the value that comes or is being read; nullptr: nobody asks
    state state_ = state::value;
    std::uint64_t skip_depth_ = 0;

    // The string, key or word being read.
    std::uint8_t mode_ = 0;    ///< interests in a string; 0: none
    std::uint8_t escape_ = 0;  ///< 0: none, 1: after '\', 2…5: hexadecimal digits to come + 1
    bool overlong_ = false;
    std::uint32_t code_ = 0;
    std::uint32_t high_ = 0;  ///< a high surrogate that waits for its other half
    std::uint64_t length_ = 0;
    std::string_view direct_;  ///< the text where it stands whole in the input
    std::size_t held_ = 0;
    std::array<char, max_text> hold_{};
};

}  // namespace keyhole::metering
