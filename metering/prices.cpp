#include "metering/prices.hpp"

#include "metering/builtin_prices.hpp"
#include "metering/price_files.hpp"
#include "metering/record.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <unordered_map>

namespace keyhole::metering {

namespace {

__extension__ using wide = __int128;

constexpr std::int64_t million = 1'000'000;
constexpr std::size_t longest_stored_name = std::tuple_size_v<decltype(record::model.bytes)>;

/// Provider and model in one key; neither contains a line feed.
std::string key_of(std::string_view provider, std::string_view model)
{
    std::string key;
    key.reserve(provider.size() + 1 + model.size());
    key.append(provider).append(1, '\n').append(model);
    return key;
}

std::int64_t first_given(std::int64_t a, std::int64_t b)
{
    return a >= 0 ? a : b;
}

/// The rates with every fallback applied.
rates complete(const rates& r)
{
    rates all = r;
    all.input = std::max<std::int64_t>(r.input, 0);
    all.output = std::max<std::int64_t>(r.output, 0);
    all.cache_read = first_given(r.cache_read, all.input);
    all.cache_write_5m = first_given(r.cache_write_5m, all.input);
    all.cache_write_1h = first_given(r.cache_write_1h, all.cache_write_5m);
    all.output_reasoning = first_given(r.output_reasoning, all.output);
    all.input_audio = first_given(r.input_audio, all.input);
    all.output_audio = first_given(r.output_audio, all.output);
    all.input_image = first_given(r.input_image, all.input);
    all.output_image = first_given(r.output_image, all.output);
    all.web_search = std::max<std::int64_t>(r.web_search, 0);
    return all;
}

std::int64_t total_cost(const rates& given, const token_counts& c)
{
    const rates at = complete(given);
    const std::array<std::pair<std::int64_t, std::int64_t>, 10> buckets{
        {{c.input, at.input},
         {c.cache_read, at.cache_read},
         {c.cache_write_5m, at.cache_write_5m},
         {c.cache_write_1h, at.cache_write_1h},
         {c.output, at.output},
         {c.output_reasoning, at.output_reasoning},
         {c.input_audio, at.input_audio},
         {c.output_audio, at.output_audio},
         {c.input_image, at.input_image},
         {c.output_image, at.output_image}}};
    wide sum = 0;
    for (const auto& [tokens, rate] : buckets) {
        sum += wide{std::max<std::int64_t>(tokens, 0)} * rate;
    }
    sum += wide{std::max<std::int64_t>(c.web_searches, 0)} * at.web_search * million;
    const wide rounded = (sum + million / 2) / million;
    return static_cast<std::int64_t>(std::min<wide>(rounded, INT64_MAX));
}

/// As providers spell them, in one case: Vertex says ON_DEMAND, OpenAI default.
std::string normal_tier(std::string_view tier)
{
    std::string out(tier);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

/// Names that providers give to what they bill at their standard rates.
bool is_standard(std::string_view tier)
{
    return tier.empty() || tier == "default" || tier == "standard" || tier == "auto" || tier == "on_demand" ||
           tier == "standard_only";
}

const rates* tier_of(const std::vector<std::pair<std::string, rates>>& tiers, std::string_view normal)
{
    for (const auto& [name, at] : tiers)
        if (normal_tier(name) == normal) return &at;
    return nullptr;
}

/// All input and all output in the dearest buckets they may fall into.
std::int64_t worst_cost(const rates& given, const price_table::worst_case& of)
{
    const rates at = complete(given);
    std::int64_t in = std::max({at.input, at.input_audio, at.input_image});
    if (of.cache_write) in = std::max(in, at.cache_write_5m);
    if (of.long_cache_write) in = std::max(in, at.cache_write_1h);
    std::int64_t out = std::max(at.output, at.output_reasoning);
    if (of.audio) out = std::max(out, at.output_audio);
    if (of.image) out = std::max(out, at.output_image);
    wide sum = wide{of.input} * in + wide{of.output} * out;
    sum += wide{of.searches} * at.web_search * million;
    return static_cast<std::int64_t>(std::min<wide>((sum + million - 1) / million, INT64_MAX));
}

/// FNV-1a, 64 bits: names a table's content, guards against nobody.
class fingerprint {
public:
    void add(std::string_view text)
    {
        for (const char c : text) {
            byte(static_cast<unsigned char>(c));
        }
        byte(0xFF);  // "ab" + "c" is not "a" + "bc"
    }
    void add(std::int64_t value) { add(std::to_string(value)); }
    void add(const rates& r)
    {
        for (const std::int64_t v :
             {r.input, r.output, r.cache_read, r.cache_write_5m, r.cache_write_1h, r.output_reasoning,
              r.input_audio, r.output_audio, r.input_image, r.output_image, r.web_search})
        {
            add(v);
        }
    }
    void add(const std::vector<std::pair<std::string, rates>>& tiers)
    {
        for (const auto& [name, at] : tiers) {
            add(name);
            add(at);
        }
        byte(0xFE);
    }
    std::string text() const
    {
        std::string hex;
        for (int shift = 60; shift >= 0; shift -= 4) {
            hex += "0123456789abcdef"[hash_ >> static_cast<unsigned>(shift) & 0x0FU];
        }
        return hex;
    }

private:
    void byte(unsigned char b) { hash_ = (hash_ ^ b) * 0x100000001B3U; }
    std::uint64_t hash_ = 0xCBF29CE484222325U;
};

/// key_of() of names that are looked for: several times a request, so it is not allocated where it is short.
class looked_for {
public:
    looked_for(std::string_view provider, std::string_view model)
    {
        const std::size_t size = provider.size() + 1 + model.size();
        if (size > here_.size()) {
            long_ = key_of(provider, model);
            text_ = long_;
            return;
        }
        provider.copy(here_.data(), provider.size());
        here_[provider.size()] = '\n';
        model.copy(here_.data() + provider.size() + 1, model.size());
        text_ = {here_.data(), size};
    }
    looked_for(const looked_for&) = delete;
    looked_for& operator=(const looked_for&) = delete;
    std::string_view view() const noexcept { return text_; }

private:
    std::array<char, 128> here_;
    std::string long_;
    std::string_view text_;
};

struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <class T>
using by_key = std::unordered_map<std::string, T, text_hash, std::equal_to<>>;

}  // namespace

struct price_table::impl {
    struct name_entry {
        std::size_t index = 0;
        bool exact = true;  ///< the model's own name, not an alias
    };
    std::vector<model_price> models;
    by_key<name_entry> by_name;
    static constexpr std::size_t ambiguous = SIZE_MAX;
    by_key<std::size_t> cut_names;  ///< names that are longer than a row's field
    std::string version;

