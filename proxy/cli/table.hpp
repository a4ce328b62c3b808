// Tables for people: columns as wide as their widest cell, numbers to the right.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keyhole::proxy::cli {

class table {
public:
    /// A heading that begins with '>' marks a column of numbers.
    explicit table(std::vector<std::string> headings);
    void add(std::vector<std::string> cells);
    void print() const;
    /// RFC 4180.
    void print_csv() const;

private:
    std::vector<std::string> headings_;
    std::vector<bool> right_;
    std::vector<std::vector<std::string>> rows_;
};

/// 1234567 -> "1,234,567".
std::string grouped(long long n);
/// Microseconds since 1970 -> "2026-11-21 10:00:00"; 0 -> "-".
std::string shown_time(long long us);

}  // namespace keyhole::proxy::cli
