// EVERY_REQUEST_ONE_ROW under kill -9: a child process works as a proxy's books do, is killed at an arbitrary
// instant, and the next start must find every request that the child is known to have opened, each exactly
// once.
#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"

#include <atomic>
#include <csignal>
#include <cstring>
#include <map>
#include <new>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace keyhole::metering {

namespace {

using test::temp_dir;

constexpr unsigned workers = 3;
constexpr std::size_t most = 200'000;

/// What the child tells its parent; it outlives the child.
struct witness {
    struct worker {
        std::atomic<std::size_t> opened{0};  ///< ids[0 .. opened) were in the journal
        std::atomic<std::size_t> settled{0};
        std::array<std::array<std::uint8_t, 16>, most> ids{};
    };
    std::array<worker, workers> each;
};

class shared_witness {
public:
    shared_witness()
    {
        void* at = ::mmap(nullptr, sizeof(witness), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) std::abort();
        seen_ = static_cast<witness*>(
            at);  // zero pages are a valid witness; running its constructor would touch them all
    }
    ~shared_witness() { ::munmap(seen_, sizeof(witness)); }
    shared_witness(const shared_witness&) = delete;
    shared_witness& operator=(const shared_witness&) = delete;
    witness* operator->() const { return seen_; }

private:
    witness* seen_;
};

void work(journal& j, ledger* books, witness::worker& mine)
{
    for (std::size_t i = 0; i < most;) {
        record r;
        r.request_id = new_request_id();
        r.session = "ses_a";
        r.model = "gpt-4o";
        r.format = wire::openai_chat;
        r.received_us = now_us();
        const auto slot = j.open(r);
        if (!slot) {
            std::this_thread::yield();
            continue;
        }
        mine.ids[i] = r.request_id;
        mine.opened.store(i + 1);
        record& live = j.at(*slot);
        live.counts.input = 10;
        live.counts.output = 3;
        live.cost_nano_usd = 1000;
        live.source = usage_source::provider;
        live.priced = true;
        live.status = 200;
        live.end = outcome::ok;
        live.ended_us = now_us();
        j.settle(*slot);
        mine.settled.store(i + 1);
        ++i;
        if (books != nullptr) {
            books->submit(*slot);
        }
    }
}

[[noreturn]] void child(const temp_dir& dir, shared_witness& seen, bool with_ledger)
{
    journal j(dir / "inflight", 4096, false);
    std::unique_ptr<ledger> books;
    if (with_ledger) books = std::make_unique<ledger>(dir.path(), j, false);
    std::vector<std::thread> running;
    for (auto& mine : seen->each) {
        running.emplace_back([&] { work(j, books.get(), mine); });
    }
    for (auto& t : running) {
        t.join();
    }
    ::_exit(0);
}

/// Forks, lets the child open `requests`, kills it.
void run_and_kill(const temp_dir& dir, shared_witness& seen, bool with_ledger, std::size_t requests)
{
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) child(dir, seen, with_ledger);
    const auto opened = [&] {
        std::size_t sum = 0;
        for (const auto& w : seen->each) {
            sum += w.opened.load();
        }
        return sum;
    };
    ASSERT_TRUE(test::eventually([&] { return opened() >= requests; }, std::chrono::seconds(60)));
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status));
}

std::size_t opened_by(const shared_witness& seen)
{
    std::size_t sum = 0;
    for (const auto& w : seen->each) {
        sum += w.opened.load();
    }
    return sum;
}

std::size_t settled_by(const shared_witness& seen)
{
    std::size_t sum = 0;
    for (const auto& w : seen->each) {
        sum += w.settled.load();
    }
    return sum;
}

TEST(JournalCrash, EVERY_REQUEST_ONE_ROW_TheJournalAloneCountsExactlyAfterKill9)
{
    for (const std::size_t requests : {1U, 100U, 2000U}) {
        const temp_dir dir;
        shared_witness seen;
        run_and_kill(dir, seen, false, requests);

        journal j(dir / "inflight", 4096, false);
        std::size_t settled = 0;
        std::size_t open = 0;
        std::map<std::array<std::uint8_t, 16>, int> ids;
        for (const auto& l : j.recover()) {
            ++ids[l.row.request_id];
            (l.row.end == outcome::ok ? settled : open) += 1;
            if (l.row.end != outcome::ok) {
                EXPECT_EQ(l.row.end, outcome::interrupted);
            }
        }
        // Between an act and its note in the witness a worker can die, one request each.
        EXPECT_GE(settled, settled_by(seen));
        EXPECT_LE(settled, settled_by(seen) + workers);
        EXPECT_LE(open, workers);
        EXPECT_GE(settled + open, opened_by(seen));
        EXPECT_LE(settled + open, opened_by(seen) + workers);
        for (const auto& w : seen->each) {
            for (std::size_t i = 0; i < w.opened.load(); ++i) {
                ASSERT_EQ(ids[w.ids[i]], 1);
            }
        }
        EXPECT_TRUE(dir.matching(".damaged-").empty()) << "kill -9 is not damage";
    }
}

TEST(JournalCrash, EVERY_REQUEST_ONE_ROW_TheLedgerHasEachRequestOnceAfterKill9)
{
    for (const std::size_t requests : {300U, 5000U, 20'000U}) {
        const temp_dir dir;
        shared_witness seen;
        run_and_kill(dir, seen, true, requests);

        journal j(dir / "inflight", 4096, false);
        const ledger books(dir.path(), j, false);
        EXPECT_EQ(j.used(), 0U);
        std::map<std::array<std::uint8_t, 16>, int> ids;
        std::int64_t tokens = 0;
        std::size_t interrupted = 0;
        books.each_row({}, [&](const record& r) {
            ++ids[r.request_id];
            tokens += r.counts.total();
            interrupted += r.end == outcome::interrupted;
            return true;
        });
        for (const auto& w : seen->each) {
            for (std::size_t i = 0; i < w.opened.load(); ++i) {
                ASSERT_EQ(ids[w.ids[i]], 1) << i;
            }
        }
        EXPECT_LE(ids.size(), opened_by(seen) + workers);
        EXPECT_LE(interrupted, workers);
        const auto sums = books.usage({});
        ASSERT_EQ(sums.size(), 1U);
        EXPECT_EQ(sums[0].second.requests, static_cast<std::int64_t>(ids.size()));
        EXPECT_EQ(sums[0].second.counts.total(), tokens) << "roll-ups and rows agree";
    }
}

}  // namespace

}  // namespace keyhole::metering
