#include "metering/sse.hpp"

#include "metering/byte_scan.hpp"

#include <algorithm>
#include <cstring>

namespace keyhole::metering {

void sse_splitter::feed(std::string_view bytes)
{
    while (!bytes.empty())
        bytes.remove_prefix(feed_event(bytes));
}

std::size_t sse_splitter::feed_event(std::string_view bytes)
{
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    while (bom_ < 3 && p != end) {
        constexpr std::string_view bom = "\xEF\xBB\xBF";
        if (*p != bom[bom_]) {
            bom_ = 3;
            break;
        }
        ++p;
        ++bom_;
    }
    bool event_ended = false;
    while (p != end && !event_ended) {
        p = take_lf(p, end);
        if (p == end) break;
        if (part_ == part::name) p = read_name(p, end, event_ended);
        if (part_ == part::after_colon && p != end) {
            if (*p == ' ') ++p;
            part_ = part::value;
        }
        if (part_ != part::value) continue;
        const char* const q = find_either<'\n', '\r'>(p, end);
        if (q != p) value_piece({p, static_cast<std::size_t>(q - p)});
        p = q;
        if (p != end) {
            skip_lf_ = *p++ == '\r';
            end_line();
        }
    }
    if (event_ended && p != end) p = take_lf(p, end);
    return static_cast<std::size_t>(p - bytes.data());
}

/// The LF of a CRLF belongs to the line before it.
const char* sse_splitter::take_lf(const char* p, const char* end) noexcept
{
    if (!skip_lf_ || p == end) return p;
    skip_lf_ = false;
    return *p == '\n' ? p + 1 : p;
}

const char* sse_splitter::read_name(const char* p, const char* end, bool& event_ended)
{
    if (name_size_ == 0 && end - p > 5 && std::memcmp(p, "data:", 5) == 0) {
        end_name("data");
        return p + 5;
    }
    while (p != end) {
        const char c = *p++;
        if (c == ':') {
            end_name({name_.data(), name_size_});
            return p;
        }
        if (c == '\n' || c == '\r') {
            skip_lf_ = c == '\r';
            if (name_size_ != 0) {
                const std::string_view name{name_.data(), name_size_};
                end_name(name == "error" ? std::string_view{} : name);  // only "error:" counts
            }
            event_ended = end_line();
            return p;
        }
        // A name that fills the array is none that we know.
        if (name_size_ < name_.size()) name_[name_size_++] = c;
    }
    return p;
}

void sse_splitter::end_name(std::string_view name)
{
    part_ = part::after_colon;
    if (name == "data") {
        field_ = field::data;
        if (has_data_) sink_.on_event_data("\n");
        has_data_ = true;
        return;
    }
    field_ = field::other;
    if (name == "event") {
        field_ = field::event;
        event_size_ = 0;
    } else if (name == "error") {
        sink_.on_error_line();
    }
    name_size_ = 1;  // the line is not empty
}

void sse_splitter::value_piece(std::string_view piece)
{
    if (field_ == field::data) {
        sink_.on_event_data(piece);
    } else if (field_ == field::event) {
        const std::size_t n = std::min(piece.size(), event_.size() - event_size_);
        std::memcpy(event_.data() + event_size_, piece.data(), n);
        event_size_ = static_cast<std::uint8_t>(event_size_ + n);
    }
}

/// True: the line was blank, which ends the event.
bool sse_splitter::end_line()
{
    const bool blank = part_ == part::name && name_size_ == 0;
    part_ = part::name;
    name_size_ = 0;
    if (!blank) return false;
    if (has_data_) sink_.on_event_end({event_.data(), event_size_});
    has_data_ = false;
    event_size_ = 0;
    return true;
}

void sse_splitter::finish()
{
    if (has_data_) sink_.on_event_end({event_.data(), event_size_});
    has_data_ = false;
    event_size_ = 0;
    name_size_ = 0;
    part_ = part::name;
}

}  // namespace keyhole::metering
