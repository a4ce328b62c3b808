#include "metering/ledger.hpp"

#include "metering/ledger_queries.hpp"
#include "metering/ledger_trouble.hpp"
#include "metering/ledger_writer.hpp"
#include "metering/prune.hpp"
#include "metering/sqlite.hpp"
#include "metering/storable.hpp"
#include "metering/waiting_clock.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <filesystem>
#include <future>
#include <list>
#include <mutex>
#include <span>
#include <stdexcept>
#include <thread>
#include <tuple>

namespace keyhole::metering {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t most_rows_per_commit = 2048;
/// A tenth of a millisecond of work: whoever shares the writer's core gets it again after that.
constexpr std::size_t rows_a_step = 32;
constexpr milliseconds linger{50};       ///< a commit waits this long for company
constexpr milliseconds first_pause{50};  ///< after a failed commit, doubled up to
constexpr milliseconds longest_pause{2000};
constexpr double closing_seconds = 3;
constexpr std::chrono::minutes between_prunes{10};
constexpr int startup_busy_ms = 5000;
/// Short while running: the writer tries again anyway, and health() should tell of a locked database soon.
constexpr int running_busy_ms = 250;

/// A chore and who is told of its end.
struct errand {
    std::string name;
    ledger::chore work;
    std::function<void(std::exception_ptr)> ended;
};

/// Whoever needs the queue's lock has it meanwhile.
class unlocked {
public:
    explicit unlocked(std::unique_lock<std::mutex>& lock) : lock_(lock) { lock_.unlock(); }
    ~unlocked() { lock_.lock(); }
    unlocked(const unlocked&) = delete;
    unlocked& operator=(const unlocked&) = delete;

private:
    std::unique_lock<std::mutex>& lock_;
};

}  // namespace

struct ledger::impl {
    std::string path;
    journal& inflight;
    bool sync = false;
    std::function<void(const record&)> on_committed;

    // The writer's own: used by the constructor before the thread starts, by the thread afterwards.
    ledger_writer file;
    file_identity opened;

    mutable std::mutex mutex;
    std::condition_variable work;  ///< pending grew, somebody flushes, or the end came
    std::condition_variable done;  ///< committed grew
    std::deque<std::uint32_t>
        pending;  ///< settled slots whose rows are not committed, the batch being written at the front
    std::uint64_t submitted = 0;
    std::uint64_t committed = 0;
    std::uint64_t flush_target = 0;
    bool closing = false;
    ledger_health state;
    std::list<errand> errands;
    unsigned keep_days = 0;
    std::chrono::steady_clock::time_point next_prune;
    std::thread writer;

    impl(const std::string& directory, journal& j, bool sync_to_disk,
         std::function<void(const record&)> callback)
        : path(directory + "/ledger.db"), inflight(j), sync(sync_to_disk), on_committed(std::move(callback))
    {
    }

    void connect(int busy_ms);
    void write_leftovers(const std::function<void(record&)>& on_recovered);
    void announce(const record& row) const noexcept;

    void run();
    bool short_of_slots() const;
    bool in_a_hurry() const;
    void open_file();
    std::size_t take_some(std::unique_lock<std::mutex>& lock, std::size_t taken);
    std::size_t commit(std::unique_lock<std::mutex>& lock, std::size_t taken);
    bool write_batch(std::unique_lock<std::mutex>& lock);
    void wait_for_work(std::unique_lock<std::mutex>& lock);
    void do_errand(std::unique_lock<std::mutex>& lock);
    void end_errands(std::unique_lock<std::mutex>& lock, const std::string& why);
    void begin_prune();
    bool busy(const std::string& name) const;
};

void ledger::impl::connect(int busy_ms)
{
    file = {};  // first: closing a file that was moved away removes the log of its old name
    ledger_writer fresh(path, sync, busy_ms);
    fresh.wait_for_locks(running_busy_ms);
    file = std::move(fresh);
    opened = identity_of(path);
}

void ledger::impl::announce(const record& row) const noexcept
{
    if (!on_committed) return;
    try {
        on_committed(row);
        // NOLINTNEXTLINE(bugprone-empty-catch): the row is safe; a listener's failure is not the ledger's
    } catch (...) {
    }
}

