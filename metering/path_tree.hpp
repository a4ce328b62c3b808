// The declared paths that a reader of JSON reports ("choices[].delta.content"), as a tree that is walked key
// by key. Thread rule: immutable once built and shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace keyhole::metering {

/// A declared path's number, as path_tree::add gives it.
using path_id = std::uint16_t;
inline constexpr path_id no_path = 0xffff;

/// What a reader reports of a path.
enum class interest : std::uint8_t {
    scalar = 1,   ///< strings (cut at json_reader::max_text), numbers, true, false, null
    measure = 2,  ///< only how long a string is
    pieces = 4,   ///< a string's decoded bytes as they come
    object = 8,   ///< begin and end of an object or array
};

/// Whether a value says anything where the document before had the same.
enum class steadiness : std::uint8_t {
    none,          ///< it does
    first_counts,  ///< the first one that was not empty stands
    last_counts,   ///< the last one stands, whichever of these paths it was at
};

/// The declared paths, e.g. "choices[].delta.content". "" is the document itself.
class path_tree {
public:
    path_tree();
    ~path_tree();
    path_tree(path_tree&&) noexcept;
    path_tree& operator=(path_tree&&) noexcept;

    /// Adding a path again adds to its interests and gives the same number.
    path_id add(std::string_view path, interest what);
    std::size_t size() const noexcept { return declared_.size(); }

    /// Declares what of a scalar that every document repeats counts.
    void mark(path_id id, steadiness what) { steadiness_[id] = what; }
    steadiness steady(path_id id) const noexcept { return steadiness_[id]; }

    struct node;
    const node* root() const noexcept { return root_.get(); }
    const node* at(path_id id) const noexcept { return declared_[id]; }

private:
    std::unique_ptr<node> root_;
    std::vector<const node*> declared_;   ///< by path_id
    std::vector<steadiness> steadiness_;  ///< by path_id
};

constexpr std::uint8_t bit(interest what) noexcept
{
    return static_cast<std::uint8_t>(what);
}

struct path_tree::node {
    path_id id = no_path;
    std::uint8_t interests = 0;
    std::vector<std::uint32_t> marks;  ///< of the members' keys
    std::uint64_t known = 0;           ///< a bit for each mark: most keys of an answer are nobody's
    std::vector<std::pair<std::string, std::unique_ptr<node>>> members;
    std::unique_ptr<node> element;

    /// nullptr: nobody declared it.
    const node* member(std::string_view key) const noexcept;
    node& make_member(std::string_view key);
};

}  // namespace keyhole::metering
