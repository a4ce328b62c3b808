#include "proxy/relay/silence_watch.hpp"

namespace keyhole::proxy {
namespace {

bool ends_line(char c) noexcept
{
    return c == '\n' || c == '\r';
}

/// What is there so far of a line that names a ping.
bool may_be_ping(std::string_view line) noexcept
{
    constexpr std::string_view spaced = "event: ping";
    constexpr std::string_view tight = "event:ping";
    return spaced.starts_with(line) || tight.starts_with(line);
}

}  // namespace

bool silence_watch::broken_by(std::string_view bytes) noexcept
{
    if (form_ == form::any) return !bytes.empty();
    if (form_ == form::text) return bytes.find_first_not_of(" \t\r\n") != std::string_view::npos;
    for (const char c : bytes)
        if (broken_by(c)) return true;
    return false;
}

bool silence_watch::broken_by(char c) noexcept
{
    const bool rest_of_line_end = after_cr_ && c == '\n';
    after_cr_ = c == '\r';
    if (rest_of_line_end) return false;
    if (ends_line(c)) {
        const std::string_view line{line_.data(), size_};
        if (!skips_ && size_ != 0 && !line.ends_with("ping")) return true;
        ping_ = size_ != 0 || (ping_ && skips_);
        skips_ = false;
        size_ = 0;
        return false;
    }
    if (skips_) return false;
    if (size_ == 0 && (c == ':' || ping_)) {
        skips_ = true;
        return false;
    }
    line_[size_++] = c;
    return size_ == line_.size() || !may_be_ping({line_.data(), size_});
}

}  // namespace keyhole::proxy