/// EVERY_REQUEST_ONE_ROW: what the last process did not get to write.
void ledger::impl::write_leftovers(const std::function<void(record&)>& on_recovered)
{
    std::vector<journal::leftover> left = inflight.recover();
    const std::int64_t now = now_us();
    for (std::size_t at = 0; at < left.size(); at += most_rows_per_commit) {
        const std::span part(left.data() + at, std::min(most_rows_per_commit, left.size() - at));
        std::vector<const record*> rows;
        for (journal::leftover& l : part) {
            if (l.row.ended_us == 0) l.row.ended_us = now;
            if (on_recovered && l.row.end == outcome::interrupted) on_recovered(l.row);
            rows.push_back(&l.row);
        }
        const std::vector<std::size_t> inserted = file.write(rows);
        state.rows_written += inserted.size();
        ++state.commits;
        for (const std::size_t i : inserted) {
            announce(*rows[i]);
        }
        for (const journal::leftover& l : part) {
            inflight.free_slot(l.slot);
        }
    }
}

/// More rows wait than there is room for as many again.
bool ledger::impl::short_of_slots() const
{
    return inflight.capacity() - inflight.used() < 2 * pending.size();
}

/// Rows wait for company, unless somebody waits for them.
bool ledger::impl::in_a_hurry() const
{
    return closing || committed < flush_target || pending.size() >= most_rows_per_commit ||
           !errands.empty() || short_of_slots();
}

/// The file that the path names now.
void ledger::impl::open_file()
{
    if (!file || identity_of(path) != opened) connect(running_busy_ms);
}

/// The next few rows of the queue go into the transaction; how many. With the lock held, but not while it
/// works.
std::size_t ledger::impl::take_some(std::unique_lock<std::mutex>& lock, std::size_t taken)
{
    std::array<const record*, rows_a_step> rows{};
    const std::size_t n = std::min({pending.size() - taken, rows_a_step, most_rows_per_commit - taken});
    for (std::size_t i = 0; i < n; ++i) {
        rows[i] = &inflight.at(pending[taken + i]);
    }
    const bool hurry = in_a_hurry();
    const unlocked meanwhile(lock);
    if (taken == 0) open_file();
    file.take(std::span(rows).first(n));
    if (!hurry) std::this_thread::yield();
    return n;
}

/// How many of the queue's first rows were new. With the lock held, but not while it works.
std::size_t ledger::impl::commit(std::unique_lock<std::mutex>& lock, std::size_t taken)
{
    const auto end = pending.begin() + static_cast<std::ptrdiff_t>(taken);
    const std::vector<std::uint32_t> slots(pending.begin(), end);
    const unlocked meanwhile(lock);
    if (identity_of(path) != opened) throw std::runtime_error(path + " was moved away while it was written");
    const std::vector<std::size_t> inserted = file.commit();
    for (const std::size_t i : inserted) {
        announce(inflight.at(slots[i]));
    }
    return inserted.size();
}

/// Writes the front of the queue, a step at a time as it grows; false: it failed and everything is as it was.
/// Called and left with the lock held.
bool ledger::impl::write_batch(std::unique_lock<std::mutex>& lock)
{
    const auto until = waiting_clock::now() + linger;
    std::size_t taken = 0;
    std::size_t goal = most_rows_per_commit;
    std::string failure;
    bool broken = false;
    try {
        while (taken < goal) {
            work.wait_until(lock, until,
                            [&] { return in_a_hurry() || pending.size() >= taken + rows_a_step; });
            const bool over = in_a_hurry() || waiting_clock::now() >= until;
            if (over) goal = std::min(goal, pending.size());  // what comes later goes with the next
            if (taken < goal) taken += take_some(lock, taken);
        }
        state.rows_written += commit(lock, taken);
    } catch (const sqlite::error& e) {
        failure = std::string(e.what()) + " (" + remedy_for(e.code()) + ")";
        broken = !e.passing();
    } catch (const std::exception& e) {
        failure = e.what();
        broken = true;
    }
    state.failing = !failure.empty();
    if (state.failing) {
        ++state.failed_commits;
        state.last_error = std::move(failure);
        const unlocked meanwhile(lock);
        if (broken) file = {};  // begin anew: the file may have been repaired or replaced by then
        return false;
    }
    ++state.commits;
    // Out of the queue before the slot is free: answer_billed() reads the slots that the queue names.
    const auto end = pending.begin() + static_cast<std::ptrdiff_t>(taken);
    const std::vector<std::uint32_t> slots(pending.begin(), end);
    pending.erase(pending.begin(), end);
    for (const std::uint32_t slot : slots) {
        inflight.free_slot(slot);
    }
    committed += taken;
    done.notify_all();
    return true;
}

