// Checks one answer while it arrives: its status, that it is whole, that its usage is there and fits the
// request. For streams it also takes the times of the events. Units: ns. Thread rule: one owner.
#pragma once

#include "bench/common/histogram.hpp"
#include "bench/common/message.hpp"
#include "bench/load/plan.hpp"

#include <cstdint>
#include <string>

namespace keyhole::bench {

/// What all answers of a run add up to.
struct totals {
    histogram latency;      ///< from when the request was due to its answer's last byte
    histogram first_token;  ///< … to the first byte of the body
    histogram gap;          ///< between two events of a stream, as they arrive
    histogram delay;        ///< from the mock's write of an event to its arrival
    std::uint64_t requests = 0;
    std::uint64_t events = 0;
    std::uint64_t answer_bytes = 0;
    std::uint64_t prompt_tokens = 0;
    std::uint64_t cached_tokens = 0;
    std::uint64_t completion_tokens = 0;
};

class answer final : public message_sink {
public:
    answer(const plan& p, totals& t) : plan_{p}, totals_{t} {}

    void begin(std::int64_t due, bool timed) noexcept;
    /// Before each feed: when its bytes were read.
    void bytes_came(std::int64_t now) noexcept { now_ = now; }
    void on_head(const message_head& head) override;
    void on_body(std::string_view piece) override;
    /// The message is complete. Empty: the answer is right; else what is wrong with it.
    std::string finish();
    bool has_begun() const noexcept { return first_body_ != 0; }
    bool wants_close() const noexcept { return close_; }

private:
    void on_stream(std::string_view piece);
    void on_event(std::string_view event);
    bool read_usage(std::string_view text);
    std::string usage_fault() const;

    const plan& plan_;
    totals& totals_;
    std::string text_;  ///< a JSON answer, or an event that is not whole yet
    std::int64_t due_ = 0;
    std::int64_t now_ = 0;
    std::int64_t first_body_ = 0;
    std::int64_t last_event_ = 0;
    std::uint64_t events_ = 0;
    std::int64_t prompt_ = -1;
    std::int64_t completion_ = -1;
    std::int64_t cached_ = 0;
    int status_ = 0;
    bool timed_ = false;
    bool done_ = false;
    bool close_ = false;
};

}  // namespace keyhole::bench
