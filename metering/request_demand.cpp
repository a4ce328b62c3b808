#include "metering/request_demand.hpp"

#include "metering/json_paths.hpp"
#include "metering/numbers.hpp"

#include <algorithm>
#include <array>
#include <span>

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

interest interest_of(meaning m) noexcept
{
    switch (m) {
    case meaning::place:
    case meaning::tool:
    case meaning::search:
    case meaning::cache:
        return interest::object;
    default:
        return interest::scalar;
    }
}

struct compiled_members {
    path_tree tree;
    std::vector<std::vector<const member*>> by_path;
};

const compiled_members& compiled_table()
{
    static const compiled_members all = [] {
        compiled_members out;
        for (const member& m : members) {
            const path_id id = out.tree.add(m.path, interest_of(m.what));
            if (out.by_path.size() <= id) out.by_path.resize(std::size_t{id} + 1);
            out.by_path[id].push_back(&m);
        }
        out.by_path.resize(out.tree.size());
        return out;
    }();
    return all;
}

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is(std::string_view text, std::string_view name) noexcept
{
    return std::ranges::equal(text, name, {}, lower);
}

class gatherer final : public json_sink {
public:
    gatherer(wire w, std::string_view model, request_demand& into) : wire_(w), model_(model), out_(into) {}

    void on_document_end(bool) override {}
    void on_begin(path_id id) override
    {
        each(id, [this](const member& m) { begin(m); });
    }
    void on_end(path_id id) override
    {
        each(id, [this](const member& m) {
            if (m.what == meaning::tool && searches_) add_searches(uses_.value_or(search_allowance));
        });
    }
    void on_scalar(path_id id, const json_scalar& value) override
    {
        each(id, [&](const member& m) { scalar(m, value); });
    }

private:
    template <class F>
    void each(path_id id, F&& f)
    {
        for (const member* m : compiled_table().by_path[id]) {
            const bool here = m->of == wire::none || m->of == wire_;
            if (here && (m->family.empty() || model_.find(m->family) != std::string_view::npos)) f(*m);
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
            // Two names for it: the larger one counts, since the provider reads either.
            if (number) out_.output = std::max(out_.output.value_or(0), *number);
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
    bool searches_ = false;
    std::optional<std::int64_t> uses_;
};

}  // namespace

request_demand demand_of(wire w, std::string_view model, std::string_view body)
{
    request_demand out;
    gatherer sink(w, model, out);
    json_reader reader(compiled_table().tree, sink);
    reader.feed(body);
    reader.finish();
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
