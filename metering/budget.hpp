// BUDGET_HOLDS: what a session (and the account above it) may still use. Reserved before a request is
// forwarded, settled after, atomically over all limits of the session and its parents; outstanding
// reservations count; a reservation is released on every exit path. Thread rule: any thread. Time is passed
// in (microseconds since 1970); windows are UTC calendar windows.
#pragma once

#include "metering/limit.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace keyhole::metering {

/// The most that one request is expected to use; held until it settles.
struct demand {
    std::int64_t nano_usd = 0;
    std::int64_t tokens = 0;
    bool counts_request = true;  ///< false: models, count_tokens … neither counted nor limited as requests
};

/// Why a request was not admitted.
struct refusal {
    limit which;
    std::string owner;          ///< session or account id whose limit it is
    std::int64_t used = 0;      ///< settled in the window
    std::int64_t reserved = 0;  ///< held by requests in flight
    std::int64_t asked = 0;
    std::int64_t resets_us = 0;  ///< when the window ends; 0: never (total, concurrency)
};

/// What is left of the tightest limit of a unit.
struct remaining {
    std::optional<std::int64_t> nano_usd;
    std::optional<std::int64_t> tokens;
    std::optional<std::int64_t> requests;
    std::optional<std::int64_t> concurrency;  ///< further requests at once
};

/// One limit as it stands.
struct limit_state {
    limit which;
    std::int64_t used = 0;
    std::int64_t reserved = 0;
    std::int64_t resets_us = 0;  ///< 0: never
};

class budget;

/// Holds a demand on a budget and its parents; settles or releases exactly once.
class reservation {
public:
    reservation() = default;
    ~reservation();
    reservation(reservation&& other) noexcept;
    reservation& operator=(reservation&& other) noexcept;

    /// What was really used takes the place of what was held.
    void settle(std::int64_t nano_usd, std::int64_t tokens, std::int64_t now_us) noexcept;
    /// Nothing was forwarded: everything is given back, the request is not counted.
    void release() noexcept;
    const demand& held() const noexcept { return held_; }
    explicit operator bool() const noexcept { return owner_ != nullptr; }

private:
    friend class budget;
    std::shared_ptr<budget> owner_;
    demand held_;
    std::int64_t at_us_ = 0;
};

class budget : public std::enable_shared_from_this<budget> {
public:
    /// Must be owned by a shared_ptr (reservations keep it alive). Throws std::invalid_argument over eight
    /// levels of parents.
    budget(std::string owner, std::vector<limit> limits, std::shared_ptr<budget> parent = {});
    ~budget();
    budget(const budget&) = delete;
    budget& operator=(const budget&) = delete;

    /// What the ledger already holds for that limit's current window; called once per limit at start-up.
    void restore(const limit& which, std::int64_t used, std::int64_t now_us);

    std::variant<reservation, refusal> reserve(const demand& d, std::int64_t now_us);

    /// What was settled at `at_us` turned out to be counted elsewhere: it comes off again here and above, in
    /// the windows that are still known.
    void give_back(std::int64_t nano_usd, std::int64_t tokens, std::int64_t at_us) noexcept;

    /// Over this budget and its parents; units without a limit are nullopt.
    remaining left(std::int64_t now_us) const;
    bool limits_money() const noexcept;
    /// What it shares limits with; nullptr: nothing.
    const std::shared_ptr<budget>& parent() const noexcept { return parent_; }
    /// This budget's own limits as they stand (its parents' are not in it).
    std::vector<limit_state> state(std::int64_t now_us) const;
    /// Other limits from now on; what is in flight stays held. `used` tells what the ledger holds for a
    /// limit's current window (rows of all that settled before the call; it is asked without the lock); a
    /// limit whose unit and window stay never forgets what it has counted itself, and a new one counts what
    /// settles in between.
    void replace_limits(std::vector<limit> limits, std::int64_t now_us,
                        const std::function<std::int64_t(const limit&)>& used);
    /// Requests in flight on this budget itself (those that count as requests).
    std::int64_t in_flight() const noexcept;
    /// Nothing is held (tests, and the invariant at shutdown).
    bool idle() const noexcept;
    /// Not while another thread may replace them.
    const std::vector<limit>& limits() const noexcept { return limits_; }
    const std::string& owner() const noexcept { return owner_; }

private:
    friend class reservation;
    __extension__ using wide = __int128;
    struct counter;
    static std::int64_t asked_of(const limit& l, const demand& d) noexcept;
    void judge(const demand& d, std::int64_t now_us, std::optional<refusal>& worst);
    void hold(const demand& d) noexcept;
    void finish(const reservation& r, std::int64_t nano_usd, std::int64_t tokens, std::int64_t now_us,
                bool used) noexcept;

    std::string owner_;
    std::vector<limit> limits_;
    std::shared_ptr<budget> parent_;
    mutable std::mutex
        mutex_;  ///< a few compares and adds; parents are locked after children, always in that order
    std::vector<counter> counters_;
    std::int64_t in_flight_ = 0;
    /// By all reservations, whatever the limits. Where nothing is limited, demands of any size meet here:
    /// wide, so that what comes off is what was put on.
    wide held_nano_usd_ = 0;
    wide held_tokens_ = 0;
    /// What has settled since this budget was made.
    struct tally {
        wide nano_usd = 0;
        wide tokens = 0;
        std::int64_t requests = 0;
    };
    tally settled_;
};

}  // namespace keyhole::metering
