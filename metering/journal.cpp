#include "metering/journal.hpp"

#include "metering/journal_format.hpp"
#include "metering/storable.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <new>
#include <stdexcept>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace keyhole::metering {

namespace format = journal_format;

namespace {

[[noreturn]] void fail(const std::string& what, int error, const std::string& remedy)
{
    throw std::runtime_error(what + ": " + std::generic_category().message(error) + " (" + remedy + ")");
}

class descriptor {
public:
    descriptor() = default;
    explicit descriptor(int fd) : fd_(fd) {}
    ~descriptor() { reset(); }
    descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    descriptor& operator=(descriptor&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }

private:
    void reset() noexcept
    {
        if (fd_ >= 0) ::close(fd_);
    }
    int fd_ = -1;
};

class mapping {
public:
    mapping() = default;
    mapping(int fd, std::size_t size, int protection, int flags)
    {
        if (size == 0) return;
        void* at = ::mmap(nullptr, size, protection, flags, fd, 0);
        if (at == MAP_FAILED)
            fail("cannot map the journal", errno, "free memory, or lower state.journal_slots");
        bytes_ = {static_cast<std::byte*>(at), size};
    }
    ~mapping()
    {
        if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
    }
    mapping(mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    mapping& operator=(mapping&& other) noexcept
    {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    std::span<std::byte> bytes() const noexcept { return bytes_; }

private:
    std::span<std::byte> bytes_;
};

descriptor open_file(const std::string& path, int flags)
{
    descriptor fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd && errno != ENOENT) {
        fail("cannot open the journal " + path, errno, "check the owner and mode of state.directory");
    }
    return fd;
}

/// One process a journal. The lock has a file of its own because the journal's file is replaced when it is
/// damaged.
descriptor take_lock(const std::string& path)
{
    descriptor fd = open_file(path, O_RDWR | O_CREAT);
    if (!fd) fail("cannot create " + path, ENOENT, "create state.directory");
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            fail("cannot lock " + path, errno, "use a local file system for state.directory");
        char owner[24] = {};
        const auto n = ::pread(fd.get(), owner, sizeof owner - 1, 0);
        std::string who(owner, n > 0 ? static_cast<std::size_t>(n) : 0);
        std::erase_if(who, [](char c) { return c < '0' || c > '9'; });
        throw std::runtime_error("the journal beside " + path + " is in use by " +
                                 (who.empty() ? std::string("another process") : "process " + who) +
                                 " (stop it, or give this one another state.directory)");
    }
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd.get(), 0) == 0) {
        // Only a courtesy to the next one: without it the refusal cannot name the process.
        [[maybe_unused]] const auto n = ::pwrite(fd.get(), pid.data(), pid.size(), 0);
    }
    return fd;
}

/// Space is reserved now: a full disk must be an error at the start, not a SIGBUS in the middle of a request.
void reserve_space(int fd, const std::string& path, std::size_t bytes)
{
    int error = EINTR;
    while (error == EINTR) {
        error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    }
    if (error != 0) {
        fail("cannot reserve " + std::to_string(bytes) + " bytes for the journal " + path, error,
             "free disk space, or lower state.journal_slots");
    }
}

void write_header(int fd, const std::string& path, unsigned slots)
{
    const format::header h = format::make_header(slots);
    if (::pwrite(fd, &h, sizeof h, 0) != static_cast<ssize_t>(sizeof h)) {
        fail("cannot write the journal " + path, errno, "check the disk");
    }
}

void rename_file(const std::string& from, const std::string& to)
{
    if (::rename(from.c_str(), to.c_str()) != 0) {
        fail("cannot rename " + from + " to " + to, errno, "check the mode of state.directory");
    }
}

std::string unused_name(const std::string& base)
{
    std::string name = base;
    for (int i = 1; std::filesystem::exists(std::filesystem::symlink_status(name)); ++i) {
        name = base + "-" + std::to_string(i);
    }
    return name;
}