    void lay_over(std::vector<model_price> entries);
    void know_cut_names();
};

/// A later file's entry replaces an earlier one of the same name but keeps its aliases: the dated name that
/// an answer carries must find the operator's price too. A name of its own beats an alias.
void price_table::impl::lay_over(std::vector<model_price> entries)
{
    for (model_price& fresh : entries) {
        const auto known = by_name.find(key_of(fresh.provider, fresh.model));
        std::size_t index = models.size();
        if (known != by_name.end() && known->second.exact) {
            index = known->second.index;
            for (const std::string& alias : models[index].aliases) {
                if (!std::ranges::count(fresh.aliases, alias)) fresh.aliases.push_back(alias);
            }
            models[index] = std::move(fresh);
        } else {
            models.push_back(std::move(fresh));
        }
        by_name[key_of(models[index].provider, models[index].model)] = {index, true};
        for (const std::string& alias : models[index].aliases) {
            const auto [place, added] =
                by_name.try_emplace(key_of(models[index].provider, alias), name_entry{index, false});
            if (!added && !place->second.exact) place->second = {index, false};
        }
    }
}

/// A row holds the beginning of a long name: that finds the price, too, where no other name begins so.
void price_table::impl::know_cut_names()
{
    cut_names.clear();
    for (std::size_t i = 0; i < models.size(); ++i) {
        const auto know = [&](const std::string& name) {
            if (name.size() <= longest_stored_name) return;
            const auto [place, added] =
                cut_names.try_emplace(key_of(models[i].provider, name.substr(0, longest_stored_name)), i);
            if (!added && place->second != i) place->second = ambiguous;
        };
        know(models[i].model);
        std::ranges::for_each(models[i].aliases, know);
    }
}

price_table price_table::builtin()
{
    price_table table;
    table.impl_ = std::make_shared<impl>();
    table.impl_->lay_over(price_files::parse_keyhole(builtin_prices(), "built-in prices"));
    table.seal();
    return table;
}

void price_table::seal()
{
    impl_->know_cut_names();
    std::vector<const model_price*> ordered;
    for (const model_price& m : impl_->models) {
        ordered.push_back(&m);
    }
    std::ranges::sort(ordered, {}, [](const model_price* m) {
        return std::pair(std::string_view(m->provider), std::string_view(m->model));
    });
    fingerprint f;
    for (const model_price* m : ordered) {
        f.add(m->provider);
        f.add(m->model);
        f.add(m->standard);
        f.add(m->service_tiers);
        for (const context_tier& t : m->tiers) {
            f.add(t.above_input_tokens);
            f.add(t.at);
            f.add(t.service_tiers);
        }
        for (const std::string& alias : m->aliases) {
            f.add(alias);
        }
    }
    impl_->version = f.text();
}

// Each load works on a copy and replaces the whole at its end: a file with an error changes nothing, and
// tables that share this one's content stay as they are.
void price_table::load_keyhole(const std::string& path)
{
    auto next = impl_ ? std::make_shared<impl>(*impl_) : std::make_shared<impl>();
    next->lay_over(price_files::read_keyhole(path));
    impl_ = std::move(next);
    seal();
}

void price_table::load_keyhole_text(std::string_view text, const std::string& name)
{
    auto next = impl_ ? std::make_shared<impl>(*impl_) : std::make_shared<impl>();
    next->lay_over(price_files::parse_keyhole(text, name));
    impl_ = std::move(next);
    seal();
}

void price_table::load_litellm(const std::string& path)
{
    auto next = impl_ ? std::make_shared<impl>(*impl_) : std::make_shared<impl>();
    next->lay_over(price_files::read_litellm(path));
    impl_ = std::move(next);
    seal();
}

void price_table::load_models_dev(const std::string& path)
{
    auto next = impl_ ? std::make_shared<impl>(*impl_) : std::make_shared<impl>();
    next->lay_over(price_files::read_models_dev(path));
    impl_ = std::move(next);
    seal();
}

const model_price* price_table::find(std::string_view provider, std::string_view model) const
{
    if (!impl_) return nullptr;
    const looked_for key(provider, model);
    const auto found = impl_->by_name.find(key.view());
    if (found != impl_->by_name.end()) return &impl_->models[found->second.index];
    if (model.size() != longest_stored_name) return nullptr;
    const auto cut = impl_->cut_names.find(key.view());
    return cut == impl_->cut_names.end() || cut->second == impl::ambiguous ? nullptr
                                                                           : &impl_->models[cut->second];
}

cost price_table::price(std::string_view provider, std::string_view model, std::string_view service_tier,
                        const token_counts& counts, bill of) const
{
    const model_price* m = find(provider, model);
    if (m == nullptr) return {};
    const rates* at = &m->standard;
    const auto* service_tiers = &m->service_tiers;
    const std::string tier = normal_tier(service_tier);
    for (const context_tier& t : m->tiers) {
        if (of == bill::many_requests || counts.all_input() <= t.above_input_tokens) break;
        at = &t.at;
        service_tiers = &t.service_tiers;
    }
    // Searches that were made and have no price are not free.
    const auto knows = [&](const rates& r) { return counts.web_searches <= 0 || r.web_search >= 0; };
    if (is_standard(tier)) return {total_cost(*at, counts), knows(*at)};
    if (const rates* named = tier_of(*service_tiers, tier))
        return {total_cost(*named, counts), knows(*named)};
    return {total_cost(*at, counts), false};
}

std::int64_t price_table::most(std::string_view provider, std::string_view model, const worst_case& of) const
{
    const model_price* m = find(provider, model);
    if (m == nullptr) return 0;
    const std::string tier = normal_tier(of.service_tier);
    std::int64_t most = 0;
    const auto consider = [&](const rates& at, const std::vector<std::pair<std::string, rates>>& tiers) {
        most = std::max(most, worst_cost(at, of));
        if (const rates* named = is_standard(tier) ? nullptr : tier_of(tiers, tier))
            most = std::max(most, worst_cost(*named, of));
    };
    consider(m->standard, m->service_tiers);
    for (const context_tier& t : m->tiers)
        if (of.input > t.above_input_tokens) consider(t.at, t.service_tiers);
    return most;
}

std::string_view price_table::version() const noexcept
{
    return impl_ ? std::string_view(impl_->version) : std::string_view{};
}

std::size_t price_table::size() const noexcept
{
    return impl_ ? impl_->models.size() : 0;
}

}  // namespace keyhole::metering
