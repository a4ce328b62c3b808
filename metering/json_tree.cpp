#include "metering/json_tree.hpp"

#include <nlohmann/json.hpp>

#include <stdexcept>

namespace keyhole::metering {

namespace {

constexpr std::size_t deepest = 64;

/// The line of the byte that was read last. A line feed belongs to the line that it ends: the parser has to
/// read it to know that a number is over.
struct line_count {
    int line = 1;
    bool after_feed = false;

    void read(char c)
    {
        if (after_feed) ++line;
        after_feed = c == '\n';
    }
};

/// Reads bytes for the parser and counts lines as they go by.
class counting_iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    counting_iterator(const char* at, line_count& lines) : at_(at), lines_(&lines) {}
    reference operator*() const { return *at_; }
    counting_iterator& operator++()
    {
        lines_->read(*at_);
        ++at_;
        return *this;
    }
    bool operator==(const counting_iterator& other) const { return at_ == other.at_; }

private:
    const char* at_;
    line_count* lines_;
};

/// nlohmann's event interface; its number_float event is the one place that still has the number's text.
class builder {
public:
    using json = nlohmann::json;

    builder(json_tree& root, const line_count& lines, const std::string& name)
        : root_(root), lines_(lines), name_(name)
    {
    }

    bool null() { return add(json_tree::kind::null, {}); }
    bool boolean(bool value) { return add(json_tree::kind::boolean, value ? "true" : "false"); }
    bool number_integer(json::number_integer_t value)
    {
        return add(json_tree::kind::number, std::to_string(value));
    }
    bool number_unsigned(json::number_unsigned_t value)
    {
        return add(json_tree::kind::number, std::to_string(value));
    }
    bool number_float(json::number_float_t, const std::string& text)
    {
        return add(json_tree::kind::number, text);
    }
    bool string(std::string& value) { return add(json_tree::kind::text, std::move(value)); }
    bool binary(json::binary_t&) { return false; }
    bool start_object(std::size_t) { return open(json_tree::kind::object); }
    bool start_array(std::size_t) { return open(json_tree::kind::array); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }
    bool key(std::string& name)
    {
        key_ = std::move(name);
        return true;
    }
    bool parse_error(std::size_t, const std::string& token, const json::exception&)
    {
        throw std::runtime_error(name_ + ":" + std::to_string(lines_.line) + ": not JSON at \"" +
                                 token.substr(0, 40) + "\"");
    }

private:
    json_tree& place()
    {
        if (stack_.empty()) return root_;
        json_tree& parent = *stack_.back();
        parent.members.push_back({std::move(key_), {}});
        return parent.members.back().value;
    }
    bool add(json_tree::kind what, std::string text)
    {
        json_tree& value = place();
        value.what = what;
        value.line = lines_.line;
        value.text = std::move(text);
        key_.clear();
        return true;
    }
    bool open(json_tree::kind what)
    {
        if (stack_.size() >= deepest) {
            throw std::runtime_error(name_ + ":" + std::to_string(lines_.line) + ": nested too deeply");
        }
        json_tree& value = place();
        value.what = what;
        value.line = lines_.line;
        key_.clear();
        stack_.push_back(&value);  // stays where it is: its parent gets no member while it is open
        return true;
    }
    bool close()
    {
        stack_.pop_back();
        return true;
    }

    json_tree& root_;
    const line_count& lines_;
    const std::string& name_;
    std::string key_;
    std::vector<json_tree*> stack_;
};

}  // namespace

const json_tree* json_tree::find(std::string_view name) const noexcept
{
    if (what != kind::object) return nullptr;
    for (const auto& [key, value] : members) {
        if (key == name) return &value;
    }
    return nullptr;
}

json_tree parse_json(std::string_view text, const std::string& name)
{
    json_tree root;
    line_count lines;
    builder events(root, lines, name);
    const char* begin = text.data();
    nlohmann::json::sax_parse(counting_iterator(begin, lines), counting_iterator(begin + text.size(), lines),
                              &events);
    return root;
}

}  // namespace keyhole::metering