std::string plural(std::size_t n, const char* noun)
{
    return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

}  // namespace

struct journal::impl {
    std::string path;
    bool sync = false;
    descriptor lock;
    descriptor file;
    mapping memory;
    unsigned count = 0;
    std::vector<leftover> left;
    std::vector<std::string> notes;
    std::vector<format::leftover_slot> found;

    // Free slots form a stack. Its head carries a tag beside the index, so that a slot which was taken and
    // put back between another thread's load and exchange is noticed (ABA).
    static constexpr std::uint32_t nobody = UINT32_MAX;
    std::unique_ptr<std::atomic<std::uint32_t>[]> below;
    alignas(64) std::atomic<std::uint64_t> head{nobody};
    alignas(64) std::atomic<unsigned> taken{0};
    std::atomic<std::uint64_t> sequence{1};

    void start(unsigned slots);
    void examine(unsigned& slots);
    void create(const std::string& name, unsigned slots, std::span<const format::leftover_slot> rows) const;
    void resize(unsigned wanted, unsigned present);
    void build_free_list();

    format::slot& at(std::uint32_t index) const noexcept
    {
        auto* first = reinterpret_cast<format::slot*>(memory.bytes().data() + format::header_page);
        return std::launder(first)[index];
    }
    static void set_state(format::slot& s, std::uint32_t state) noexcept
    {
        std::atomic_ref<std::uint32_t>(s.state).store(state, std::memory_order_release);
    }
    std::uint32_t pop() noexcept;
    void push(std::uint32_t index) noexcept;
    void sync_slot(const format::slot& s) const noexcept;
};

/// A complete journal under `name`, its rows settled in the first slots.
void journal::impl::create(const std::string& name, unsigned slots,
                           std::span<const format::leftover_slot> rows) const
{
    ::unlink(name.c_str());
    const descriptor fd = open_file(name, O_RDWR | O_CREAT | O_EXCL);
    if (!fd) fail("cannot create the journal " + name, ENOENT, "create state.directory");
    const std::size_t size = format::file_bytes(slots);
    try {
        reserve_space(fd.get(), name, size);
        write_header(fd.get(), name, slots);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            format::slot s;
            s.state = format::slot_settled;
            s.sequence = rows[i].sequence;
            s.row = rows[i].row;
            const auto offset = static_cast<off_t>(format::file_bytes(i));
            // The checksum is over the row's bytes as they lie in the file, padding included.
            alignas(format::slot) std::array<std::byte, sizeof s> bytes;
            std::memcpy(bytes.data(), &s, sizeof s);
            const std::uint64_t sum =
                format::checksum_of(*std::launder(reinterpret_cast<format::slot*>(bytes.data())));
            std::memcpy(bytes.data() + offsetof(format::slot, checksum), &sum, sizeof sum);
            if (::pwrite(fd.get(), bytes.data(), bytes.size(), offset) != static_cast<ssize_t>(bytes.size()))
            {
                fail("cannot write the journal " + name, errno, "check the disk");
            }
        }
        // Without rows there is nothing that a power cut could take: any torn file is then as good as a new
        // one.
        if ((sync || !rows.empty()) && ::fsync(fd.get()) != 0)
            fail("cannot write the journal " + name, errno, "check the disk");
    } catch (...) {
        ::unlink(name.c_str());
        throw;
    }
}