void ledger::impl::wait_for_work(std::unique_lock<std::mutex>& lock)
{
    const auto something = [&] { return closing || !pending.empty() || !errands.empty(); };
    while (!something()) {
        if (keep_days == 0) {
            work.wait(lock);
            continue;
        }
        if (std::chrono::steady_clock::now() >= next_prune) return begin_prune();
        work.wait_until(lock, waiting_clock::now() + std::chrono::seconds(1));
    }
}

/// Rows that arrive meanwhile wait for one slice at most.
void ledger::impl::do_errand(std::unique_lock<std::mutex>& lock)
{
    const chore& work_on = errands.front().work;  // only this thread takes errands away
    bool more = false;
    std::exception_ptr error;
    lock.unlock();
    try {
        open_file();
        more = work_on(file);
    } catch (const sqlite::error& failure) {
        error = std::current_exception();
        if (!failure.passing()) file = {};
    } catch (...) {
        error = std::current_exception();
    }
    lock.lock();
    if (more) return;
    const errand over = std::move(errands.front());
    errands.pop_front();
    state.chore_error = words_of(error);
    lock.unlock();
    over.ended(error);
    lock.lock();
}

void ledger::impl::end_errands(std::unique_lock<std::mutex>& lock, const std::string& why)
{
    while (!errands.empty()) {
        errand e = std::move(errands.front());
        errands.pop_front();
        lock.unlock();
        e.ended(std::make_exception_ptr(std::runtime_error(why)));
        lock.lock();
        state.chore_error = why;
    }
}

bool ledger::impl::busy(const std::string& name) const
{
    return std::ranges::any_of(errands, [&](const errand& e) { return e.name == name; });
}

/// With the lock held.
void ledger::impl::begin_prune()
{
    next_prune = std::chrono::steady_clock::now() + between_prunes;
    const std::int64_t now = now_us();
    const std::int64_t kept = std::int64_t{keep_days} * 86'400'000'000;
    auto p = std::make_shared<pruner>(prune_limit(now - kept, now));
    const auto ended = [this, p](const std::exception_ptr&) {
        const std::lock_guard guard(mutex);
        state.rows_pruned += static_cast<std::uint64_t>(p->report().rows);
    };
    errands.push_back({"retention", [p](ledger_writer& to) { return p->slice(to); }, ended});
}

void ledger::impl::run()
{
    std::unique_lock lock(mutex);
    milliseconds pause{0};
    while (true) {
        wait_for_work(lock);
        if (closing) end_errands(lock, "keyhole is stopping; begin again when it runs");
        if (pending.empty() && closing) return;
        if (!pending.empty()) {
            if (!write_batch(lock)) {
                end_errands(lock, "the ledger cannot be written: " + state.last_error);
                if (closing) return;
                pause = std::clamp(pause * 2, first_pause, longest_pause);
                work.wait_until(lock, waiting_clock::now() + pause, [&] { return closing; });
                continue;
            }
            pause = milliseconds{0};
        }
        if (!closing && !errands.empty()) do_errand(lock);
    }
}

ledger::ledger(const std::string& directory, journal& inflight, bool sync_to_disk,
               std::function<void(const record&)> on_committed,
               const std::function<void(record&)>& on_recovered)
    : impl_(std::make_unique<impl>(directory, inflight, sync_to_disk, std::move(on_committed)))
{
    try {
        impl_->connect(startup_busy_ms);
        impl_->write_leftovers(on_recovered);
    } catch (const sqlite::error& e) {
        throw std::runtime_error("cannot use the ledger " + impl_->path + ": " + e.what() + " (" +
                                 remedy_for(e.code()) + ")");
    } catch (const std::filesystem::filesystem_error& e) {
        throw std::runtime_error("cannot create " + directory + ": " + e.code().message() +
                                 " (create it, or choose another state.directory)");
    }
    impl_->writer = std::thread([this] { impl_->run(); });
}

ledger::~ledger()
{
    flush(closing_seconds);
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->closing = true;
    }
    impl_->work.notify_all();
    impl_->writer.join();
    try {
        if (impl_->file) impl_->file.db().exec("PRAGMA wal_checkpoint(TRUNCATE)");
        // NOLINTNEXTLINE(bugprone-empty-catch): the log stays beside the database for the next start
    } catch (const sqlite::error&) {
    }
}

