#include "config/node.hpp"

#include <algorithm>
#include <array>

namespace keyhole::config {
namespace {

/// Edits (insert, delete, replace, swap neighbours) that make one of the other.
std::size_t distance(std::string_view a, std::string_view b)
{
    std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) {
        for (std::size_t j = 0; j <= b.size(); ++j) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
            d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
            }
        }
    }
    return d[a.size()][b.size()];
}

}  // namespace

std::string upper(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        out.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : (c == '-' ? '_' : c));
    }
    return out;
}

const node* node::find(std::string_view name) const noexcept
{
    const auto found =
        std::find_if(members.begin(), members.end(), [&](const auto& m) { return m.name == name; });
    return found == members.end() ? nullptr : &found->value;
}

node* node::find(std::string_view name) noexcept
{
    return const_cast<node*>(std::as_const(*this).find(name));
}

void node::erase(std::string_view name)
{
    std::erase_if(members, [&](const auto& m) { return m.name == name; });
}

std::string_view other_name(std::string_view key) noexcept
{
    constexpr std::array<std::pair<std::string_view, std::string_view>, 2> pairs{
        {{"socket", "sockets"}, {"key", "keys"}}};
    for (const auto& [one, many] : pairs) {
        if (key == one) return many;
        if (key == many) return one;
    }
    return {};
}

bool overlay(node& root, const std::vector<std::string>& path, node value)
{
    node* at = &root;
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        node* next = at->find(path[i]);
        if (next == nullptr) {
            node section;
            section.where = value.where;
            section.from = value.from;
            at->members.push_back({path[i], std::move(section)});
            next = &at->members.back().value;
        }
        if (next->what != node::type::table) return false;
        at = next;
    }
    const std::string& name = path.back();
    const node* other = at->find(other_name(name));
    if (other != nullptr && other->from < value.from) at->erase(other_name(name));
    at->erase(name);
    at->members.push_back({name, std::move(value)});
    return true;
}

std::string_view closest(std::string_view name, const std::vector<std::string_view>& candidates)
{
    constexpr std::size_t longest = 64;
    if (name.size() > longest) return {};
    std::string_view best;
    std::size_t least = std::max<std::size_t>(1, name.size() / 3) + 1;
    for (const std::string_view candidate : candidates) {
        const std::size_t d = distance(name, candidate);
        if (d < least) {
            least = d;
            best = candidate;
        }
    }
    return best;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates,
                         std::string otherwise)
{
    const std::string_view best = closest(name, candidates);
    if (!best.empty()) return "did you mean " + std::string(best) + "?";
    // "timeout" may be any of three.
    constexpr std::size_t shortest = 3;
    std::string alike;
    for (const std::string_view candidate : candidates) {
        if (name.size() >= shortest && candidate.find(name) != std::string_view::npos)
            alike += (alike.empty() ? "" : ", ") + std::string(candidate);
    }
    return alike.empty() ? std::move(otherwise) : "did you mean one of " + alike + "?";
}

}  // namespace keyhole::config