/// Looks at what is there and leaves a good file at `path`; `slots` becomes the number that it has.
void journal::impl::examine(unsigned& slots)
{
    const std::string fresh = path + ".new";
    file = open_file(path, O_RDWR);
    if (!file && std::filesystem::exists(fresh)) {
        // Died between the two renames below: the new file is complete, only its name is missing.
        rename_file(fresh, path);
        file = open_file(path, O_RDWR);
    }
    if (!file) {
        create(fresh, slots, {});
        rename_file(fresh, path);
        file = open_file(path, O_RDWR);
        return;
    }
    struct stat status{};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        throw std::runtime_error("the journal " + path + " is not a regular file (move it away)");
    }
    format::scan_result seen;
    {
        const mapping content(file.get(), static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE);
        seen = format::scan(content.bytes());
    }
    if (seen.what == format::verdict::other_version && seen.held > 0) {
        throw std::runtime_error(
            "the journal " + path + " is of version " + std::to_string(seen.written_by) +
            " and still holds " + plural(seen.held, "request") +
            " (start the program that wrote it once, so that they become rows of the ledger; or move the "
            "file away, and they will be missing there)");
    }
    found = std::move(seen.found);
    if (seen.what == format::verdict::good) {
        resize(slots, seen.slots);
        slots = count;
        return;
    }
    if (seen.what == format::verdict::damaged) {
        const std::string aside = unused_name(path + ".damaged-" + std::to_string(now_us() / 1'000'000));
        notes.push_back("the journal was damaged: " + plural(found.size(), "request") + " read from it (" +
                        std::to_string(seen.repaired) + " of them in part), " + plural(seen.lost, "slot") +
                        " unreadable; the file is kept as " + aside);
        slots = std::max(slots, static_cast<unsigned>(found.size()));
        create(fresh, slots, found);
        rename_file(path, aside);
        for (std::size_t i = 0; i < found.size(); ++i) {
            found[i].index = static_cast<std::uint32_t>(i);
        }
    } else {
        create(fresh, slots, {});
    }
    rename_file(fresh, path);
    file = open_file(path, O_RDWR);
}

/// Grows the file, or shrinks it where nothing is in the way.
void journal::impl::resize(unsigned wanted, unsigned present)
{
    count = present;
    unsigned needed = wanted;
    for (const auto& f : found) {
        needed = std::max(needed, f.index + 1);
    }
    if (needed > present) {
        reserve_space(file.get(), path, format::file_bytes(needed));
        write_header(file.get(), path, needed);
        count = needed;
    } else if (needed < present && needed == wanted) {
        write_header(file.get(), path, needed);
        count = needed;
        // A longer file than the header says is good too, so a failure here costs nothing but space.
        [[maybe_unused]] const int ignored =
            ::ftruncate(file.get(), static_cast<off_t>(format::file_bytes(needed)));
    } else if (needed != wanted) {
        notes.push_back("the journal keeps its " + plural(present, "slot") +
                        " until what they hold is in the ledger");
    }
}

void journal::impl::build_free_list()
{
    std::vector<bool> in_use(count);
    for (const auto& f : found) {
        in_use[f.index] = true;
    }
    below = std::make_unique<std::atomic<std::uint32_t>[]>(count);
    for (unsigned i = count; i-- > 0;) {
        if (!in_use[i]) push(i);
    }
    taken = static_cast<unsigned>(found.size());
}

void journal::impl::start(unsigned slots)
{
    if (slots == 0 || slots > format::most_slots) {
        throw std::runtime_error("state.journal_slots = " + std::to_string(slots) +
                                 " is out of range (1 to " + std::to_string(format::most_slots) + ")");
    }
    lock = take_lock(path + ".lock");
    examine(slots);
    count = slots;
    const std::size_t size = format::file_bytes(count);
    reserve_space(file.get(), path, size);
    if (sync) {
        // The file's name must survive a power cut as well as its content does.
        const auto folder = std::filesystem::absolute(path).parent_path().string();
        const descriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!parent || ::fsync(parent.get()) != 0)
            fail("cannot sync " + folder, errno, "set state.durability = \"process\"");
    }
    // Its space is reserved, its pages come as slots are used: free slots are taken again last in, first out,
    // so a quiet proxy keeps to the first few of them.
    memory = mapping(file.get(), size, PROT_READ | PROT_WRITE, MAP_SHARED);

    build_free_list();
    std::size_t settled = 0;
    for (const auto& f : found) {
        sequence = std::max(sequence.load(), f.sequence + 1);
        settled += f.was_settled;
        left.push_back({f.index, f.row});
    }
    if (!found.empty()) {
        notes.push_back("recovered " + plural(found.size() - settled, "request") + " in flight, " +
                        std::to_string(settled) + " settled");
    }
    found.clear();
}

