// The addresses of providers' names, kept for a minute. The C library's resolver can't be interrupted and may
// be silent for ten seconds, so each question is a thread of its own that nobody has to wait for: not who
// asks for another name, not a worker that stops. Who asks for a name that is being asked for shares the
// answer. Thread rule: one worker's; the questions' threads reach it through its loop.
#pragma once

#include "proxy/net/task.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace keyhole::proxy::upstream {

class names {
public:
    using addresses = std::vector<asio::ip::tcp::endpoint>;

    /// One asker's: wait for `until`, which never expires, but is cancelled by the answer or by whoever gives
    /// up.
    struct question {
        explicit question(asio::io_context& io) : until(io.get_executor())
        {
            until.expires_at(clock::time_point::max());
        }
        timer until;
        bool answered = false;
        error_code error;
        addresses found;
    };

    explicit names(asio::io_context& io);
    ~names();
    names(const names&) = delete;
    names& operator=(const names&) = delete;

    /// nullptr: it must be asked for.
    const addresses* known(const std::string& host, std::uint16_t port, clock::time_point now) const;
    std::shared_ptr<question> ask(const std::string& host, std::uint16_t port);
    /// The next asker asks the resolver.
    void forget(const std::string& host, std::uint16_t port);
    void sweep(clock::time_point now);
    /// All that is known; questions stay.
    void clear();

private:
    /// Where a thread finds its asker, if it is still there.
    struct door;
    struct resolved {
        addresses found;
        clock::time_point until{};
    };
    void answer(const std::string& key, error_code ec, addresses found);

    asio::io_context& io_;
    std::shared_ptr<door> door_;
    std::unordered_map<std::string, resolved> known_;
    std::unordered_map<std::string, std::vector<std::shared_ptr<question>>> asked_;
};

}  // namespace keyhole::proxy::upstream
