// What the mock provider would bill, key by key: the truth that a ledger is compared with. Thread rule: the
// provider's thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace keyhole::bench {

struct account {
    std::uint64_t requests = 0;
    std::uint64_t answered = 0;  ///< whole answers, handed to the kernel
    std::uint64_t cut = 0;       ///< answers whose reader went away
    std::uint64_t events = 0;
    std::uint64_t body_bytes = 0;
    std::uint64_t prompt_tokens = 0;  ///< cached ones included, as OpenAI counts
    std::uint64_t cached_tokens = 0;
    std::uint64_t completion_tokens = 0;
};

class books {
public:
    void add_key(const std::string& key) { accounts_.try_emplace(key); }
    /// nullptr: a key that the provider does not know.
    account* find(std::string_view key) noexcept;
    void refuse() noexcept { ++refused_; }
    void break_off() noexcept { ++broken_; }
    void accept() noexcept { ++connections_; }
    std::string as_json() const;
    void reset() noexcept;

private:
    std::map<std::string, account, std::less<>> accounts_;
    std::uint64_t refused_ = 0;
    std::uint64_t broken_ = 0;
    std::uint64_t connections_ = 0;
};

}  // namespace keyhole::bench
