// links: keyhole_books
// A journal file of arbitrary bytes: whatever a disk, a crash or another program left there, the start must
// neither crash nor lose its way, and what it recovers must be fit to be stored. One byte of the input
// chooses what is done with the rest.
#include "metering/journal.hpp"
#include "metering/journal_format.hpp"
#include "metering/storable.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

using namespace keyhole::metering;
namespace format = journal_format;

const std::string& directory()
{
    static const std::string path = [] {
        std::string name = "/dev/shm/journal-fuzz-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        return name;
    }();
    return path;
}

void demand(bool holds)
{
    if (!holds) std::abort();
}

void check_rows(const format::scan_result& seen)
{
    for (const format::leftover_slot& f : seen.found) {
        record r = f.row;
        demand(make_storable(r));
        demand(f.was_settled || r.end == outcome::interrupted);
    }
}

/// The bytes as a file, opened as a proxy opens it, twice: the second start must find what the first left.
void open_as_file(std::span<const std::byte> bytes)
{
    std::filesystem::remove_all(directory());
    std::filesystem::create_directory(directory());
    const std::string path = directory() + "/inflight";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    try {
        std::size_t left = 0;
        {
            journal first(path, 4, false);
            left = first.recover().size();
            demand(first.used() == left);
        }
        journal second(path, 4, false);
        const auto again = second.recover();
        demand(again.size() == left);
        for (const auto& l : again) {
            second.free_slot(l.slot);
        }
        demand(second.used() == 0);
        record r;
        const auto slot = second.open(r);
        demand(slot.has_value());
        second.settle(*slot);
    } catch (const std::runtime_error&) {
        // Another version that holds requests: refused with a message.
    }
}

/// A good journal: a free slot, an open one and a settled one.
std::string good_image()
{
    std::string image(format::file_bytes(3), '\0');
    const format::header h = format::make_header(3);
    std::memcpy(image.data(), &h, sizeof h);
    format::slot s;
    s.row.request_id = {1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16};
    s.row.model = "gpt-4o";
    s.row.counts.input = 12;
    s.state = format::slot_open;
    s.sequence = 1;
    std::memcpy(image.data() + format::file_bytes(1), &s, sizeof s);
    s.state = format::slot_settled;
    s.sequence = 2;
    s.checksum = format::checksum_of(s);
    std::memcpy(image.data() + format::file_bytes(2), &s, sizeof s);
    return image;
}

/// Each three bytes of `edits` set one byte of the image; an odd rest cuts it.
std::string damaged_image(std::string_view edits)
{
    std::string image = good_image();
    const auto byte = [&](std::size_t i) {
        return static_cast<std::size_t>(static_cast<unsigned char>(edits[i]));
    };
    std::size_t at = 0;
    for (; at + 3 <= edits.size(); at += 3) {
        image[(byte(at) << 8U | byte(at + 1)) % image.size()] = edits[at + 2];
    }
    if (at + 2 == edits.size()) image.resize((byte(at) << 8U | byte(at + 1)) % image.size());
    return image;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const unsigned how = data[0];
    std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
    if ((how & 8U) != 0) {
        bytes = damaged_image(bytes);
    } else if ((how & 1U) != 0) {
        // A valid header in front, so that the slots are reached.
        const std::size_t slots = how >> 4U;
        const format::header h = format::make_header(static_cast<unsigned>(slots));
        bytes.insert(0, std::string(format::header_page, '\0'));
        std::memcpy(bytes.data(), &h, sizeof h);
        if ((how & 2U) != 0) bytes.resize(std::max(bytes.size(), format::file_bytes(slots)));
    }
    check_rows(format::scan(std::as_bytes(std::span(bytes))));
    if ((how & 4U) != 0) open_as_file(std::as_bytes(std::span(bytes)));
    return 0;
}
