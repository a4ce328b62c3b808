#include "corpus.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <ostream>
#include <random>
#include <stdexcept>

namespace keyhole::metering::corpus {

namespace {

using nlohmann::json;

struct api_wire {
    std::string_view api;
    std::string_view provider;  ///< empty: any
    wire format;
};

constexpr api_wire api_wires[] = {
    {"chat", "", wire::openai_chat},
    {"completions", "", wire::openai_completions},
    {"embeddings", "", wire::openai_embeddings},
    {"rerank", "cohere", wire::cohere},
    {"rerank", "", wire::openai_embeddings},
    {"responses", "", wire::openai_responses},
    {"responses-retrieve", "", wire::openai_responses},
    {"responses-compact", "", wire::openai_responses},
    {"images", "", wire::openai_images},
    {"image-edits", "", wire::openai_images},
    {"images-edits", "", wire::openai_images},
    {"image-variations", "", wire::openai_images},
    {"images-variations", "", wire::openai_images},
    {"fim", "", wire::openai_chat},
    {"audio-transcriptions", "", wire::openai_audio},
    {"audio-translations", "", wire::openai_audio},
    {"audio-speech", "", wire::openai_audio},
    {"moderations", "", wire::openai_moderations},
    {"assistants-runs", "", wire::openai_assistants},
    {"messages", "", wire::anthropic_messages},
    {"complete", "", wire::anthropic_messages},
    {"generate-content", "", wire::gemini},
    {"stream-generate-content", "", wire::gemini},
    {"embed", "cohere", wire::cohere},
    {"embed", "", wire::gemini_embed},
    {"batch-embed-contents", "", wire::gemini_embed},
    {"predict", "", wire::gemini_embed},
    {"interactions", "", wire::gemini_interactions},
    {"converse", "", wire::bedrock_converse},
    {"converse-stream", "", wire::bedrock_converse},
    {"invoke", "", wire::bedrock_invoke},
    {"invoke-stream", "", wire::bedrock_invoke},
    {"chat-v1", "", wire::cohere},
    {"chat-v2", "", wire::cohere},
    {"generate", "", wire::cohere},
    {"chat-native", "", wire::ollama},
    {"generate-native", "", wire::ollama},
    {"embed-native", "", wire::ollama},
    {"embeddings-native", "", wire::ollama},
    {"text-generation", "", wire::watsonx},
};

std::string read_file(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    if (!in) throw std::runtime_error{path.string() + ": can't be read"};
    return {std::istreambuf_iterator<char>{in}, {}};
}

std::string text_or(const json& object, const char* key)
{
    const auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string{};
}

std::int64_t number_or(const json& object, const char* key, std::int64_t otherwise)
{
    const auto it = object.find(key);
    return it != object.end() && it->is_number() ? it->get<std::int64_t>() : otherwise;
}

std::optional<std::int64_t> count_header(const json& headers, const char* name)
{
    const std::string text = text_or(headers, name);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

expected_usage load_expected(const json& e)
{
    expected_usage u;
    const auto present = e.find("usage_present");
    if (present == e.end() || !present->is_boolean())
        throw std::runtime_error{"expected.json: usage_present is neither true nor false"};
    u.present = present->get<bool>();
    u.input = number_or(e, "input_tokens", 0);
    u.output = number_or(e, "output_tokens", 0);
    u.cache_read = number_or(e, "cache_read_tokens", 0);
    u.cache_write = number_or(e, "cache_write_tokens", 0);
    u.reasoning = number_or(e, "reasoning_tokens", 0);
    u.provider_total = number_or(e, "provider_total_tokens", -1);
    if (const auto it = e.find("stream_complete"); it != e.end() && it->is_boolean())
        u.complete = it->get<bool>();
    u.error = e.contains("error") && e["error"].is_object();
    u.model = text_or(e, "model");
    u.ambiguous = e.contains("ambiguous") && !e["ambiguous"].empty();
    // A number that is no integer would be compared as something else.
    for (const auto* name : {"input_tokens", "output_tokens"}) {
        if (u.present && (!e.contains(name) || !e[name].is_number_integer()))
            throw std::runtime_error{std::string{"expected.json: "} + name + " is no integer"};
    }
    if (const auto it = e.find("iterations_total"); it != e.end() && it->is_object() && it->contains("all")) {
        u.iterations_input = number_or((*it)["all"], "input_tokens", -1);
        u.iterations_output = number_or((*it)["all"], "output_tokens", -1);
    }
    return u;
}

}  // namespace

wire wire_of(std::string_view api, std::string_view provider)
{
    for (const api_wire& a : api_wires) {
        if (a.api == api && (a.provider.empty() || a.provider == provider)) return a.format;
    }
    return wire::none;
}

test_case load_case(const std::filesystem::path& directory)
{
    const json meta = json::parse(read_file(directory / "meta.json"));
    if (!meta.is_object()) throw std::runtime_error{"meta.json: no object"};
    test_case c;
    c.name = directory.filename().string();
    c.api = text_or(meta, "api");
    c.provider = text_or(meta, "provider");
    c.request_model = text_or(meta, "request_model");
    c.request_path = text_or(meta, "request_path");
    c.streaming = meta.contains("streaming") && meta["streaming"] == true;
    if (std::filesystem::exists(directory / "request.json"))
        c.request = read_file(directory / "request.json");
    c.format = wire_of(c.api, c.provider);
    c.status = static_cast<int>(number_or(meta, "status", 200));
    if (c.status < 200 || c.status > 599)
        throw std::runtime_error{"meta.json: an answer can't have the status " + std::to_string(c.status)};
    c.content_type = text_or(meta, "content_type");
    if (std::ranges::any_of(c.content_type, [](char ch) { return ch == '\x7f' || (ch >= 0 && ch < ' '); }))
        throw std::runtime_error{"meta.json: content_type holds a control character"};
    c.body = read_file(directory / "response.body");
    c.encoding = text_or(meta, "wire_encoding");
    if (std::filesystem::exists(directory / "response.wire"))
        c.compressed = read_file(directory / "response.wire");
    if (const auto it = meta.find("chunk_sizes"); it != meta.end() && it->is_array()) {
        c.chunk_sizes = it->get<std::vector<std::size_t>>();
    }
    if (const auto it = meta.find("response_headers"); it != meta.end() && it->is_object()) {
        c.counts = {.input = count_header(*it, "x-amzn-bedrock-input-token-count"),
                    .output = count_header(*it, "x-amzn-bedrock-output-token-count"),
                    .cache_read = count_header(*it, "x-amzn-bedrock-cache-read-input-token-count"),
                    .cache_write = count_header(*it, "x-amzn-bedrock-cache-write-input-token-count")};
        c.error_type = text_or(*it, "x-amzn-errortype");
    }
    c.expected = load_expected(json::parse(read_file(directory / "expected.json")));
    return c;
}

reading run_case(const test_case& c, const std::vector<std::size_t>& sizes, bool compressed)
{
    meter m{c.format,
            {.status = c.status,
             .content_type = c.content_type,
             .content_encoding = compressed ? std::string_view{c.encoding} : std::string_view{},
             .counts = c.counts,
             .error_type = c.error_type}};
    const std::string_view body = compressed ? c.compressed : c.body;
    std::size_t at = 0;
    for (std::size_t i = 0; at < body.size(); ++i) {
        const std::size_t wanted =
            sizes.empty() ? body.size() : std::max<std::size_t>(sizes[std::min(i, sizes.size() - 1)], 1);
        // A copy of exactly that size, so that a sanitizer sees a read beyond it.
        const std::string piece{body.substr(at, wanted)};
        m.feed(piece);
        at += piece.size();
    }
    return m.finish(true);
}

std::string differences(const test_case& c, const reading& r, const options& o)
{
    const expected_usage& e = c.expected;
    std::string text;
    const auto differ = [&](std::string_view what, std::int64_t got, std::int64_t wanted) {
        if (got == wanted) return;
        text += ' ';
        text += what;
        text += '=' + std::to_string(got) + " (expected " + std::to_string(wanted) + ')';
    };
    const token_counts& n = r.counts;
    differ("present", r.source != usage_source::none ? 1 : 0, e.present ? 1 : 0);
    differ("input", n.all_input(), e.input);
    differ("output", n.all_output(), e.output);
    // Where a provider's subset is larger than its set, disjoint buckets can show no more than the set.
    const auto within = [](std::int64_t part, std::int64_t whole) {
        return std::min(part, std::max<std::int64_t>(whole, 0));
    };
    differ("cache_read", n.cache_read, within(e.cache_read, e.input));
    differ("cache_write", n.cache_write_5m + n.cache_write_1h, e.cache_write);
    differ("reasoning", n.output_reasoning, within(e.reasoning, e.output));
    if (e.present) differ("provider_total", r.provider_total.value_or(-1), e.provider_total);
    const bool ends_known = c.format != wire::watsonx && (e.present || c.format != wire::bedrock_invoke);
    if (e.complete >= 0 && !e.error && ends_known) differ("terminal", r.terminal ? 1 : 0, e.complete);
    if (c.status < 400) differ("error", r.error_event ? 1 : 0, e.error ? 1 : 0);
    if (e.iterations_input >= 0) {
        differ("input with iterations", n.all_input() + r.beyond.all_input(), e.iterations_input);
        differ("output with iterations", n.all_output() + r.beyond.all_output(), e.iterations_output);
    }
    for (const std::int64_t bucket :
         {n.input, n.output, n.cache_read, n.cache_write_5m, n.cache_write_1h, n.input_audio, n.input_image,
          n.output_audio, n.output_image, n.output_reasoning})
    {
        if (bucket < 0) text += " a bucket is negative";
    }
    // Bedrock's is expected as requested, in the path.
    const bool named = !r.model.empty() && !e.model.empty() && c.format != wire::bedrock_invoke;
    if (o.models && c.status < 400 && named && r.model != e.model) {
        text += " model=" + r.model + " (expected " + e.model + ')';
    }
    return text;
}

std::vector<std::filesystem::path> cases_in(const std::filesystem::path& directory, const std::string& only)
{
    std::vector<std::filesystem::path> cases;
    for (const auto& entry : std::filesystem::directory_iterator{directory}) {
        if (entry.is_directory() && std::filesystem::exists(entry.path() / "expected.json") &&
            entry.path().filename().string().find(only) != std::string::npos)
        {
            cases.push_back(entry.path());
        }
    }
    std::ranges::sort(cases);
    return cases;
}

std::vector<cut_plan> plans_of(const test_case& c, unsigned splits)
{
    std::vector<cut_plan> plans{{"whole", {}}, {"bytes", {1}}};
    if (!c.chunk_sizes.empty()) plans.push_back({"recorded", c.chunk_sizes});
    std::mt19937 random{c.body.size()};
    for (unsigned i = 0; i < splits; ++i) {
        std::vector<std::size_t> sizes(64);
        std::uniform_int_distribution<std::size_t> size{1, i % 2 == 0 ? 40U : 4000U};
        std::ranges::generate(sizes, [&] { return size(random); });
        plans.push_back({"random" + std::to_string(i), std::move(sizes)});
    }
    return plans;
}

outcome run_directory(const std::filesystem::path& directory, const options& o, std::ostream& out)
{
    outcome total;
    for (const auto& path : cases_in(directory, o.only)) {
        test_case c;
        try {
            c = load_case(path);
        } catch (const std::exception& e) {
            out << "FAILED " << path.filename().string() << " can't be read: " << e.what() << '\n';
            ++total.failed;
            continue;
        }
        const auto plans = plans_of(c, o.splits);
        std::string wrong;
        std::string shown;
        for (const cut_plan& plan : plans) {
            for (const bool compressed : {false, true}) {
                if (compressed && c.compressed.empty()) continue;
                const std::string d = differences(c, run_case(c, plan.sizes, compressed), o);
                if (d.empty() || d == shown) continue;
                shown = d;
                wrong +=
                    (wrong.empty() ? "" : "; ") + plan.name + (compressed ? " compressed" : "") + ':' + d;
            }
        }
        const bool failed = !wrong.empty();
        if (failed) {
            out << (c.expected.ambiguous ? "ambiguous " : "FAILED ") << c.name << " [" << to_string(c.format)
                << "] " << wrong << '\n';
        }
        if (c.expected.ambiguous)
            ++(failed ? total.ambiguous_failed : total.ambiguous_passed);
        else
            ++(failed ? total.failed : total.passed);
    }
    if (total.ambiguous_passed + total.ambiguous_failed != 0) {
        out << "ambiguous (the provider contradicts itself): " << total.ambiguous_passed
            << " as the literal rule, " << total.ambiguous_failed << " not\n";
    }
    out << total.passed << " passed, " << total.failed << " failed\n";
    return total;
}

}  // namespace keyhole::metering::corpus
