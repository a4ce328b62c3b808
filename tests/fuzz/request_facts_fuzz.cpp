// links: keyhole_wires
// What scan_request says against a reader that builds the whole tree: it accepts no more, and its edit asks
// for usage. Media stand within the body, each byte of it in one.
#include "metering/estimate.hpp"
#include "metering/request_facts.hpp"
#include "metering/request_media.hpp"

#include <nlohmann/json.hpp>

#include <cstdlib>

using namespace keyhole::metering;

namespace {

void require(bool condition)
{
    if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string body(data, data + size);
    const request_facts facts = scan_request(body);
    require(facts.text_bytes <= size && facts.model.size() <= 256 && facts.service_tier.size() <= 32);
    require(estimate_input_tokens(facts) >= 0);
    require(estimate_input(wire::anthropic_messages, body) >= 0);
    for (auto w = wire::none; w <= last_wire; w = static_cast<wire>(static_cast<int>(w) + 1)) {
        std::size_t inside = 0;
        each_media(w, {}, body, [&](const media_part& part) {
            require(part.begin + part.size <= size && part.tokens.most >= 0 && part.tokens.likely >= 0);
            inside += part.size;
        });
        require(inside <= size);
        require(most_input_tokens(facts, media_sum_of(w, {}, body)) >= 0);
    }
    const auto edit = include_usage_edit(facts);

    const auto tree = nlohmann::json::parse(body, nullptr, false);
    if (tree.is_object()) require(facts.is_object);
    // The tree refuses what is no UTF-8 or a lone surrogate; the scan leaves both to the provider.
    if (tree.is_discarded()) return 0;
    if (!facts.complete || !facts.ambiguous_member.empty()) return 0;
    const auto model = tree.find("model");
    require(facts.model == (model != tree.end() && model->is_string() ? model->get<std::string>() : ""));
    const auto stream = tree.find("stream");
    require(facts.stream == (stream != tree.end() && *stream == true));
    if (!edit) return 0;

    std::string edited = body;
    edited.replace(edit->begin, edit->end - edit->begin, edit->insert);
    auto after = nlohmann::json::parse(edited);
    require(after["stream_options"]["include_usage"] == true);
    require(!include_usage_edit(scan_request(edited)));
    return 0;
}
