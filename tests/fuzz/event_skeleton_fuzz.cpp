// Any bytes that pass for an event of a form which other bytes taught: the same reports as of a reader, and
// an event of the same size to the splitter. The input's parts (between zero bytes): two events that teach,
// then what is matched; each is also matched itself.

// links: keyhole_wires
#include "metering/answer_facts.hpp"
#include "metering/event_skeleton.hpp"
#include "metering/sse.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

namespace {

using namespace keyhole::metering;

void require(bool condition)
{
    if (!condition) std::abort();
}

class listener final : public json_sink {
public:
    void on_begin(path_id id) override { say('b', id); }
    void on_end(path_id id) override { say('e', id); }
    void on_document_end(bool element) override { say('d', element); }
    void on_value_end() override { say('v', 0); }
    void on_piece(path_id id, std::string_view piece) override
    {
        if (pieces_.empty()) say('p', id);
        pieces_ += piece;
    }
    void on_scalar(path_id id, const json_scalar& v) override
    {
        heard += std::exchange(pieces_, {});
        say('s', id);
        heard += std::to_string(static_cast<int>(v.kind)) + ' ' + std::to_string(v.length) +
                 (v.truth ? " true " : " ") + std::string{v.text};
    }
    std::string heard;

private:
    void say(char what, unsigned id) { heard += '\n' + std::string(1, what) + std::to_string(id); }
    std::string pieces_;
};

struct full_reader final : sse_sink {
    explicit full_reader(const path_tree& tree) : reader{tree, ear} {}
    void on_event_data(std::string_view piece) override { reader.feed(piece); }
    void on_event_end(std::string_view name) override
    {
        reader.finish();
        ended = reader.idle() && name != "error";
    }
    void on_error_line() override { std::abort(); }
    listener ear;
    json_reader reader;
    bool ended = false;
};

void compare(const event_skeleton& form, const std::string& bytes, const path_tree& tree)
{
    event_skeleton::values open;
    const std::size_t size = form.match(bytes, open);
    if (size == 0) return;
    listener ear;
    json_reader reader{tree, ear};
    form.report(open, reader, ear);
    full_reader full{tree};
    sse_splitter splitter{full};
    require(splitter.feed_event(bytes) == size && full.ended && splitter.between_events());
    require(full.ear.heard == ear.heard && reader.idle());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 1) return 0;
    const auto format = static_cast<wire>(data[0] % (static_cast<unsigned>(wire::watsonx) + 1));
    const path_tree& tree = compiled(format).tree;
    std::string rest{data + 1, data + size};
    std::string parts[3];
    for (auto& part : parts) {
        const std::size_t n = std::min(rest.find('\0'), rest.size());
        part = rest.substr(0, n);
        rest.erase(0, n + 1);
    }
    auto form = event_skeleton::of_event(parts[0], tree);
    if (!form) return 0;
    {
        event_skeleton::values open;
        require(form->match(parts[0], open) == parts[0].size());
    }
    for (const auto& part : parts)
        compare(*form, part, tree);
    const auto more = event_skeleton::of_event(parts[1], tree);
    if (!more || !form->widen(*more)) return 0;
    {
        event_skeleton::values open;
        require(form->match(parts[0], open) != 0 && form->match(parts[1], open) != 0);
    }
    for (const auto& part : parts)
        compare(*form, part, tree);
    return 0;
}
