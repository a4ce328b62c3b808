// What every worker shares: objects that outlive all requests and are safe to use from any thread.
#pragma once

#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/metrics.hpp"
#include "proxy/log.hpp"
#include "proxy/session.hpp"

#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace keyhole::proxy {

namespace asio = boost::asio;

/// Objects that providers made for a session (a batch's result files), learned when the session looks at
/// their maker. Thread rule: any thread. Not kept over a restart: looking again teaches them again.
class adopted_objects {
public:
    /// `batch`: the id whose usage the object's content repeats; empty: none.
    void add(const std::string& id, metering::ledger::maker maker, std::string batch);
    metering::ledger::maker find(const std::string& id) const;
    std::string batch_of(const std::string& id) const;
    /// True once per name: whoever gets it may bill the usage that a stored object tells.
    bool claim(const std::string& name);

private:
    static constexpr std::size_t most_ = 100'000;
    mutable std::mutex mutex_;
    struct adopted {
        metering::ledger::maker maker;
        std::string batch;
    };
    std::unordered_map<std::string, adopted> makers_;
    std::unordered_set<std::string> claimed_;
};

struct services {
    session_registry& registry;
    metering::journal& inflight;
    metering::ledger& books;
    metering::metrics& meters;
    logger& log;
    asio::thread_pool& helpers;  ///< for the few look-ups that read the disk: never on a worker
    adopted_objects adopted{};
    std::atomic<bool> draining{false};  ///< SIGTERM: no new requests
    std::atomic<std::uint64_t> agent_connections{0};
    std::atomic<unsigned> drains{0};  ///< answers read on after their agent hung up
    /// All workers, for connections that arrive on one of them (hand-off). Fixed before the first connection.
    std::vector<class worker*> crew{};
    std::atomic<std::size_t> turn{0};  ///< whose turn it is to take such a connection
};

}  // namespace keyhole::proxy
