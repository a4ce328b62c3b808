#include "metering/budget.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace keyhole::metering {

namespace {

/// session -> account -> …; deeper chains are a mistake of the caller.
constexpr std::size_t deepest_chain = 8;

std::int64_t plus(std::int64_t a, std::int64_t b) noexcept
{
    std::int64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

__extension__ using wide = __int128;

std::int64_t narrow(wide value) noexcept
{
    return static_cast<std::int64_t>(std::clamp<wide>(value, INT64_MIN, INT64_MAX));
}

/// How long a refused request would have to wait: a limit that never resets refuses hardest, one of
/// concurrency least.
std::int64_t hardness(const refusal& r) noexcept
{
    if (r.which.unit == limit_unit::concurrency) return 0;
    return r.resets_us == 0 ? INT64_MAX : r.resets_us;
}

}  // namespace

/// What one limit has seen. Reservations belong to no window: what is in flight counts in whichever is
/// current.
struct budget::counter {
    struct seen {
        std::int64_t start = INT64_MIN;
        std::int64_t used = 0;
    };
    seen window;
    seen
        before;  ///< the window that was current before: a clock that jumps and is put right comes back to it
    wide reserved = 0;

    /// Forward begins a new window at zero. A clock set back moves the window but gives nothing back. Coming
    /// back to the window that was left finds what was used there.
    void roll(limit_window w, std::int64_t now_us) noexcept
    {
        const std::int64_t current = window_start(w, now_us);
        if (current == window.start) return;
        const seen left = window;
        if (current == before.start)
            window.used = current > left.start ? std::max(left.used, before.used) : before.used;
        else if (current > left.start)
            window.used = 0;
        window.start = current;
        before = left;
    }

    /// Gives a request back to the window that it was taken from, if that is still known.
    void give_back(limit_window w, std::int64_t taken_us, std::int64_t count) noexcept
    {
        const std::int64_t start = window_start(w, taken_us);
        for (seen* s : {&window, &before}) {
            if (s->start == start) {
                s->used = std::max<std::int64_t>(s->used - count, 0);
                return;
            }
        }
    }
};

namespace {

/// A budget and its parents, all locked, child first: the one order everywhere, so two chains that meet
/// cannot wait for each other.
class locked_chain {
public:
    template <class Budget, class MutexOf, class ParentOf>
    locked_chain(Budget* first, MutexOf mutex_of, ParentOf parent_of) noexcept
    {
        for (Budget* b = first; b != nullptr; b = parent_of(b)) {
            locks_[size_++] = std::unique_lock(mutex_of(b));
        }
    }

private:
    std::array<std::unique_lock<std::mutex>, deepest_chain> locks_;
    std::size_t size_ = 0;
};

}  // namespace

// ---- reservation

reservation::~reservation()
{
    release();
}

reservation::reservation(reservation&& other) noexcept
    : owner_(std::move(other.owner_)), held_(other.held_), at_us_(other.at_us_)
{
    other.owner_.reset();
}

reservation& reservation::operator=(reservation&& other) noexcept
{
    if (this != &other) {
        release();
        owner_ = std::move(other.owner_);
        other.owner_.reset();
        held_ = other.held_;
        at_us_ = other.at_us_;
    }
    return *this;
}

void reservation::settle(std::int64_t nano_usd, std::int64_t tokens, std::int64_t now_us) noexcept
{
    if (const auto owner = std::exchange(owner_, nullptr))
        owner->finish(*this, nano_usd, tokens, now_us, true);
}

void reservation::release() noexcept
{
    if (const auto owner = std::exchange(owner_, nullptr)) owner->finish(*this, 0, 0, at_us_, false);
}

// ---- budget

budget::budget(std::string owner, std::vector<limit> limits, std::shared_ptr<budget> parent)
    : owner_(std::move(owner))
    , limits_(std::move(limits))
    , parent_(std::move(parent))
    , counters_(limits_.size())
{
    std::size_t depth = 1;
    for (const budget* b = parent_.get(); b != nullptr; b = b->parent_.get()) {
        if (++depth > deepest_chain) throw std::invalid_argument("budgets are nested too deeply");
    }
}

budget::~budget() = default;

void budget::restore(const limit& which, std::int64_t used, std::int64_t now_us)
{
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < limits_.size(); ++i) {
        if (limits_[i] != which || which.unit == limit_unit::concurrency) continue;
        counters_[i].roll(which.window, now_us);
        counters_[i].window.used = plus(counters_[i].window.used, used);
        return;
    }
}

/// What `d` asks of a limit; 0: nothing.
std::int64_t budget::asked_of(const limit& l, const demand& d) noexcept
{
    switch (l.unit) {
    case limit_unit::usd:
        return std::max<std::int64_t>(d.nano_usd, 0);
    case limit_unit::tokens:
        return std::max<std::int64_t>(d.tokens, 0);
    case limit_unit::requests:
    case limit_unit::concurrency:
        return d.counts_request ? 1 : 0;
    }
    return 0;
}

