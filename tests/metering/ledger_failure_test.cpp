// The ledger when its file or its disk fails it: nothing is lost, nothing is counted twice, and the operator
// is told.
#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/sqlite.hpp"

#include <gmock/gmock.h>

#include <csignal>
#include <memory>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::metering {

namespace {

using test::eventually;
using test::random_record;
using test::temp_dir;
using ::testing::HasSubstr;

void submit(journal& j, ledger& books, const record& r)
{
    const auto slot = j.open(r);
    ASSERT_TRUE(slot);
    j.settle(*slot);
    books.submit(*slot);
}

std::string failure_of(const std::function<void()>& act)
{
    try {
        act();
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return {};
}

/// A process that takes the database's write lock when told and lets go when told.
class other_process {
public:
    /// Forks at once: before the test has threads.
    explicit other_process(const std::string& db)
    {
        if (::pipe(orders_) != 0 || ::pipe(reports_) != 0) std::abort();
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(orders_[1]);
            wait_for_byte(orders_[0]);
            sqlite::connection held(db, sqlite::mode::read_write, 5000);
            held.exec("BEGIN IMMEDIATE");
            send_byte(reports_[1]);
            wait_for_byte(orders_[0]);
            ::_exit(0);
        }
        ::close(orders_[0]);
        ::close(reports_[1]);
    }
    ~other_process()
    {
        ::close(orders_[1]);
        ::close(reports_[0]);
        if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    }
    other_process(const other_process&) = delete;
    other_process& operator=(const other_process&) = delete;

    bool lock()
    {
        send_byte(orders_[1]);
        return wait_for_byte(reports_[0]);
    }
    void let_go()
    {
        send_byte(orders_[1]);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

private:
    static void send_byte(int fd)
    {
        if (::write(fd, "x", 1) != 1) std::abort();
    }
    static bool wait_for_byte(int fd)
    {
        char byte = 0;
        return ::read(fd, &byte, 1) == 1;
    }
    int orders_[2] = {};
    int reports_[2] = {};
    pid_t pid_ = -1;
};

TEST(LedgerFailure, KeepsRowsWhileAnotherProcessLocksTheDatabase)
{
    const temp_dir dir;
    other_process other(dir / "ledger.db");
    journal inflight(dir / "inflight", 64, false);
    ledger books(dir.path(), inflight, false);
    ASSERT_TRUE(other.lock());

    std::mt19937 random(1);
    for (int i = 0; i < 10; ++i) {
        submit(inflight, books, random_record(random, now_us()));
    }
    EXPECT_TRUE(eventually([&] { return books.health().failing; }));
    EXPECT_FALSE(books.flush(0.01));
    const ledger_health h = books.health();
    EXPECT_EQ(h.waiting, 10U);
    EXPECT_EQ(h.rows_written, 0U);
    EXPECT_GE(h.failed_commits, 1U);
    EXPECT_THAT(h.last_error, HasSubstr("locked"));
    EXPECT_EQ(inflight.used(), 10U) << "the journal holds them meanwhile";
    EXPECT_TRUE(books.usage({}).empty()) << "reading is not blocked";

    other.let_go();
    EXPECT_TRUE(books.flush(20));
    EXPECT_EQ(books.usage({}).at(0).second.requests, 10);
    EXPECT_EQ(inflight.used(), 0U);
    EXPECT_FALSE(books.health().failing);
}

/// A small file system of its own, where the test may mount one.
class small_disk {
public:
    explicit small_disk(const std::string& at) : at_(at)
    {
        std::filesystem::create_directory(at);
        mounted_ = ::mount("none", at.c_str(), "tmpfs", 0, "size=8m") == 0;
    }
    ~small_disk()
    {
        if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
    }
    small_disk(const small_disk&) = delete;
    small_disk& operator=(const small_disk&) = delete;
    explicit operator bool() const { return mounted_; }

private:
    std::string at_;
    bool mounted_ = false;
};

TEST(LedgerFailure, EVERY_REQUEST_ONE_ROW_LosesNothingWhenTheDiskIsFull)
{
    const temp_dir dir;
    const std::string at = dir / "disk";
    const small_disk disk(at);
    if (!disk) GTEST_SKIP() << "mounting a file system needs root";
    journal inflight(dir / "inflight", 2048, false);
    ledger books(at, inflight, false);

    std::mt19937 random(2);
    submit(inflight, books, random_record(random, now_us()));
    ASSERT_TRUE(books.flush(10));
    test::write_file(at + "/ballast", std::string(8 << 20U, 'x'));  // as much as fits
    for (int i = 0; i < 1000; ++i) {
        submit(inflight, books, random_record(random, now_us()));
    }
    EXPECT_TRUE(eventually([&] { return books.health().failing; }));
    EXPECT_THAT(books.health().last_error, HasSubstr("free some space"));
    const std::size_t waiting = books.health().waiting;
    EXPECT_GT(waiting, 0U);
    EXPECT_EQ(inflight.used(), waiting);

    std::filesystem::remove(at + "/ballast");
    EXPECT_TRUE(books.flush(30));
    EXPECT_EQ(books.usage({}).at(0).second.requests, 1001);
    EXPECT_EQ(inflight.used(), 0U);
    EXPECT_FALSE(books.health().failing);
}

TEST(LedgerFailure, LeavesRowsInTheJournalWhenItMustCloseWithoutWriting)
{
    const temp_dir dir;
    std::mt19937 random(3);
    const std::string db = dir / "ledger.db";
    {
        journal inflight(dir / "inflight", 64, false);
        auto books = std::make_unique<ledger>(dir.path(), inflight, false);
        sqlite::connection blocker(db, sqlite::mode::read_write, 1000);
        blocker.exec("BEGIN IMMEDIATE");
        for (int i = 0; i < 3; ++i) {
            submit(inflight, *books, random_record(random, now_us()));
        }
        books.reset();
        EXPECT_EQ(inflight.used(), 3U);
    }
    journal inflight(dir / "inflight", 64, false);
    const ledger books(dir.path(), inflight, false);
    EXPECT_EQ(books.rows({}).size(), 3U);
    EXPECT_EQ(inflight.used(), 0U);
}

TEST(LedgerFailure, BeginsANewFileWhenTheOldOneIsMovedAway)
{
    const temp_dir dir;
    journal inflight(dir / "inflight", 64, false);
    ledger books(dir.path(), inflight, false);
    std::mt19937 random(4);
    submit(inflight, books, random_record(random, now_us()));
    ASSERT_TRUE(books.flush(10));
    for (const std::string& name : dir.matching("ledger.db")) {
        std::filesystem::rename(dir / name, dir / ("old-" + name));
    }
    submit(inflight, books, random_record(random, now_us()));
    ASSERT_TRUE(books.flush(10));
    EXPECT_EQ(books.rows({}).size(), 1U) << "the new row is in the file that is there now";
}

TEST(LedgerFailure, DoesNotTakeTheLogOfAFileThatWasMovedAwayForItsOwn)
{
    const temp_dir dir;
    std::string log;
    {
        journal inflight(dir / "inflight", 8, false);
        ledger books(dir.path(), inflight, false);
        std::mt19937 random(5);
        submit(inflight, books, random_record(random, now_us()));
        ASSERT_TRUE(books.flush(10));
        log = test::read_file(dir / "ledger.db-wal");
        ASSERT_FALSE(log.empty());
    }
    std::filesystem::remove(dir / "ledger.db");
    test::write_file(dir / "ledger.db-wal", log);
    journal inflight(dir / "inflight", 8, false);
    const ledger books(dir.path(), inflight, false);
    EXPECT_TRUE(books.rows({}).empty());
}

TEST(LedgerFailure, BeginsAgainAfterAFirstStartThatDied)
{
    const temp_dir dir;
    test::write_file(dir / "ledger.db.new", std::string(5000, 'x'));
    test::write_file(dir / "ledger.db", "");
    journal inflight(dir / "inflight", 8, false);
    ledger books(dir.path(), inflight, false);
    std::mt19937 random(6);
    submit(inflight, books, random_record(random, now_us()));
    ASSERT_TRUE(books.flush(10));
    EXPECT_EQ(books.rows({}).size(), 1U);
    EXPECT_TRUE(dir.matching(".new").empty());
}

TEST(LedgerFailure, SaysWhatToDoAboutAFileThatIsNoDatabase)
{
    const temp_dir dir;
    test::write_file(dir / "ledger.db", std::string(8192, 'x'));
    journal inflight(dir / "inflight", 4, false);
    const std::string error = failure_of([&] { ledger books(dir.path(), inflight, false); });
    EXPECT_THAT(error, HasSubstr("ledger.db"));
    EXPECT_THAT(error, HasSubstr("not a SQLite database"));
    EXPECT_THAT(error, HasSubstr("move it away"));
}

TEST(LedgerFailure, RefusesADatabaseOfAnotherProgramOrOfANewerVersion)
{
    const temp_dir dir;
    const std::string db = dir / "ledger.db";
    sqlite::connection(db, sqlite::mode::create, 1000).exec("CREATE TABLE recipes (name TEXT)");
    journal inflight(dir / "inflight", 4, false);
    EXPECT_THAT(failure_of([&] { ledger books(dir.path(), inflight, false); }), HasSubstr("another program"));

    std::filesystem::remove(db);
    {
        const ledger books(dir.path(), inflight, false);
    }
    sqlite::connection(db, sqlite::mode::read_write, 1000).exec("PRAGMA user_version = 99");
    EXPECT_THAT(failure_of([&] { ledger books(dir.path(), inflight, false); }), HasSubstr("newer version"));
}

TEST(LedgerFailure, KeepsLeftoversWhenItCannotStart)
{
    const temp_dir dir;
    {
        journal inflight(dir / "inflight", 8, false);
        record r;
        r.request_id = new_request_id();
        ASSERT_TRUE(inflight.open(r));
    }
    test::write_file(dir / "ledger.db", std::string(8192, 'x'));
    {
        journal inflight(dir / "inflight", 8, false);
        EXPECT_FALSE(failure_of([&] { ledger books(dir.path(), inflight, false); }).empty());
    }
    std::filesystem::remove(dir / "ledger.db");
    journal inflight(dir / "inflight", 8, false);
    const ledger books(dir.path(), inflight, false);
    const auto rows = books.rows({});
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].end, outcome::interrupted);
    EXPECT_GT(rows[0].ended_us, 0);
}

}  // namespace

}  // namespace keyhole::metering
