#include "metering/path_tree.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

/// Tells most keys apart by four loads; equal marks are compared in full.
std::uint32_t mark_of(std::string_view key) noexcept
{
    if (key.empty()) return 0;
    const auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<unsigned char>(key[i])}; };
    return static_cast<std::uint32_t>(key.size() & 0xff) | byte(0) << 8 | byte(key.size() / 2) << 16 |
           byte(key.size() - 1) << 24;
}

std::uint64_t bit_of(std::uint32_t mark) noexcept
{
    return std::uint64_t{1} << ((mark * 0x9E3779B1U) >> 26U);
}

}  // namespace

const path_tree::node* path_tree::node::member(std::string_view key) const noexcept
{
    const std::uint32_t mark = mark_of(key);
    if ((known & bit_of(mark)) == 0) return nullptr;
    for (std::size_t i = 0; i < marks.size(); ++i) {
        if (marks[i] == mark && members[i].first == key) return members[i].second.get();
    }
    return nullptr;
}

path_tree::node& path_tree::node::make_member(std::string_view key)
{
    for (auto& [name, child] : members) {
        if (name == key) return *child;
    }
    marks.push_back(mark_of(key));
    known |= bit_of(marks.back());
    members.emplace_back(std::string{key}, std::make_unique<node>());
    return *members.back().second;
}

path_tree::path_tree() : root_{std::make_unique<node>()} {}
path_tree::~path_tree() = default;
path_tree::path_tree(path_tree&&) noexcept = default;
path_tree& path_tree::operator=(path_tree&&) noexcept = default;

path_id path_tree::add(std::string_view path, interest what)
{
    node* at = root_.get();
    while (!path.empty()) {
        if (path.starts_with("[]")) {
            if (!at->element) at->element = std::make_unique<node>();
            at = at->element.get();
            path.remove_prefix(2);
        } else {
            if (path.front() == '.') path.remove_prefix(1);
            const std::size_t n = std::min(path.find_first_of(".["), path.size());
            at = &at->make_member(path.substr(0, n));
            path.remove_prefix(n);
        }
    }
    at->interests |= bit(what);
    if (at->id == no_path) {
        at->id = static_cast<path_id>(declared_.size());
        declared_.push_back(at);
        steadiness_.push_back(steadiness::none);
    }
    return at->id;
}

}  // namespace keyhole::metering