/// The limit of this budget alone that stands hardest against `d`. Its mutex is held.
void budget::judge(const demand& d, std::int64_t now_us, std::optional<refusal>& worst)
{
    for (std::size_t i = 0; i < limits_.size(); ++i) {
        const limit& l = limits_[i];
        counter& c = counters_[i];
        c.roll(l.window, now_us);
        refusal r{l, owner_, c.window.used, narrow(c.reserved), asked_of(l, d), 0};
        if (l.unit == limit_unit::concurrency) r.reserved = in_flight_;
        // A request that asks for nothing is still refused where more was spent than the limit allows; one
        // that isn't counted never is.
        if (r.asked == 0 && !d.counts_request) continue;
        if (plus(plus(r.used, r.reserved), r.asked) <= l.value) continue;
        if (l.unit != limit_unit::concurrency && l.window != limit_window::total)
            r.resets_us = window_end(l.window, now_us);
        if (!worst || hardness(r) > hardness(*worst)) worst = std::move(r);
    }
}

/// Takes what judge() allowed. The mutex is held since.
void budget::hold(const demand& d) noexcept
{
    for (std::size_t i = 0; i < limits_.size(); ++i) {
        counter& c = counters_[i];
        switch (limits_[i].unit) {
        case limit_unit::usd:
        case limit_unit::tokens:
            c.reserved += asked_of(limits_[i], d);
            break;
        case limit_unit::requests:
            c.window.used += d.counts_request ? 1 : 0;
            break;
        case limit_unit::concurrency:
            break;
        }
    }
    in_flight_ += d.counts_request ? 1 : 0;
    held_nano_usd_ += std::max<std::int64_t>(d.nano_usd, 0);
    held_tokens_ += std::max<std::int64_t>(d.tokens, 0);
}

// BUDGET_HOLDS: every limit of the chain is looked at and taken under all its locks, so no other request fits
// in between.
std::variant<reservation, refusal> budget::reserve(const demand& d, std::int64_t now_us)
{
    std::shared_ptr<budget> self = shared_from_this();
    const locked_chain locks(
        this, [](budget* b) -> std::mutex& { return b->mutex_; }, [](budget* b) { return b->parent_.get(); });
    std::optional<refusal> worst;
    for (budget* b = this; b != nullptr; b = b->parent_.get()) {
        b->judge(d, now_us, worst);
    }
    if (worst) return std::move(*worst);
    for (budget* b = this; b != nullptr; b = b->parent_.get()) {
        b->hold(d);
    }
    reservation r;
    r.owner_ = std::move(self);
    r.held_ = d;
    r.at_us_ = now_us;
    return r;
}

void budget::finish(const reservation& r, std::int64_t nano_usd, std::int64_t tokens, std::int64_t now_us,
                    bool used) noexcept
{
    const locked_chain locks(
        this, [](budget* b) -> std::mutex& { return b->mutex_; }, [](budget* b) { return b->parent_.get(); });
    for (budget* b = this; b != nullptr; b = b->parent_.get()) {
        for (std::size_t i = 0; i < b->limits_.size(); ++i) {
            const limit& l = b->limits_[i];
            counter& c = b->counters_[i];
            const std::int64_t held = asked_of(l, r.held_);
            switch (l.unit) {
            case limit_unit::usd:
            case limit_unit::tokens:
                c.reserved -= held;
                if (used) {
                    c.roll(l.window, now_us);
                    c.window.used =
                        plus(c.window.used,
                             std::max<std::int64_t>(l.unit == limit_unit::usd ? nano_usd : tokens, 0));
                }
                break;
            case limit_unit::requests:
                if (!used) c.give_back(l.window, r.at_us_, held);
                break;
            case limit_unit::concurrency:
                break;
            }
        }
        b->in_flight_ -= r.held_.counts_request ? 1 : 0;
        b->held_nano_usd_ -= std::max<std::int64_t>(r.held_.nano_usd, 0);
        b->held_tokens_ -= std::max<std::int64_t>(r.held_.tokens, 0);
        if (!used) continue;
        b->settled_.nano_usd += std::max<std::int64_t>(nano_usd, 0);
        b->settled_.tokens += std::max<std::int64_t>(tokens, 0);
        b->settled_.requests += r.held_.counts_request ? 1 : 0;
    }
}

void budget::give_back(std::int64_t nano_usd, std::int64_t tokens, std::int64_t at_us) noexcept
{
    const locked_chain locks(
        this, [](budget* b) -> std::mutex& { return b->mutex_; }, [](budget* b) { return b->parent_.get(); });
    for (budget* b = this; b != nullptr; b = b->parent_.get()) {
        for (std::size_t i = 0; i < b->limits_.size(); ++i) {
            const limit_unit unit = b->limits_[i].unit;
            if (unit == limit_unit::usd) b->counters_[i].give_back(b->limits_[i].window, at_us, nano_usd);
            if (unit == limit_unit::tokens) b->counters_[i].give_back(b->limits_[i].window, at_us, tokens);
        }
        b->settled_.nano_usd -= nano_usd;
        b->settled_.tokens -= tokens;
    }
}