std::uint32_t journal::impl::pop() noexcept
{
    std::uint64_t top = head.load(std::memory_order_acquire);
    while (true) {
        const auto index = static_cast<std::uint32_t>(top);
        if (index == nobody) return nobody;
        const std::uint64_t tag = (top >> 32U) + 1;
        const std::uint64_t next = tag << 32U | below[index].load(std::memory_order_relaxed);
        if (head.compare_exchange_weak(top, next, std::memory_order_acq_rel, std::memory_order_acquire))
            return index;
    }
}

void journal::impl::push(std::uint32_t index) noexcept
{
    std::uint64_t top = head.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
        below[index].store(static_cast<std::uint32_t>(top), std::memory_order_relaxed);
        next = ((top >> 32U) + 1) << 32U | index;
    } while (!head.compare_exchange_weak(top, next, std::memory_order_release, std::memory_order_relaxed));
}

void journal::impl::sync_slot(const format::slot& s) const noexcept
{
    if (!sync) return;
    static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    std::byte* first = memory.bytes().data();  // at a page's begin, as every mapping
    const auto offset = static_cast<std::size_t>(reinterpret_cast<const std::byte*>(&s) - first);
    const std::size_t begin = offset / page * page;
    ::msync(first + begin, offset + sizeof s - begin, MS_SYNC);
}

journal::journal(const std::string& path, unsigned slots, bool sync_to_disk) : impl_(std::make_unique<impl>())
{
    impl_->path = path;
    impl_->sync = sync_to_disk;
    impl_->start(slots);
}

journal::~journal() = default;

std::vector<journal::leftover> journal::recover()
{
    return std::exchange(impl_->left, {});
}

std::optional<std::uint32_t> journal::open(const record& r) noexcept
{
    const std::uint32_t index = impl_->pop();
    if (index == impl::nobody) return std::nullopt;
    impl_->taken.fetch_add(1, std::memory_order_relaxed);
    format::slot& s = impl_->at(index);
    s.sequence = impl_->sequence.fetch_add(1, std::memory_order_relaxed);
    s.row = r;
    impl::set_state(s, format::slot_open);
    impl_->sync_slot(s);
    return index;
}

record& journal::at(std::uint32_t slot) noexcept
{
    return impl_->at(slot).row;
}

void journal::settle(std::uint32_t slot) noexcept
{
    format::slot& s = impl_->at(slot);
    if (s.row.ended_us == 0) s.row.ended_us = now_us();
    make_storable(s.row);
    s.checksum = format::checksum_of(s);
    impl::set_state(s, format::slot_settled);
    impl_->sync_slot(s);
}

void journal::free_slot(std::uint32_t slot) noexcept
{
    impl::set_state(impl_->at(slot), format::slot_free);
    impl_->taken.fetch_sub(1, std::memory_order_relaxed);
    impl_->push(slot);
}

void journal::rest() noexcept
{
    const std::span<std::byte> all = impl_->memory.bytes();
    // Of a shared file's mapping this gives up the pages only, not what they say: who looks again finds it.
    ::madvise(all.data(), all.size(), MADV_DONTNEED);
}

unsigned journal::used() const noexcept
{
    return impl_->taken.load(std::memory_order_relaxed);
}

unsigned journal::capacity() const noexcept
{
    return impl_->count;
}

const std::vector<std::string>& journal::remarks() const noexcept
{
    return impl_->notes;
}

}  // namespace keyhole::metering
