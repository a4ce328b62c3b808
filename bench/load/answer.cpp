#include "bench/load/answer.hpp"

#include <algorithm>
#include <charconv>

namespace keyhole::bench {
namespace {

constexpr std::string_view written_at = "\"system_fingerprint\":\"fp_";
constexpr std::size_t kept_of_errors = 300;

int status_of(std::string_view first_line) noexcept
{
    int status = 0;
    const auto space = first_line.find(' ');
    if (space == std::string_view::npos) return 0;
    std::from_chars(first_line.data() + space + 1, first_line.data() + first_line.size(), status);
    return status;
}

}  // namespace

void answer::begin(std::int64_t due, bool timed) noexcept
{
    text_.clear();
    due_ = due;
    timed_ = timed;
    first_body_ = last_event_ = 0;
    events_ = 0;
    prompt_ = completion_ = -1;
    cached_ = 0;
    status_ = 0;
    done_ = close_ = false;
}

void answer::on_head(const message_head& head)
{
    status_ = status_of(head.first_line);
    close_ = head.close;
}

void answer::on_body(std::string_view piece)
{
    if (first_body_ == 0) {
        first_body_ = now_;
        if (timed_) totals_.first_token.record(now_ - due_);
    }
    totals_.answer_bytes += piece.size();
    if (plan_.stream && status_ == 200)
        on_stream(piece);
    else
        text_.append(piece);
}

void answer::on_stream(std::string_view piece)
{
    while (!piece.empty()) {
        std::size_t end = 0;  // behind the event's blank line
        if (!text_.empty() && text_.back() == '\n' && piece.front() == '\n') {
            end = 1;
        } else {
            const auto at = piece.find("\n\n");
            if (at == std::string_view::npos) {
                text_.append(piece);
                return;
            }
            end = at + 2;
        }
        if (text_.empty()) {
            on_event(piece.substr(0, end));
        } else {
            on_event(text_.append(piece.substr(0, end)));
            text_.clear();
        }
        piece.remove_prefix(end);
    }
}

void answer::on_event(std::string_view event)
{
    if (timed_ && last_event_ != 0) totals_.gap.record(now_ - last_event_);
    last_event_ = now_;
    // Only what can stand behind the content is looked into, so that checking costs little.
    if (plan_.events == 0 || events_ >= plan_.events) {
        if (event.starts_with("data: [DONE]")) {
            done_ = true;
            return;
        }
        if (read_usage(event)) return;
    }
    ++events_;
    if (!timed_) return;
    const auto written = number_after(event, written_at);
    if (written > 0) totals_.delay.record(now_ - written);
}

bool answer::read_usage(std::string_view text)
{
    prompt_ = number_after(text, "\"prompt_tokens\":");
    completion_ = number_after(text, "\"completion_tokens\":");
    cached_ = std::max<std::int64_t>(number_after(text, "\"cached_tokens\":"), 0);
    return prompt_ >= 0 && completion_ >= 0;
}

std::string answer::usage_fault() const
{
    if (prompt_ < 0 || completion_ < 100) return "the answer has no usage";
    if (!plan_.foreign_body && static_cast<std::uint64_t>(prompt_) != plan_.body_bytes)
        return "the provider got " + std::to_string(prompt_) + " bytes of a body of " +
               std::to_string(plan_.body_bytes);
    return {};
}

std::string answer::finish()
{
    if (status_ != plan_.status)
        return "status " + std::to_string(status_) + ": " +
               text_.substr(0, std::min(text_.size(), kept_of_errors));
    if (status_ == 200) {
        if (plan_.stream && !done_) return "the stream ended without [DONE]";
        if (plan_.stream && plan_.events != 0 && events_ != plan_.events)
            return "the stream had " + std::to_string(events_) + " events";
        if (!plan_.stream) read_usage(text_);
        if (auto fault = usage_fault(); !fault.empty()) return fault;
        totals_.prompt_tokens += static_cast<std::uint64_t>(prompt_);
        totals_.cached_tokens += static_cast<std::uint64_t>(cached_);
        totals_.completion_tokens += static_cast<std::uint64_t>(completion_);
    }
    ++totals_.requests;
    totals_.events += events_;
    if (timed_) totals_.latency.record(now_ - due_);
    return {};
}

}  // namespace keyhole::bench