std::vector<limit_state> budget::state(std::int64_t now_us) const
{
    std::vector<limit_state> out;
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < limits_.size(); ++i) {
        const limit& l = limits_[i];
        counter c = counters_[i];
        c.roll(l.window, now_us);
        limit_state s{l, c.window.used, narrow(c.reserved), 0};
        if (l.unit == limit_unit::concurrency)
            s.used = in_flight_;
        else if (l.window != limit_window::total)
            s.resets_us = window_end(l.window, now_us);
        out.push_back(s);
    }
    return out;
}

void budget::replace_limits(std::vector<limit> limits, std::int64_t now_us,
                            const std::function<std::int64_t(const limit&)>& used)
{
    std::unique_lock lock(mutex_);
    const tally before = settled_;
    lock.unlock();
    std::vector<counter> counters(limits.size());
    for (std::size_t i = 0; i < limits.size(); ++i) {
        counters[i].roll(limits[i].window, now_us);
        if (limits[i].unit != limit_unit::concurrency) counters[i].window.used = used(limits[i]);
    }
    lock.lock();
    // What settled while the ledger was asked may or may not be in its answer: counted, rather twice than
    // never.
    // (Less than nothing, where an estimate was given back: the ledger's answer lacks it already, or may.)
    const tally meanwhile{std::max<wide>(settled_.nano_usd - before.nano_usd, 0),
                          std::max<wide>(settled_.tokens - before.tokens, 0),
                          settled_.requests - before.requests};
    for (std::size_t i = 0; i < limits.size(); ++i) {
        const limit& l = limits[i];
        std::int64_t& seen = counters[i].window.used;
        const auto kept = std::ranges::find_if(
            limits_, [&](const limit& old) { return old.unit == l.unit && old.window == l.window; });
        // What this limit counted itself is exact, and the ledger lags behind by what is not committed yet.
        // Where the ledger holds more money or tokens (rows that came another way), it is right.
        if (kept != limits_.end()) {
            const std::int64_t written = seen;
            counters[i] = counters_[static_cast<std::size_t>(kept - limits_.begin())];
            counters[i].roll(l.window, now_us);
            if (l.unit == limit_unit::usd || l.unit == limit_unit::tokens) seen = std::max(seen, written);
        } else if (l.unit == limit_unit::usd)
            seen = narrow(wide{seen} + meanwhile.nano_usd);
        else if (l.unit == limit_unit::tokens)
            seen = narrow(wide{seen} + meanwhile.tokens);
        else if (l.unit == limit_unit::requests)
            seen = plus(plus(seen, meanwhile.requests), in_flight_);  // those in flight have no rows yet
        if (limits[i].unit == limit_unit::usd) counters[i].reserved = held_nano_usd_;
        if (limits[i].unit == limit_unit::tokens) counters[i].reserved = held_tokens_;
    }
    limits_ = std::move(limits);
    counters_ = std::move(counters);
}

remaining budget::left(std::int64_t now_us) const
{
    remaining tightest;
    for (const budget* b = this; b != nullptr; b = b->parent_.get()) {
        const std::lock_guard lock(b->mutex_);
        for (std::size_t i = 0; i < b->limits_.size(); ++i) {
            const limit& l = b->limits_[i];
            counter c = b->counters_[i];
            c.roll(l.window, now_us);
            const std::int64_t rest =
                std::max<std::int64_t>(l.value - std::min(l.unit == limit_unit::concurrency
                                                              ? b->in_flight_
                                                              : narrow(wide{c.window.used} + c.reserved),
                                                          l.value),
                                       0);
            std::optional<std::int64_t>* unit = nullptr;
            switch (l.unit) {
            case limit_unit::usd:
                unit = &tightest.nano_usd;
                break;
            case limit_unit::tokens:
                unit = &tightest.tokens;
                break;
            case limit_unit::requests:
                unit = &tightest.requests;
                break;
            case limit_unit::concurrency:
                unit = &tightest.concurrency;
                break;
            }
            *unit = unit->has_value() ? std::min(**unit, rest) : rest;
        }
    }
    return tightest;
}

bool budget::limits_money() const noexcept
{
    for (const budget* b = this; b != nullptr; b = b->parent_.get()) {
        const std::lock_guard lock(b->mutex_);
        if (std::ranges::any_of(b->limits_, [](const limit& l) { return l.unit == limit_unit::usd; }))
            return true;
    }
    return false;
}

std::int64_t budget::in_flight() const noexcept
{
    const std::lock_guard lock(mutex_);
    return in_flight_;
}

bool budget::idle() const noexcept
{
    const std::lock_guard lock(mutex_);
    return in_flight_ == 0 &&
           std::ranges::all_of(counters_, [](const counter& c) { return c.reserved == 0; });
}

}  // namespace keyhole::metering