void ledger::submit(std::uint32_t slot)
{
    bool wake = false;
    bool short_of_slots = false;
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->pending.push_back(slot);
        ++impl_->submitted;
        short_of_slots = impl_->short_of_slots();
        // The writer takes rows by the step, and what is left when it has lingered.
        wake = impl_->pending.size() == 1 || impl_->pending.size() % rows_a_step == 0 || short_of_slots;
    }
    if (wake) impl_->work.notify_one();
    if (short_of_slots) std::this_thread::yield();  // the writer may be waiting for this very core
}

bool ledger::flush(double seconds)
{
    std::unique_lock lock(impl_->mutex);
    const std::uint64_t target = impl_->submitted;
    impl_->flush_target = std::max(impl_->flush_target, target);
    impl_->work.notify_one();
    const auto limit =
        std::chrono::duration_cast<waiting_clock::duration>(std::chrono::duration<double>(seconds));
    return impl_->done.wait_until(lock, waiting_clock::now() + limit,
                                  [&] { return impl_->committed >= target; });
}

ledger_health ledger::health() const
{
    const std::lock_guard lock(impl_->mutex);
    ledger_health h = impl_->state;
    h.waiting = impl_->pending.size();
    if (!impl_->errands.empty()) h.chore = impl_->errands.front().name;
    return h;
}

void ledger::run(chore work)
{
    std::promise<void> finished;
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->closing) throw std::runtime_error("keyhole is stopping; begin again when it runs");
        impl_->errands.push_back({"", std::move(work), [&](const std::exception_ptr& error) {
                                      error ? finished.set_exception(error) : finished.set_value();
                                  }});
    }
    impl_->work.notify_one();
    finished.get_future().get();
}

bool ledger::start(std::string name, chore work)
{
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->closing || impl_->busy(name)) return false;
        impl_->state.chore_error.clear();
        impl_->errands.push_back({std::move(name), std::move(work), [](const std::exception_ptr&) {}});
    }
    impl_->work.notify_one();
    return true;
}

void ledger::keep_rows(unsigned days)
{
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->keep_days = days;
        impl_->next_prune = {};
    }
    impl_->work.notify_one();
}

const std::string& ledger::path() const noexcept
{
    return impl_->path;
}

std::vector<std::pair<std::string, usage_sum>> ledger::usage(const usage_query& q) const
{
    return queries::usage(impl_->path, q);
}

std::vector<record> ledger::rows(const usage_query& q) const
{
    return queries::rows(impl_->path, q);
}

void ledger::each_row(const usage_query& q, const std::function<bool(const record&)>& each) const
{
    queries::each_row(impl_->path, q, each);
}

bool ledger::answer_billed(std::string_view answer_id) const
{
    if (answer_id.empty()) return false;
    {
        // First what is not committed yet: a row moves from here into the database, never back.
        const std::lock_guard lock(impl_->mutex);
        for (const std::uint32_t slot : impl_->pending) {
            const record& r = impl_->inflight.at(slot);
            if (r.source != usage_source::none && r.answer_id.view() == answer_id) return true;
        }
    }
    return queries::answer_billed(impl_->path, answer_id);
}

ledger::object_usage ledger::usage_of(std::string_view answer_id, std::string_view provider) const
{
    if (answer_id.empty()) return {};
    std::vector<record> rows;
    {
        const std::lock_guard lock(impl_->mutex);
        for (const std::uint32_t slot : impl_->pending) {
            const record& r = impl_->inflight.at(slot);
            if (r.answer_id.view() == answer_id && r.provider.view() == provider) rows.push_back(r);
        }
    }
    return queries::usage_of(impl_->path, answer_id, provider, std::move(rows));
}

ledger::maker ledger::made_by(std::string_view answer_id) const
{
    if (answer_id.empty()) return {};
    maker waiting;
    {
        const std::lock_guard lock(impl_->mutex);
        for (const std::uint32_t slot : impl_->pending) {
            const record& r = impl_->inflight.at(slot);
            if (r.answer_id.view() != answer_id) continue;
            if (waiting.session.empty())
                waiting = {std::string(r.session.view()), std::string(r.account.view()), 0};
            waiting.tokens = std::max(waiting.tokens, r.counts.total());
        }
    }
    if (waiting.tokens != 0) return waiting;
    maker out = queries::made_by(impl_->path, answer_id);
    return out.session.empty() ? waiting : out;
}

}  // namespace keyhole::metering
