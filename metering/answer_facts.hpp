// Gathers what an answer says, by the rules of its wire, from the JSON documents that pass.
// Thread rule: one owner.
#pragma once

#include "metering/compiled_wire.hpp"
#include "metering/json_paths.hpp"
#include "metering/meter.hpp"
#include "metering/wires.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace keyhole::metering {

class answer_facts final : public json_sink {
public:
    answer_facts(wire w, int status);

    /// A type that stands outside the document (event-stream headers, SSE event fields).
    void event_type(std::string_view name) noexcept;
    /// `data: [DONE]`.
    void done_marker() noexcept;
    void failed(std::string_view error_type);
    /// Counts that stood in the head: used where the body has none.
    void header_counts(const usage_numbers& numbers)
    {
        if (numbers.present != 0) header_counts_ = std::make_unique<usage_numbers>(numbers);
    }
    /// The body is one JSON text, no stream: its end is the answer's.
    void one_body() noexcept { one_body_ = true; }
    void count_texts(texts_counted which) noexcept { texts_ = which; }

    bool has_usage() const noexcept;
    bool needs_terminal() const noexcept;
    reading& known() noexcept { return reading_; }
    /// Brings the counts up to date.
    const reading& settle();

    /// The document that was being read won't be completed: forgets what it said, or, at the body's end
    /// (`cut`), keeps the usage objects that were complete.
    void abandon_document(bool cut);

    void on_document_end(bool) override;
    void on_value_end() override;
    void on_begin(path_id id) override;
    void on_end(path_id id) override;
    void on_scalar(path_id id, const json_scalar& value) override;
    void on_piece(path_id id, std::string_view piece) override;
    bool wants_pieces() const override;

private:
    struct staged {
        usage_numbers numbers;
        std::array<std::uint8_t, quantity_count> rank{};
        std::array<char, 16> label{};  ///< of the breakdown entry being read
        std::uint8_t label_size = 0;
        std::int64_t count = 0;
        bool unreadable = false;  ///< something else stands where a count belongs
    };
    struct slot {
        usage_numbers numbers;
        const usage_shape* shape = nullptr;
        bool spoiled = false;  ///< the last object had something else where a count belongs
        bool counts() const noexcept;
    };

    staged& staged_at(std::size_t place);
    slot& slot_at(std::size_t index);
    void begin(const path_action& action);
    void end(const path_action& action);
    void scalar(const path_action& action, const json_scalar& value);
    void say(const path_action& action, const json_scalar& value);
    void text(std::uint8_t rank, std::string_view piece);
    std::optional<std::int64_t> count(staged& s, const usage_shape& shape, const json_scalar& value);
    void spoil(slot& s) noexcept;
    containment rule_for(const usage_shape& shape) const;
    void commit(const usage_place& place, const usage_numbers& numbers);
    void error_type(std::string_view text, std::uint8_t rank);

    const compiled_wire& wire_;
    const wire_rules& rules_;
    int status_;
    // Most of a stream passes before it counts anything: these are made when it does.
    std::vector<staged> staged_;                    ///< one a usage place, within a document
    std::vector<slot> slots_;                       ///< as many as the wire has
    std::unique_ptr<usage_numbers> header_counts_;  ///< where there are any
    std::uint8_t error_rank_ = 0xff;
    // What the document being read said; counts once it is complete (a broken event is no event).
    std::uint32_t pending_places_ = 0;  ///< a bit a usage place
    bool pending_terminal_ = false;
    std::int64_t pending_searches_ = 0;
    std::int64_t searches_ = 0;  ///< that the answer lists as items
    bool one_body_ = false;
    texts_counted texts_ = texts_counted::all;
    bool quick_ = false;       ///< the tier was told as a speed
    bool opening_ = false;     ///< an event that announces an item, before it has content
    bool unfinished_ = false;  ///< a record said that more follows
    bool changed_ = true;
    std::uint8_t text_rank_ = 0xff;  ///< of the text that counts
    token_counter counter_;
    reading reading_;
};

}  // namespace keyhole::metering
