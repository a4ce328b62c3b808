// What every worker shares: objects that outlive all requests and are safe to use from any thread.
#pragma once

#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/metrics.hpp"
#include "proxy/log.hpp"
#include "proxy/session.hpp"

#include <atomic>
#include <cstdint>

namespace keyhole::proxy {

struct services {
    session_registry& registry;
    metering::journal& inflight;
    metering::ledger& books;
    metering::metrics& meters;
    logger& log;
    std::atomic<bool> draining{false};  ///< SIGTERM: no new requests
    std::atomic<std::uint64_t> agent_connections{0};
    std::atomic<unsigned> drains{0};  ///< answers read on after their agent hung up
};

}  // namespace keyhole::proxy
