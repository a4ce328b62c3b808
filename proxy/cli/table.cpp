#include "proxy/cli/table.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace keyhole::proxy::cli {

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
    rows_.push_back(std::move(cells));
}

void table::print() const
{
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < headings_.size(); ++i) {
        auto w = headings_[i].size();
        for (const auto& row : rows_)
            w = std::max(w, row[i].size());
        widths.push_back(w);
    }
    const auto line = [&](const std::vector<std::string>& cells) {
        std::string out;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            const std::string fill(widths[i] - cells[i].size(), ' ');
            if (i != 0) out += "  ";
            out += right_[i] ? fill + cells[i] : cells[i] + fill;
        }
        while (out.ends_with(' '))
            out.pop_back();
        std::printf("%s\n", out.c_str());
    };
    line(headings_);
    for (const auto& row : rows_)
        line(row);
}

void table::print_csv() const
{
    const auto line = [](const std::vector<std::string>& cells) {
        std::string out;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i != 0) out += ',';
            if (cells[i].find_first_of(",\"\r\n") == std::string::npos)
                out += cells[i];
            else {
                out += '"';
                for (const char c : cells[i]) {
                    if (c == '"') out += '"';
                    out += c;
                }
                out += '"';
            }
        }
        std::printf("%s\r\n", out.c_str());
    };
    line(headings_);
    for (const auto& row : rows_)
        line(row);
}

std::string grouped(long long n)
{
    auto digits = std::to_string(n);
    const std::size_t first = digits.starts_with('-') ? 1 : 0;
    for (auto at = digits.size(); at > first + 3; at -= 3)
        digits.insert(at - 3, ",");
    return digits;
}

std::string shown_time(long long us)
{
    if (us == 0) return "-";
    const auto seconds = static_cast<std::time_t>(us / 1'000'000);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

}  // namespace keyhole::proxy::cli
