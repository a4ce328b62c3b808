#include "metering/request_demand.hpp"

#include "metering/json_paths.hpp"
#include "metering/json_scan.hpp"
#include "metering/numbers.hpp"

#include <algorithm>
#include <memory>

namespace keyhole::metering {

namespace {

/// The dearest picture that OpenAI's image models make (high quality, 1024x1536), with previews.
/// https://platform.openai.com/docs/guides/image-generation
constexpr std::int64_t picture_tokens = 6'600;
/// Speech: about 150 words a minute at 1250 tokens a minute is 1.5 tokens a byte; twice that, for slow
/// voices.
constexpr std::int64_t speech_tokens_a_byte = 3;
constexpr std::int64_t most_searches = 1'000;
constexpr std::int64_t most_answers = 128;
constexpr std::size_t longest_decoded = 1024 * 1024;  // no speech is longer, and no name

enum class meaning : std::uint8_t {
    bound,
    answers,
    image,  ///< its place, as text
    file,
    place,  ///< of an object that stands elsewhere
    tool,
    tool_kind,
    tool_uses,
    search,  ///< an object that asks for searches
    cache,
    cache_life,
    modality,
    spoken,
    model,
};

/// A member of a wire's requests; wire::none: of any. `family`: part of the model's name, for wires that pass
/// on what each maker's models read.
struct member {
    std::string_view path;
    meaning what;
    wire of = wire::none;
    std::string_view family = {};
};

constexpr member members[] = {
    {"max_tokens", meaning::bound, wire::openai_chat},
    {"max_completion_tokens", meaning::bound, wire::openai_chat},
    {"max_tokens", meaning::bound, wire::openai_completions},
    {"max_output_tokens", meaning::bound, wire::openai_responses},
    {"max_completion_tokens", meaning::bound, wire::openai_assistants},
    {"max_tokens", meaning::bound, wire::anthropic_messages},
    {"max_tokens_to_sample", meaning::bound, wire::anthropic_messages},
    {"generationConfig.maxOutputTokens", meaning::bound, wire::gemini},
    {"generation_config.max_output_tokens", meaning::bound, wire::gemini},
    {"generationConfig.max_output_tokens", meaning::bound, wire::gemini},
    {"generation_config.maxOutputTokens", meaning::bound, wire::gemini},
    {"generation_config.max_output_tokens", meaning::bound, wire::gemini_interactions},
    {"inferenceConfig.maxTokens", meaning::bound, wire::bedrock_converse},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "anthropic."},
    {"max_tokens_to_sample", meaning::bound, wire::bedrock_invoke, "anthropic."},
    {"max_gen_len", meaning::bound, wire::bedrock_invoke, "meta."},
    {"inferenceConfig.max_new_tokens", meaning::bound, wire::bedrock_invoke, "amazon.nova"},
    {"inferenceConfig.maxTokens", meaning::bound, wire::bedrock_invoke, "amazon.nova"},
    {"textGenerationConfig.maxTokenCount", meaning::bound, wire::bedrock_invoke, "amazon.titan"},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "mistral."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "cohere."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "deepseek."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "openai."},
    {"max_completion_tokens", meaning::bound, wire::bedrock_invoke, "openai."},
    {"max_tokens", meaning::bound, wire::bedrock_invoke, "ai21."},
    {"max_tokens", meaning::bound, wire::cohere},
    {"options.num_predict", meaning::bound, wire::ollama},
    {"parameters.max_new_tokens", meaning::bound, wire::watsonx},

    {"n", meaning::answers},
    {"best_of", meaning::answers},
    {"num_generations", meaning::answers, wire::cohere},
    {"generationConfig.candidateCount", meaning::answers},
    {"generation_config.candidate_count", meaning::answers},

    {"messages[].content[].image_url.url", meaning::image},
    {"messages[].content[].image_url", meaning::image},
    {"messages[].content[].file.file_id", meaning::file},
    {"messages[].content[].source.url", meaning::file},
    {"messages[].content[].source.file_id", meaning::file},
    {"messages[].content[].content[].source.url", meaning::file},
    {"messages[].content[].content[].source.file_id", meaning::file},
    {"messages[].content[].document_url", meaning::file},
    {"messages[].content[].image.source.s3Location", meaning::place},
    {"messages[].content[].document.source.s3Location", meaning::place},
    {"messages[].content[].video.source.s3Location", meaning::place},
    {"input[].content[].image_url", meaning::image},
    {"input[].content[].file_url", meaning::file},
    {"input[].content[].file_id", meaning::file},
    {"contents[].parts[].fileData.fileUri", meaning::file},
    {"contents[].parts[].file_data.file_uri", meaning::file},
    {"contents[].parts[].fileData.file_uri", meaning::file},
    {"contents[].parts[].file_data.fileUri", meaning::file},
    {"contents.parts[].fileData.fileUri", meaning::file},
    {"contents.parts[].file_data.file_uri", meaning::file},

