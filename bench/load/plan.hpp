// What a run of the load generator shall do. Thread rule: made once, then read.
#pragma once

#include "bench/common/sockets.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace keyhole::bench {

struct plan {
    address target;
    std::string path = "/v1/chat/completions";
    std::string token;
    std::string model = "gpt-4o-mini";
    std::vector<std::string> headers;  ///< "Name: value"
    std::string script;                ///< for the mock (mock/script.hpp); empty: none is sent
    std::uint64_t body_bytes = 2048;
    std::uint64_t connections = 1;
    std::uint64_t requests = 0;  ///< stop after so many; 0: by time
    double seconds = 1;
    double warmup = 0;  ///< what begins in these first seconds is counted but not timed
    double rate = 0;    ///< requests a second whatever the answers do (open loop); 0: closed loop
    int status = 200;   ///< any other is an error
    bool stream = false;
    std::uint64_t events = 0;   ///< content events that a stream must have; 0: any number
    bool foreign_body = false;  ///< the proxy may write the body anew: its size is not compared
    bool new_connections = false;
    bool hold = false;
    double patience = 30;  ///< seconds for what is still under way at the end
};

}  // namespace keyhole::bench
