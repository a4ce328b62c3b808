#include "proxy/upstream/names.hpp"

#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace keyhole::proxy::upstream {
namespace {

constexpr auto lifetime = std::chrono::seconds(60);

std::string key_of(const std::string& host, std::uint16_t port)
{
    return host + '|' + std::to_string(port);
}

}  // namespace

struct names::door {
    std::mutex lock;
    names* behind = nullptr;  ///< nullptr: gone, with its loop

    void bring(const std::shared_ptr<door>& self, std::string key, error_code ec, addresses found)
    {
        const std::lock_guard hold{lock};
        if (behind == nullptr) return;
        asio::post(behind->io_, [self, key = std::move(key), ec, found = std::move(found)]() mutable {
            // On the worker, which alone takes names away.
            if (self->behind != nullptr) self->behind->answer(key, ec, std::move(found));
        });
    }
};

names::names(asio::io_context& io) : io_{io}, door_{std::make_shared<door>()}
{
    door_->behind = this;
}

names::~names()
{
    const std::lock_guard hold{door_->lock};
    door_->behind = nullptr;
}

const names::addresses* names::known(const std::string& host, std::uint16_t port, clock::time_point now) const
{
    const auto found = known_.find(key_of(host, port));
    return found != known_.end() && found->second.until > now ? &found->second.found : nullptr;
}

std::shared_ptr<names::question> names::ask(const std::string& host, std::uint16_t port)
{
    const std::string key = key_of(host, port);
    auto mine = std::make_shared<question>(io_);
    auto& askers = asked_[key];
    askers.push_back(mine);
    if (askers.size() > 1) return mine;
    try {
        std::thread([door = door_, key, host, port] {
            asio::io_context unused;
            error_code ec;
            addresses found;
            for (const auto& entry : asio::ip::tcp::resolver(unused).resolve(host, std::to_string(port), ec))
                found.push_back(entry.endpoint());
            door->bring(door, key, ec, std::move(found));
        }).detach();
    } catch (const std::system_error& e) {
        door_->bring(door_, key, error_code(e.code().value(), boost::system::system_category()), {});
    }
    return mine;
}

void names::answer(const std::string& key, error_code ec, addresses found)
{
    const auto asked = asked_.extract(key);
    if (asked.empty()) return;
    for (const auto& asker : asked.mapped()) {
        asker->answered = true;
        asker->error = ec;
        asker->found = found;
        asker->until.cancel();
    }
    if (!ec) known_[key] = {std::move(found), clock::now() + lifetime};
}

void names::forget(const std::string& host, std::uint16_t port)
{
    known_.erase(key_of(host, port));
}

void names::sweep(clock::time_point now)
{
    std::erase_if(known_, [&](const auto& entry) { return entry.second.until <= now; });
}

void names::clear()
{
    known_.clear();
}

}  // namespace keyhole::proxy::upstream
