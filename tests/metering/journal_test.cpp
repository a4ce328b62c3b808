#include "books_fixture.hpp"
#include "metering/journal.hpp"
#include "metering/journal_format.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <random>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <thread>

namespace keyhole::metering {

namespace {

using test::read_file;
using test::temp_dir;
using test::write_file;
using ::testing::HasSubstr;
namespace format = journal_format;

record named(const std::string& model)
{
    record r;
    r.request_id = new_request_id();
    r.session = "ses_a";
    r.model = model;
    r.received_us = now_us();
    return r;
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

/// A journal with one open and one settled request, as a process leaves it that dies; returns the file's
/// bytes.
std::string used_journal(const temp_dir& dir, unsigned slots = 8)
{
    journal j(dir / "inflight", slots, false);
    const auto open = j.open(named("open-one"));
    j.at(*open).counts.output = 7;
    const auto settled = j.open(named("settled-one"));
    record& r = j.at(*settled);
    r.end = outcome::ok;
    r.source = usage_source::provider;
    r.counts.input = 11;
    j.settle(*settled);
    return read_file(dir / "inflight");
}

TEST(Journal, HandsOutEverySlotOnceAndThenNone)
{
    const temp_dir dir;
    journal j(dir / "inflight", 5, false);
    EXPECT_EQ(j.capacity(), 5U);
    std::set<std::uint32_t> slots;
    for (int i = 0; i < 5; ++i) {
        const auto slot = j.open(named("m"));
        ASSERT_TRUE(slot);
        slots.insert(*slot);
    }
    EXPECT_EQ(slots.size(), 5U);
    EXPECT_EQ(j.used(), 5U);
    EXPECT_FALSE(j.open(named("one too many")));
    j.free_slot(*slots.begin());
    EXPECT_EQ(j.used(), 4U);
    EXPECT_TRUE(j.open(named("fits again")));
}

TEST(Journal, EVERY_REQUEST_ONE_ROW_GivesBackWhatTheLastProcessLeft)
{
    const temp_dir dir;
    used_journal(dir);
    journal j(dir / "inflight", 8, false);
    EXPECT_EQ(j.used(), 2U);
    const auto left = j.recover();
    ASSERT_EQ(left.size(), 2U);
    EXPECT_EQ(left[0].row.model.view(), "open-one");
    EXPECT_EQ(left[0].row.end, outcome::interrupted);
    EXPECT_EQ(left[0].row.source, usage_source::provider_partial) << "tokens were seen, their end was not";
    EXPECT_EQ(left[0].row.counts.output, 7);
    EXPECT_EQ(left[1].row.model.view(), "settled-one");
    EXPECT_EQ(left[1].row.end, outcome::ok);
    EXPECT_EQ(left[1].row.source, usage_source::provider);
    EXPECT_THAT(j.remarks(), ::testing::ElementsAre(HasSubstr("1 request in flight, 1 settled")));
}

TEST(Journal, KeepsALeftoversSlotTakenUntilItIsFreed)
{
    const temp_dir dir;
    used_journal(dir);
    {
        journal again(dir / "inflight", 8, false);  // dies before it wrote the rows
    }
    journal j(dir / "inflight", 8, false);
    const auto left = j.recover();
    ASSERT_EQ(left.size(), 2U);
    for (const auto& l : left) {
        j.free_slot(l.slot);
    }
    EXPECT_EQ(j.used(), 0U);
    for (int i = 0; i < 8; ++i) {
        EXPECT_TRUE(j.open(named("m")));
    }
}

TEST(Journal, IsEmptyAfterACleanEnd)
{
    const temp_dir dir;
    {
        journal j(dir / "inflight", 4, false);
        const auto slot = j.open(named("m"));
        j.settle(*slot);
        j.free_slot(*slot);
    }
    journal j(dir / "inflight", 4, false);
    EXPECT_TRUE(j.recover().empty());
    EXPECT_TRUE(j.remarks().empty());
    EXPECT_TRUE(dir.matching("damaged").empty());
}

TEST(Journal, RefusesASecondInstanceAndNamesTheFirst)
{
    const temp_dir dir;
    journal first(dir / "inflight", 4, false);
    const std::string error = failure_of([&] { journal second(dir / "inflight", 4, false); });
    EXPECT_THAT(error, HasSubstr("process " + std::to_string(::getpid())));
    EXPECT_THAT(error, HasSubstr("state.directory")) << "the remedy";
}

TEST(Journal, IsReadableByItsOwnerOnly)
{
    const temp_dir dir;
    const journal j(dir / "inflight", 4, false);
    struct stat status{};
    ASSERT_EQ(::stat((dir / "inflight").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_GE(status.st_blocks * 512, status.st_size) << "its space is reserved, not sparse";
}

TEST(Journal, GrowsAndShrinksWithTheConfiguration)
{
    const temp_dir dir;
    used_journal(dir, 4);
    {
        journal grown(dir / "inflight", 64, false);
        EXPECT_EQ(grown.capacity(), 64U);
        EXPECT_EQ(grown.recover().size(), 2U);
    }
    {
        journal small(dir / "inflight", 2, false);
        EXPECT_EQ(small.capacity(), 2U);
        EXPECT_EQ(small.recover().size(), 2U);
    }
    journal too_small(dir / "inflight", 1, false);
    EXPECT_EQ(too_small.capacity(), 2U) << "what it holds keeps its place";
    EXPECT_EQ(too_small.recover().size(), 2U);
}

TEST(Journal, RefusesASlotCountThatCannotBe)
{
    const temp_dir dir;
    EXPECT_THAT(failure_of([&] { journal j(dir / "inflight", 0, false); }), HasSubstr("journal_slots"));
    EXPECT_THAT(failure_of([&] { journal j(dir / "inflight", 1U << 30U, false); }),
                HasSubstr("journal_slots"));
}

TEST(Journal, SaysWhatToDoWithoutItsDirectory)
{
    const temp_dir dir;
    EXPECT_THAT(failure_of([&] { journal j(dir / "nowhere/inflight", 4, false); }),
                HasSubstr("create state.directory"));
}

TEST(Journal, TakesWhatCanBeReadFromATruncatedFileAndSetsItAside)
{
    const temp_dir dir;
    const std::string bytes = used_journal(dir);
    // The stack of free slots hands out slot 0 first, so it is the open one; the cut leaves it alone whole.
    write_file(dir / "inflight", bytes.substr(0, format::file_bytes(1) + 100));

    journal j(dir / "inflight", 8, false);
    const auto left = j.recover();
    ASSERT_EQ(left.size(), 1U);
    EXPECT_EQ(left[0].row.model.view(), "open-one");
    EXPECT_EQ(j.capacity(), 8U);
    EXPECT_THAT(j.remarks(), ::testing::Contains(HasSubstr("damaged")));
    EXPECT_EQ(dir.matching(".damaged-").size(), 1U);
}

TEST(Journal, KeepsWhatItTookFromADamagedFileOverAFurtherDeath)
{
    const temp_dir dir;
    const std::string bytes = used_journal(dir);
    write_file(dir / "inflight", bytes.substr(0, bytes.size() - 1));
    {
        journal dies_too(dir / "inflight", 8, false);
    }
    journal j(dir / "inflight", 8, false);
    const auto left = j.recover();
    ASSERT_EQ(left.size(), 2U);
    EXPECT_EQ(left[0].row.end, outcome::interrupted);
    EXPECT_EQ(left[1].row.end, outcome::ok);
    EXPECT_EQ(dir.matching(".damaged-").size(), 1U) << "the second start found nothing wrong";
}

TEST(Journal, FinishesAReplacementThatDiedBetweenItsTwoRenames)
{
    const temp_dir dir;
    used_journal(dir);
    std::filesystem::rename(dir / "inflight", dir / "inflight.new");
    journal j(dir / "inflight", 8, false);
    EXPECT_EQ(j.recover().size(), 2U);
}

TEST(Journal, TreatsASettledSlotWithABadChecksumAsInterrupted)
{
    const temp_dir dir;
    std::string bytes = used_journal(dir);
    const std::size_t model = bytes.find("settled-one");
    ASSERT_NE(model, std::string::npos);
    bytes[model] = '\x01';
    write_file(dir / "inflight", bytes);

    journal j(dir / "inflight", 8, false);
    const auto left = j.recover();
    ASSERT_EQ(left.size(), 2U);
    EXPECT_EQ(left[1].row.model.view(), "?ettled-one");
    EXPECT_EQ(left[1].row.end, outcome::interrupted);
    EXPECT_EQ(left[1].row.counts.input, 11);
    EXPECT_EQ(dir.matching(".damaged-").size(), 1U);
}

/// Programs before took a row's checksum word after word.
TEST(Journal, TakesASettledRowOfAProgramBeforeForWhole)
{
    const temp_dir dir;
    std::string bytes = used_journal(dir);
    const std::size_t at =
        bytes.find("settled-one") - offsetof(record, model.bytes) - offsetof(format::slot, row);
    std::uint64_t sequence = 0;
    std::memcpy(&sequence, bytes.data() + at + offsetof(format::slot, sequence), sizeof sequence);
    std::uint64_t h = sequence ^ 0x9E3779B97F4A7C15U;
    for (std::size_t i = 0; i < sizeof(record); i += sizeof h) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at + offsetof(format::slot, row) + i, sizeof word);
        h = (h ^ word) * 0xD6E8FEB86659FD93U;
        h ^= h >> 32U;
    }
    std::memcpy(bytes.data() + at + offsetof(format::slot, checksum), &h, sizeof h);
    const auto seen = format::scan(std::as_bytes(std::span(bytes)));
    ASSERT_EQ(seen.found.size(), 2U);
    EXPECT_EQ(seen.repaired, 0U);
    EXPECT_TRUE(seen.found[1].was_settled);
}

TEST(Journal, BeginsAnewOverAFileOfGarbageAndKeepsIt)
{
    const temp_dir dir;
    std::mt19937 random(8);  // a seed whose bytes look like no request id
    std::string garbage(20'000, '\0');
    for (char& c : garbage) {
        c = static_cast<char>(random());
    }
    write_file(dir / "inflight", garbage);
    journal j(dir / "inflight", 4, false);
    EXPECT_TRUE(j.recover().empty());
    EXPECT_EQ(j.capacity(), 4U);
    const auto aside = dir.matching(".damaged-");
    ASSERT_EQ(aside.size(), 1U);
    EXPECT_EQ(read_file(dir / aside[0]), garbage);
}

TEST(Journal, TakesAnEmptyFileForANewOne)
{
    const temp_dir dir;
    write_file(dir / "inflight", "");
    journal j(dir / "inflight", 4, false);
    EXPECT_EQ(j.capacity(), 4U);
    EXPECT_TRUE(dir.matching(".damaged-").empty());
}

/// The same bytes with another version in a valid header.
std::string as_version(std::string bytes, std::uint32_t version)
{
    format::header h = format::make_header(8);
    h.version = version;
    format::seal(h);
    std::memcpy(bytes.data(), &h, sizeof h);
    return bytes;
}

TEST(Journal, RefusesAnotherVersionThatStillHoldsRequests)
{
    const temp_dir dir;
    write_file(dir / "inflight", as_version(used_journal(dir), 9));
    const std::string error = failure_of([&] { journal j(dir / "inflight", 8, false); });
    EXPECT_THAT(error, HasSubstr("version 9"));
    EXPECT_THAT(error, HasSubstr("2 requests"));
    EXPECT_THAT(error, HasSubstr("start the program that wrote it once"));
}

TEST(Journal, ReplacesAnotherVersionThatHoldsNothing)
{
    const temp_dir dir;
    {
        const journal j(dir / "inflight", 8, false);
    }
    write_file(dir / "inflight", as_version(read_file(dir / "inflight"), 9));
    journal j(dir / "inflight", 8, false);
    EXPECT_EQ(j.capacity(), 8U);
    EXPECT_TRUE(j.recover().empty());
}

TEST(Journal, SurvivesAnyByteThatChanges)
{
    const temp_dir dir;
    const std::string good = used_journal(dir, 2);
    std::mt19937 random(42);
    for (int round = 0; round < 3000; ++round) {
        std::string bytes = good;
        for (int i = 0; i < 4; ++i) {
            bytes[random() % bytes.size()] = static_cast<char>(random());
        }
        const auto seen = format::scan(std::as_bytes(std::span(bytes)));
        ASSERT_LE(seen.found.size(), 2U);
        for (const auto& f : seen.found) {
            record r = f.row;
            ASSERT_TRUE(r.counts.input >= 0 && r.end <= outcome::internal_error);
        }
    }
}

TEST(Journal, SyncsToDiskWhenAsked)
{
    const temp_dir dir;
    journal j(dir / "inflight", 4, true);
    const auto slot = j.open(named("m"));
    ASSERT_TRUE(slot);
    j.settle(*slot);
    j.free_slot(*slot);
    EXPECT_EQ(j.used(), 0U);
}

/// KiB of this process's memory that lie in the file `path`.
std::size_t resident_kib(const std::string& path)
{
    std::istringstream maps(read_file("/proc/self/smaps"));
    std::size_t sum = 0;
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.find(" kB") == std::string::npos)
            inside = line.ends_with(path);
        else if (inside && line.starts_with("Rss:"))
            sum += std::stoul(line.substr(4));
    }
    return sum;
}

TEST(Journal, TakesMemoryForTheSlotsInUseOnly)
{
    const temp_dir dir;
    const std::string path = dir / "inflight";
    const auto serve = [](journal& j) {
        for (int i = 0; i < 1000; ++i) {
            const auto slot = j.open(named("one after the other"));
            j.settle(*slot);
            j.free_slot(*slot);
        }
    };
    {
        journal j(path, 4096, false);
        EXPECT_LE(resident_kib(path), 16U) << "when nothing was asked yet";
        serve(j);
        EXPECT_LE(resident_kib(path), 64U) << "free slots are taken again last in, first out";
    }
    journal again(path, 4096, false);
    serve(again);
    EXPECT_LE(resident_kib(path), 64U) << "after a start that has read all of it";
}

TEST(Journal, EVERY_REQUEST_ONE_ROW_RestsWithoutLosingWhatItHolds)
{
    const temp_dir dir;
    const std::string path = dir / "inflight";
    {
        journal j(path, 4096, false);
        std::vector<std::uint32_t> slots;
        for (int i = 0; i < 2000; ++i)
            slots.push_back(*j.open(named("m" + std::to_string(i))));
        for (int i = 0; i < 1000; ++i) {
            j.settle(slots[static_cast<std::size_t>(i)]);
        }
        ASSERT_GT(resident_kib(path), 2000U);
        j.rest();
        EXPECT_EQ(resident_kib(path), 0U);
        EXPECT_EQ(j.at(slots[1500]).model.view(), "m1500");
        j.at(slots[1500]).counts.output = 9;
        j.rest();
    }
    journal j(path, 4096, false);
    const auto left = j.recover();
    ASSERT_EQ(left.size(), 2000U);
    EXPECT_EQ(left[1500].row.counts.output, 9);
    EXPECT_EQ(left[999].row.end, outcome::in_flight) << "settled as it was";
    EXPECT_EQ(left[1000].row.end, outcome::interrupted);
}

TEST(Journal, GivesNoSlotToTwoThreadsAtOnce)
{
    const temp_dir dir;
    constexpr unsigned slots = 7;
    constexpr int threads = 8;
    journal j(dir / "inflight", slots, false);
    std::array<std::atomic<int>, slots> owners{};
    std::atomic<bool> shared{false};
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
        running.emplace_back([&, t] {
            for (int i = 0; i < 20'000; ++i) {
                const auto slot = j.open(named("m"));
                if (!slot) continue;
                if (owners[*slot].fetch_add(1) != 0) shared = true;
                j.at(*slot).counts.input = t;
                if (j.at(*slot).counts.input != t) shared = true;
                j.settle(*slot);
                owners[*slot].fetch_sub(1);
                j.free_slot(*slot);
            }
        });
    }
    for (auto& t : running) {
        t.join();
    }
    EXPECT_FALSE(shared);
    EXPECT_EQ(j.used(), 0U);
    for (unsigned i = 0; i < slots; ++i) {
        EXPECT_TRUE(j.open(named("all are back")));
    }
}

}  // namespace

}  // namespace keyhole::metering
