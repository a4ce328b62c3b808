#include "metering/request_demand.hpp"

#include "metering/asked_members.hpp"
#include "metering/json_paths.hpp"
#include "metering/json_scan.hpp"
#include "metering/numbers.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

/// The dearest picture that OpenAI's image models make (high quality, 1024x1536), with previews.
/// https://platform.openai.com/docs/guides/image-generation
constexpr std::int64_t picture_tokens = 6'600;
/// Speech: about 150 words a minute at 1250 tokens a minute is 1.5 tokens a byte; twice that, for slow
/// voices.
constexpr std::int64_t speech_tokens_a_byte = 3;
constexpr std::int64_t most_searches = 1'000;
constexpr std::size_t most_tiers = 16;
constexpr std::int64_t most_answers = 1'000'000'000;  // sums stay far from overflowing
constexpr std::int64_t unclear_answers = 128;         // the most that OpenAI's API makes
constexpr std::size_t longest_decoded = 1024 * 1024;  // no speech is longer, and no name

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is(std::string_view text, std::string_view name) noexcept
{
    return std::ranges::equal(text, name, {}, lower);
}

/// A count, also written as text: lenient readers take it at its value.
std::optional<std::int64_t> count_in(const json_scalar& value)
{
    if (value.kind == json_scalar::type::number) return parse_count(value.text);
    if (value.kind != json_scalar::type::string) return std::nullopt;
    std::string digits(value.text.substr(0, 64));
    std::erase_if(digits, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '_' || c == '+'; });
    return parse_count(digits);
}

/// What a tool of the server does, by its type; providers put a date, a version or their name around it.
bool is_search(std::string_view kind)
{
    constexpr std::string_view names[] = {"web_search",  "x_search",      "browser_search",
                                          "live_search", "google_search", "google_maps"};
    return std::ranges::any_of(names, [&](auto name) { return kind.find(name) != kind.npos; });
}

bool reads_pages(std::string_view kind)
{
    return kind.starts_with("web_fetch") || kind == "url_context" || kind == "visit_website";
}

/// Models that search by themselves: Perplexity's, Groq's compound systems, OpenAI's search models, and
/// OpenRouter's suffix.
std::int64_t own_searches(std::string_view model)
{
    const auto has = [&](std::string_view part) { return model.find(part) != model.npos; };
    const bool searches = has("sonar") || model.ends_with(":online") || has("-search-") ||
                          model.starts_with("compound") || has("groq/compound");
    if (has("deep-research")) return research_searches;
    return searches ? search_allowance : 0;
}

