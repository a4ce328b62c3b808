// A worker's idle provider connections and how new ones are made. Only bookkeeping and connecting; whether a
// connection may come back is may_reuse()'s verdict, taken by the exchange that used it. Thread rule: its
// worker only.
#pragma once

#include "proxy/upstream/link.hpp"
#include "proxy/upstream/names.hpp"

#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

namespace keyhole::proxy::upstream {

/// The facts of a finished exchange that decide whether its connection serves another. Default: no.
struct exchange_facts {
    bool response_complete = false;  ///< framed by length or chunks, and read to its end
    bool request_fully_sent = false;
    bool nothing_unread = false;  ///< no byte arrived that was not asked for
    bool response_keeps_alive = false;
    bool cancelled = false;
};
bool may_reuse(const exchange_facts& x) noexcept;

/// Why connecting failed: the metric's step and a text for the log.
struct connect_error {
    std::string_view step;  ///< "dns", "connect", "tls"; empty: no error
    std::string detail;
    explicit operator bool() const noexcept { return !step.empty(); }
};

struct leased {
    link_ptr connection;
    bool reused = false;
    connect_error error;
};

/// A connection in the making, so that its owner can give it up at any stage.
struct attempt {
    link* made = nullptr;
    timer* name_wanted = nullptr;  ///< while a name is asked for
    bool given_up = false;

    void give_up() noexcept;
};

class pool {
public:
    explicit pool(asio::io_context& io);
    ~pool();

    /// An idle connection that is still quiet, else nullptr. Never waits.
    link_ptr take_idle(const endpoint_ptr& to);
    /// Connects (DNS, TCP, TLS). `current` lives until this ends; giving it up ends this at once, whatever it
    /// waits for: a resolver that does not answer is left to itself.
    task<leased> connect(endpoint_ptr to, attempt* current);
    void give_back(link_ptr used);
    /// Closes what idled too long or is no longer quiet; called about once a second.
    void sweep(clock::time_point now);
    void clear();
    std::size_t idle() const noexcept;

private:
    struct bucket {
        std::vector<link_ptr> idle;  ///< last in, first out: the warmest
        ticket_slot ticket;
    };
    bucket& bucket_of(const endpoint& to);

    asio::io_context& io_;
    std::unordered_map<std::string, bucket> buckets_;
    names names_;
};

}  // namespace keyhole::proxy::upstream
