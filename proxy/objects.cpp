#include "proxy/objects.hpp"

#include "metering/numbers.hpp"
#include "proxy/exchange.hpp"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace keyhole::proxy {
namespace {

namespace json = boost::json;

constexpr std::size_t most_references = 16;
constexpr std::size_t longest_made = 256 * 1024;

bool may_touch(const session_info& who, const metering::ledger::maker& maker)
{
    if (maker.session.empty()) return false;
    return maker.session == who.id || (!who.account.empty() && maker.account == who.account);
}

struct known_object {
    metering::ledger::maker maker;
    metering::ledger::object_usage usage;
};
using makers = std::vector<known_object>;

/// Asks the ledger on the helpers' thread; the worker serves others meanwhile. `told`: the object whose usage
/// the answer to the first id will tell; empty: none.
task<makers> look_up(exchange& x, std::vector<std::string> ids, std::string told)
{
    struct waiting {
        timer until;
        makers found;
    };
    auto& home = x.agent.home();
    auto& shared = home.shared();
    const auto w = std::make_shared<waiting>(waiting{timer(home.io().get_executor()), {}});
    w->until.expires_at(clock::time_point::max());
    const executor back = home.io().get_executor();
    const std::string provider = x.to ? x.to->provider.name : std::string();
    asio::post(shared.helpers, [w, back, &shared, &books = shared.books, ids = std::move(ids),
                                told = std::move(told), provider] {
        makers found;
        for (const auto& id : ids) {
            try {
                known_object one;
                one.maker = shared.adopted.find(id);
                if (one.maker.session.empty()) one.maker = books.made_by(id);
                if (found.empty() && !told.empty()) one.usage = books.usage_of(told, provider);
                found.push_back(std::move(one));
            } catch (const std::exception&) {
                found.emplace_back();  // a ledger that can't be read shows nobody anything
            }
        }
        asio::post(back, [w, found = std::move(found)]() mutable {
            w->found = std::move(found);
            w->until.cancel();
        });
    });
    co_await w->until.async_wait(as_result);  // ends by the cancel above
    co_return std::move(w->found);
}

}  // namespace

void made_object::feed(std::string_view bytes)
{
    if (text_.size() < longest_made) text_ += bytes;
}

std::string made_object::member(std::string_view name) const
{
    boost::system::error_code ec;
    const auto value = json::parse(json::string_view(text_.data(), text_.size()), ec);
    const auto* object = ec ? nullptr : value.if_object();
    const auto* id =
        object == nullptr ? nullptr : object->if_contains(json::string_view(name.data(), name.size()));
    return id != nullptr && id->is_string() ? std::string(id->get_string().c_str()) : std::string();
}

std::string made_object::id() const
{
    return member("id");
}

void adopted_objects::add(const std::string& id, metering::ledger::maker maker, std::string batch)
{
    const std::lock_guard lock(mutex_);
    if (makers_.size() >= most_)
        makers_.clear();  // they are learned again when their batch is looked at again
    makers_[id] = {std::move(maker), std::move(batch)};
}

metering::ledger::maker adopted_objects::find(const std::string& id) const
{
    const std::lock_guard lock(mutex_);
    const auto at = makers_.find(id);
    return at == makers_.end() ? metering::ledger::maker{} : at->second.maker;
}

std::string adopted_objects::batch_of(const std::string& id) const
{
    const std::lock_guard lock(mutex_);
    const auto at = makers_.find(id);
    return at == makers_.end() ? std::string() : at->second.batch;
}

bool adopted_objects::claim(const std::string& name)
{
    const std::lock_guard lock(mutex_);
    if (claimed_.size() >= most_)
        claimed_.clear();  // by then the rows are in the ledger, which is asked first
    return claimed_.insert(name).second;
}

void adopt_results(exchange& x, const made_object& batch)
{
    auto& adopted = x.agent.home().shared().adopted;
    const metering::ledger::maker maker{x.who->info.id, x.who->info.account};
    // Only the answers' file tells what was used; the other holds what was refused.
    if (const auto id = batch.member("output_file_id"); !id.empty())
        adopted.add(id, maker, std::string(x.named.id));
    if (const auto id = batch.member("error_file_id"); !id.empty()) adopted.add(id, maker, {});
}

task<failure> check_objects(exchange& x)
{
    const bool in_path = x.way->objects == object_rule::uses;
    std::vector<std::string> ids = x.facts.builds_on;
    if (ids.size() > most_references)
        co_return failure{errc::bad_request, "The request refers to too many stored objects.", {}, 0};
    if (in_path) ids.insert(ids.begin(), std::string(x.named.id));
    if (ids.empty()) co_return failure{};
    if (in_path && x.way->wire != metering::wire::none)
        x.stored_id = x.way->path == "/files/{id}/content"
                          ? x.agent.home().shared().adopted.batch_of(ids.front())
                          : ids.front();
    const auto asked = ids.size();
    makers found = co_await look_up(x, std::move(ids), x.stored_id);
    const bool own = found.size() == asked &&
                     std::all_of(found.begin(), found.end(),
                                 [&](const auto& object) { return may_touch(x.who->info, object.maker); });
    if (!own)
        co_return failure{
            errc::unknown_object,
            "This session made no object of this id (responses, files and batches belong to the "
            "session or account that made them).",
            {},
            0};
    for (std::size_t i = in_path ? 1 : 0; i < found.size(); ++i) {
        const auto tokens = found[i].maker.tokens;
        if (tokens == 0) ++x.kept_unknown;
        x.kept_input = metering::saturated_sum(x.kept_input, tokens);
    }
    x.stored = std::move(found.front().usage);
    co_return failure{};
}

task<std::string> keep_own_objects(exchange& x, std::string body)
{
    boost::system::error_code ec;
    auto value = json::parse(json::string_view(body.data(), body.size()), ec);
    auto* object = ec ? nullptr : value.if_object();
    auto* data = object == nullptr ? nullptr : object->if_contains("data");
    if (data == nullptr || !data->is_array())
        co_return std::string(R"({"object":"list","data":[],"has_more":false})");
    auto& list = data->get_array();
    std::vector<std::string> ids;
    for (const auto& item : list) {
        const auto* entry = item.if_object();
        const auto* id = entry == nullptr ? nullptr : entry->if_contains("id");
        ids.emplace_back(id != nullptr && id->is_string() ? id->get_string().c_str() : "");
    }
    makers found = co_await look_up(x, std::move(ids), {});
    json::array mine;
    for (std::size_t i = 0; i < list.size() && i < found.size(); ++i)
        if (may_touch(x.who->info, found[i].maker)) mine.push_back(list[i]);
    if (mine.size() == list.size()) co_return body;
    for (const auto& [field, entry] : {std::pair{"first_id", mine.empty() ? nullptr : &mine.front()},
                                       std::pair{"last_id", mine.empty() ? nullptr : &mine.back()}})
    {
        auto* shown = object->if_contains(field);
        if (shown == nullptr) continue;
        if (entry == nullptr)
            *shown = nullptr;
        else
            *shown = entry->as_object().at("id");
    }
    *data = std::move(mine);
    co_return json::serialize(value);
}

}  // namespace keyhole::proxy
