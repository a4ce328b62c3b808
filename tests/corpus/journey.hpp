// How a recorded case is asked for through the proxy: the path, the fields and the body that an agent of that
// API sends. By wire only: no rule knows a case. Plain functions.
#pragma once

#include "../metering_wires/corpus.hpp"

#include <string>
#include <utility>
#include <vector>

namespace keyhole::corpus {

using metering::corpus::test_case;

struct journey {
    std::string method = "POST";
    std::string path;  ///< empty: no API that Keyhole serves
    std::vector<std::pair<std::string, std::string>> fields;
    std::string body;
};

/// `asks_for_usage`: OpenAI chat and completions streams ask for their usage themselves, as the recorded ones
/// did; else the proxy has to.
journey journey_of(const test_case& c, bool asks_for_usage);

/// A stored answer is retrieved: by whoever made it, and billed once an id.
bool is_retrieval(const test_case& c);

/// The request that makes what a retrieval asks for, and the provider's answer to it.
journey made_first(const test_case& c, std::string& answer);

/// Whether the proxy inserts include_usage into this case's request when the agent doesn't.
bool may_insert(const test_case& c);

}  // namespace keyhole::corpus
