// An upstream that sends recorded answers, in the pieces that it is asked for. A request names its answer in
// the fields x-corpus-case and x-corpus-plan, which pass the proxy as unknown fields do. It demands the real
// key: a request without it gets a 401. Thread rule: threads of its own; constructed and destroyed by one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::corpus {

/// One answer as it goes over the wire.
struct recorded_answer {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> fields;  ///< without framing
    std::string_view body;                                    ///< outlives the answer
    std::vector<std::size_t> sizes;  ///< of the writes, the last one repeats; empty: one, with content-length
};

class recorded_provider {
public:
    using find_answer = std::function<recorded_answer(std::size_t a_case, std::size_t plan)>;

    /// Listens on a free port of the loopback. Throws std::runtime_error.
    recorded_provider(std::string key, find_answer find);
    ~recorded_provider();
    std::uint16_t port() const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::corpus
