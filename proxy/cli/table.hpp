// Tables for people, CSV for programs, and how numbers and times look in them. Plain functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::proxy::cli {

/// Columns as wide as their widest cell, numbers to the right. Cells may come from agents (a model's name):
/// control characters are shown as '?', so that none reaches the terminal.
class table {
public:
    /// A heading that begins with '>' marks a column of numbers.
    explicit table(std::vector<std::string> headings);
    void add(std::vector<std::string> cells);
    /// Set apart by a line, as sums are.
    void add_total(std::vector<std::string> cells);
    bool empty() const noexcept { return rows_.empty(); }

    std::string text() const;
    /// RFC 4180.
    std::string csv() const;

private:
    std::vector<std::string> headings_;
    std::vector<bool> right_;
    std::vector<std::vector<std::string>> rows_;
    std::vector<std::string> total_;
};

/// 1234567 -> "1,234,567".
std::string grouped(std::int64_t n);
/// Microseconds since 1970 -> "2026-11-21 10:00:00" (UTC); 0 -> "-".
std::string shown_time(std::int64_t us);
/// How wide it stands on a terminal that knows UTF-8.
std::size_t width_of(std::string_view text) noexcept;

}  // namespace keyhole::proxy::cli