/// Whether caches are written only where the request says so; elsewhere the provider does it by itself.
bool asks_for_cache_writes(wire w, std::string_view model)
{
    if (w != wire::anthropic_messages && w != wire::bedrock_converse && w != wire::bedrock_invoke)
        return false;
    const auto has = [&](std::string_view part) { return model.find(part) != model.npos; };
    return has("claude") || has("anthropic") || has("nova");
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
        if (at.peek() == '[') {
            if (here.elements) return at.read_elements([&] { return walk(at, *here.elements); });
            each(here, [this](const member& m) { prompts_ += m.what == meaning::prompt ? 1 : 0; });
            return at.skip_value();
        }
        return here.members.empty() ? at.skip_value() : read_scalar(at, here);
    }

    /// What only the whole body tells.
    void finish()
    {
        prompts_ += token_ids_ ? 1 : 0;
        out_.answers = std::min(out_.answers, most_answers / std::max<std::int64_t>(prompts_, 1)) *
                       std::max<std::int64_t>(prompts_, 1);
        if (out_.output) out_.output = std::max(*out_.output, more_bound_);
        if (endless_) out_.output.reset();
        out_.input_elsewhere += input_bound_.value_or(kept_);
        if (out_.searches != 0 && calls_) out_.searches = std::clamp<std::int64_t>(*calls_, 0, most_searches);
        for (const std::string& further : out_.models)
            add_searches(own_searches(further) - out_.searches);
        add_searches(own_searches(model_) - out_.searches);
        out_.writes_cache = out_.writes_cache || !asks_for_cache_writes(wire_, model_);
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
            if (m.what == meaning::tool && !consulted_.empty()) consult();
            if (m.what == meaning::plugin && searches_)
                add_searches(std::max(uses_.value_or(0), search_allowance));
            if (m.what == meaning::sources && searches_) add_searches(uses_.value_or(source_allowance));
        });
        return whole;
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
    void consult()
    {
        const auto times = std::clamp<std::int64_t>(uses_.value_or(consulting_allowance), 1, most_searches);
        for (std::string& name : consulted_) {
            if (out_.consulted.size() < most_models)
                out_.consulted.push_back({std::move(name), times});
            else
                out_.too_many_models = true;
        }
        consulted_.clear();
    }
    void begin(const member& m)
    {
        switch (m.what) {
        case meaning::place:
            out_.input_elsewhere += file_allowance;
            break;
        case meaning::tool:
        case meaning::plugin:
        case meaning::sources:
            searches_ = m.what == meaning::sources;
            off_ = true;
            uses_.reset();
            consulted_.clear();
            break;
        case meaning::search:
            add_searches(search_allowance);
            break;
        case meaning::page:
            out_.input_elsewhere += page_allowance;
            break;
        case meaning::stored_file:
            out_.input_elsewhere += stored_file_allowance;
            break;
        case meaning::prompt:
            ++prompts_;
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
        const auto number = count_in(value);
        switch (m.what) {
        case meaning::bound:
            // Two names for it: the larger one counts, since the provider reads either. Zero and below
            // (Ollama, llama.cpp): without an end.
            if (number && *number <= 0) endless_ = true;
            if (number) out_.output = std::max(out_.output.value_or(0), *number);
            break;
        case meaning::more_bound:
            if (number && *number <= 0) endless_ = true;
            if (number) more_bound_ = std::max(more_bound_, *number);
            break;
        case meaning::answers:
            if (number || text)
                out_.answers = std::clamp(number.value_or(unclear_answers), out_.answers, most_answers);
            break;
        case meaning::prompt:
            if (text)
                ++prompts_;
            else
                token_ids_ = true;  // one prompt, of all that stand here
            break;
        case meaning::input_bound:
            if (number) input_bound_ = std::max(input_bound_.value_or(0), *number);
            break;
        case meaning::tier:
            if (text && out_.tiers.size() < most_tiers) out_.tiers.emplace_back(value.text.substr(0, 64));
            break;
        case meaning::kept:
            if (text && !value.text.empty()) kept_ += kept_allowance;
            break;
        case meaning::input_kind:
            if (text && value.text == "item_reference") kept_ += item_allowance;
            break;
        case meaning::image:
            if (text && !value.text.starts_with("data:")) out_.input_elsewhere += image_allowance;
            break;
        case meaning::file:
            if (text && !value.text.starts_with("data:")) out_.input_elsewhere += file_allowance;
            break;
        case meaning::tool_kind:
            if (!text) break;
            searches_ = searches_ || is_search(value.text);
            if (reads_pages(value.text)) out_.input_elsewhere += page_allowance;
            if (value.text == "file_search") out_.input_elsewhere += stored_file_allowance;
            break;
        case meaning::plugin_name:
            searches_ = searches_ || (text && value.text == "web");
            break;
        case meaning::sources_mode:
            off_ = off_ && text && value.text == "off";  // of two, whichever a reader takes
            searches_ = !off_;
            break;
        case meaning::tool_calls:
            if (number) calls_ = std::max(calls_.value_or(0), *number);
            break;
        case meaning::tool_uses:
            if (number) uses_ = std::max(uses_.value_or(0), *number);
            break;
        case meaning::tool_model:
            if (text && !value.text.empty() && consulted_.size() <= most_models)
                consulted_.emplace_back(value.text);
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
            if (!text) break;
            if (out_.models.size() < most_models)
                out_.models.emplace_back(value.text);
            else
                out_.too_many_models = true;
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
    bool off_ = true;  ///< what asks for searches has said nothing else
    bool endless_ = false;
    bool token_ids_ = false;  ///< a list of prompts holds a token's number
    std::int64_t prompts_ = 0;
    std::int64_t more_bound_ = 0;
    std::int64_t kept_ = 0;
    std::optional<std::int64_t> calls_;
    std::optional<std::int64_t> input_bound_;
    std::optional<std::int64_t> uses_;
    std::vector<std::string> consulted_;  ///< by the tool that is being read
};

}  // namespace

request_demand demand_of(wire w, std::string_view model, std::string_view body)
{
    request_demand out;
    json_cursor at{body};
    gatherer reader(w, model, out);
    reader.walk(at, asked_members());
    reader.finish();
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
