// Which of a provider's keys a request gets, and which of them rest. A session stays with one key: prompt
// caches and stored objects belong to the key's organization. While that key rests (429: as long as the
// provider says; 401: it is wrong or revoked), the session's requests get the next one. Nothing is refused
// here: where all of them rest, the one that wakes first is used, and the provider's answer is the answer.
// Nothing is sent twice either: a refused request is the agent's to repeat. Thread rule: any thread, no
// locks.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <memory>
#include <optional>
#include <string_view>

namespace keyhole::proxy::upstream {

class key_ring {
public:
    using clock = std::chrono::steady_clock;

    explicit key_ring(std::size_t keys);

    std::size_t size() const noexcept { return size_; }
    /// The index of the key for whoever `affinity` stands for. Needs at least one key.
    std::size_t choose(std::size_t affinity, clock::time_point now) const noexcept;
    /// The key rests at least that long. True: it did not rest before.
    bool rest(std::size_t key, std::chrono::seconds time, clock::time_point now) noexcept;

private:
    std::size_t size_;
    std::unique_ptr<std::atomic<clock::rep>[]> rests_until_;
};

/// How long a key rests after an answer with that status and those fields (empty: absent), seconds or an HTTP
/// date and milliseconds as providers send them; nullopt: the answer says nothing about the key.
std::optional<std::chrono::seconds> rest_after(int status, std::string_view retry_after,
                                               std::string_view retry_after_ms, std::time_t now) noexcept;

}  // namespace keyhole::proxy::upstream
