#include "proxy/cli/table.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

namespace keyhole::proxy::cli {
namespace {

/// C0, DEL and, in UTF-8, C1 (0xC2 0x80 … 0x9F): what a terminal would act on.
std::string printable(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
        if (byte < 0x20 || byte == 0x7f)
            out += '?';
        else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
            out += '?';
            ++i;
        } else
            out += text[i];
    }
    return out;
}

}  // namespace

table::table(std::vector<std::string> headings) : headings_(std::move(headings))
{
    for (auto& h : headings_) {
        right_.push_back(h.starts_with('>'));
        if (right_.back()) h.erase(0, 1);
    }
}

void table::add(std::vector<std::string> cells)
{
    cells.resize(headings_.size());
    std::ranges::transform(cells, cells.begin(), printable);
    rows_.push_back(std::move(cells));
}

void table::add_total(std::vector<std::string> cells)
{
    cells.resize(headings_.size());
    total_ = std::move(cells);
}

std::string table::text() const
{
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < headings_.size(); ++i) {
        std::size_t w = std::max(width_of(headings_[i]), total_.empty() ? 0 : width_of(total_[i]));
        for (const auto& row : rows_) {
            w = std::max(w, width_of(row[i]));
        }
        widths.push_back(w);
    }
    std::string out;
    const auto line = [&](const std::vector<std::string>& cells) {
        std::string text;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            const std::string fill(widths[i] - width_of(cells[i]), ' ');
            if (i != 0) text += "  ";
            text += right_[i] ? fill + cells[i] : cells[i] + fill;
        }
        text.erase(text.find_last_not_of(' ') + 1);
        out += text + '\n';
    };
    line(headings_);
    for (const auto& row : rows_) {
        line(row);
    }
    if (!total_.empty()) {
        std::vector<std::string> rules;
        rules.reserve(widths.size());
        for (const std::size_t w : widths) {
            rules.emplace_back(w, '-');
        }
        line(rules);
        line(total_);
    }
    return out;
}

std::string table::csv() const
{
    std::string out;
    const auto line = [&](const std::vector<std::string>& cells) {
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i != 0) out += ',';
            if (cells[i].find_first_of(",\"\r\n") == std::string::npos) {
                out += cells[i];
                continue;
            }
            out += '"';
            for (const char c : cells[i]) {
                if (c == '"') out += '"';
                out += c;
            }
            out += '"';
        }
        out += "\r\n";
    };
    line(headings_);
    for (const auto& row : rows_) {
        line(row);
    }
    return out;
}

std::string grouped(std::int64_t n)
{
    std::string digits = std::to_string(n);
    const std::size_t first = digits.starts_with('-') ? 1 : 0;
    for (std::size_t at = digits.size(); at > first + 3; at -= 3) {
        digits.insert(at - 3, ",");
    }
    return digits;
}

std::string shown_time(std::int64_t us)
{
    if (us == 0) return "-";
    const std::time_t seconds = us / 1'000'000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

std::size_t width_of(std::string_view text) noexcept
{
    const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
    return static_cast<std::size_t>(std::ranges::count_if(text, begins));
}

}  // namespace keyhole::proxy::cli
