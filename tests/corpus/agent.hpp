// The agent's side: asks over the proxy's unix socket and keeps every byte of the answer's body.
// Thread rule: blocks the caller.
#pragma once

#include "journey.hpp"

#include <chrono>
#include <string>

namespace keyhole::corpus {

struct answer {
    int status = 0;
    std::string request_id;
    std::string content_type;
    std::string content_encoding;
    std::string body;
    bool whole = false;  ///< the framing reached its end
    std::string problem;
};

/// One request on a connection of its own, with extra fields. What takes longer than `patience` altogether is
/// a problem.
answer ask(const std::string& socket, const std::string& token, const journey& j,
           const std::vector<std::pair<std::string, std::string>>& extra, std::chrono::seconds patience);

}  // namespace keyhole::corpus