    {"tools[]", meaning::tool},
    {"tools[].type", meaning::tool_kind},
    {"tools[].max_uses", meaning::tool_uses},
    {"web_search_options", meaning::search},

    {"cache_control", meaning::cache},
    {"system[].cache_control", meaning::cache},
    {"tools[].cache_control", meaning::cache},
    {"messages[].content[].cache_control", meaning::cache},
    {"messages[].content[].content[].cache_control", meaning::cache},
    {"cache_control.ttl", meaning::cache_life},
    {"system[].cache_control.ttl", meaning::cache_life},
    {"tools[].cache_control.ttl", meaning::cache_life},
    {"messages[].content[].cache_control.ttl", meaning::cache_life},
    {"messages[].content[].content[].cache_control.ttl", meaning::cache_life},
    {"system[].cachePoint", meaning::cache, wire::bedrock_converse},
    {"messages[].content[].cachePoint", meaning::cache, wire::bedrock_converse},
    {"toolConfig.tools[].cachePoint", meaning::cache, wire::bedrock_converse},

    {"modalities[]", meaning::modality},
    {"generationConfig.responseModalities[]", meaning::modality},
    {"generation_config.response_modalities[]", meaning::modality},
    {"input", meaning::spoken, wire::openai_audio},
    {"models[]", meaning::model},
};

/// A place in a body, and what stands below it.
struct place {
    std::string_view key;
    std::vector<const member*> members = {};
    std::vector<place> children = {};           ///< of an object
    std::unique_ptr<place> elements = nullptr;  ///< of an array

    const place* child(const json_string& name) const
    {
        for (const place& p : children)
            if (name.escaped ? json_key_is(name, p.key) : name.raw == p.key) return &p;
        return nullptr;
    }
    place& make_child(std::string_view name)
    {
        const auto found = std::ranges::find(children, name, &place::key);
        return found != children.end() ? *found : children.emplace_back(place{.key = name});
    }
    place& make_elements()
    {
        if (!elements) elements = std::make_unique<place>();
        return *elements;
    }
};

const place& table()
{
    static const place root = [] {
        place out;
        for (const member& m : members) {
            place* at = &out;
            std::string_view path = m.path;
            while (!path.empty()) {
                const auto dot = path.find('.');
                std::string_view step = path.substr(0, dot);
                path.remove_prefix(dot == path.npos ? path.size() : dot + 1);
                const bool array = step.ends_with("[]");
                if (array) step.remove_suffix(2);
                at = &at->make_child(step);
                if (array) at = &at->make_elements();
            }
            at->members.push_back(&m);
        }
        return out;
    }();
    return root;
}

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is(std::string_view text, std::string_view name) noexcept
{
    return std::ranges::equal(text, name, {}, lower);
}

class gatherer {
public:
    gatherer(wire w, std::string_view model, request_demand& into) : wire_(w), model_(model), out_(into) {}

    /// Walks the value at the cursor; what no member names is stepped over. Goes no deeper than the table.
    bool walk(json_cursor& at, const place& here)
    {
        at.skip_space();
        if (at.done()) return false;
        if (at.peek() == '{') return walk_object(at, here);
        if (at.peek() == '[') return here.elements ? walk_array(at, *here.elements) : at.skip_value();
        return here.members.empty() ? at.skip_value() : read_scalar(at, here);
    }

private:
    bool walk_object(json_cursor& at, const place& here)
    {
        if (here.members.empty() && here.children.empty()) return at.skip_value();
        each(here, [this](const member& m) { begin(m); });
        const bool whole = at.read_members([&](const json_member& m) {
            const place* below = here.child(m.key);
            return below != nullptr ? walk(at, *below) : at.skip_value();
        });
        each(here, [this](const member& m) {
            if (m.what == meaning::tool && searches_) add_searches(uses_.value_or(search_allowance));
        });
        return whole;
    }
    bool walk_array(json_cursor& at, const place& element)
    {
        at.skip_byte();
        at.skip_space();
        if (!at.done() && at.peek() == ']') {
            at.skip_byte();
            return true;
        }
        while (walk(at, element)) {
            at.skip_space();
            if (at.done()) return false;
            const char next = at.peek();
            at.skip_byte();
            if (next != ',') return next == ']';
        }
        return false;
    }
    bool read_scalar(json_cursor& at, const place& here)
    {
        json_scalar value;
        const std::size_t from = at.offset();
        if (at.peek() != '"') {
            if (!at.skip_value()) return false;
            value.text = at.since(from);
            const char first = value.text.empty() ? ' ' : value.text.front();
            if (first == '-' || (first >= '0' && first <= '9')) value.kind = json_scalar::type::number;
        } else {
            json_string text;
            if (!at.read_string(text)) return false;
            text_.clear();
            if (text.escaped) decode_json_string(text.raw, longest_decoded, text_);
            value.kind = json_scalar::type::string;
            value.text = text.escaped ? std::string_view(text_) : text.raw;
            value.length = value.text.size();
        }
        each(here, [&](const member& m) { scalar(m, value); });
        return true;
    }
    template <class F>
    void each(const place& here, F&& f)
    {
        for (const member* m : here.members) {
            const bool of_wire = m->of == wire::none || m->of == wire_;
            if (of_wire && (m->family.empty() || model_.find(m->family) != std::string_view::npos)) f(*m);
        }
    }
    void add_searches(std::int64_t n)
    {
        out_.searches =
            std::min(out_.searches + std::clamp<std::int64_t>(n, 0, most_searches), most_searches);
    }
    void begin(const member& m)
    {
        switch (m.what) {
        case meaning::place:
            out_.input_elsewhere += file_allowance;
            break;
        case meaning::tool:
            searches_ = false;
            uses_.reset();
            break;
        case meaning::search:
            add_searches(search_allowance);
            break;
        case meaning::cache:
            out_.writes_cache = true;
            break;
        default:
            break;
        }
    }
    void scalar(const member& m, const json_scalar& value)
    {
        const bool text = value.kind == json_scalar::type::string;
        const auto number = value.kind == json_scalar::type::number ? parse_count(value.text) : std::nullopt;
        switch (m.what) {
        case meaning::bound:
            // Two names for it: the larger one counts, since the provider reads either. Below zero (Ollama,
            // llama.cpp): without an end.
            if (number && *number < 0) endless_ = true;
            if (number) out_.output = std::max(out_.output.value_or(0), *number);
            if (endless_) out_.output.reset();
            break;
        case meaning::answers:
            if (number) out_.answers = std::clamp(*number, out_.answers, most_answers);
            break;
        case meaning::image:
            if (text && !value.text.starts_with("data:")) out_.input_elsewhere += image_allowance;
            break;
        case meaning::file:
            if (text && !value.text.starts_with("data:")) out_.input_elsewhere += file_allowance;
            break;
        case meaning::tool_kind:
            searches_ = searches_ || (text && value.text.starts_with("web_search"));
            break;
        case meaning::tool_uses:
            if (number) uses_ = std::max(uses_.value_or(0), *number);
            break;
        case meaning::cache_life:
            out_.writes_long_cache = out_.writes_long_cache || value.text == "1h";
            break;
        case meaning::modality:
            out_.output_audio = out_.output_audio || is(value.text, "audio");
            out_.output_image = out_.output_image || is(value.text, "image");
            break;
        case meaning::spoken:
            if (text)
                out_.spoken_bytes =
                    static_cast<std::int64_t>(std::min<std::uint64_t>(value.length, 1U << 30U));
            break;
        case meaning::model:
            if (text && out_.models.size() < 32) out_.models.emplace_back(value.text);
            break;
        default:
            break;
        }
    }

    wire wire_;
    std::string_view model_;
    request_demand& out_;
    std::string text_;  ///< of a string with escapes
    bool searches_ = false;
    bool endless_ = false;
    std::optional<std::int64_t> uses_;
};

}  // namespace

request_demand demand_of(wire w, std::string_view model, std::string_view body)
{
    request_demand out;
    json_cursor at{body};
    gatherer(w, model, out).walk(at, table());
    const auto dearer = std::ranges::find_if(out.models, bills_pictures_dearer);
    out.media = media_sum_of(w, dearer == out.models.end() ? model : std::string_view(*dearer), body);
    switch (w) {
    case wire::openai_embeddings:
    case wire::openai_moderations:
    case wire::gemini_embed:
        out.output = 0;
        break;
    case wire::openai_images:
        out.output = picture_tokens;
        out.output_image = true;
        break;
    case wire::openai_audio:
        if (out.spoken_bytes != 0) {
            out.output = out.spoken_bytes * speech_tokens_a_byte;
            out.output_audio = true;
        }
        break;
    default:
        break;
    }
    return out;
}

}  // namespace keyhole::metering
