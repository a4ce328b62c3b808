// links: keyhole_books
// Price lists of any bytes in each of the formats: prices, or one error that names the file.
#include "metering/price_files.hpp"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

namespace {

const std::string& directory()
{
    static const std::string path = [] {
        std::string name = "/dev/shm/prices-fuzz-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        return name;
    }();
    return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace keyhole::metering;
    if (size == 0) return 0;
    const std::string text(data + 1, data + size);
    const std::string path = directory() + "/prices.json";
    const unsigned which = data[0] % 3U;
    if (which != 0) std::ofstream(path, std::ios::binary) << text;
    try {
        if (which == 0)
            price_files::parse_keyhole(text, "fuzz.toml");
        else if (which == 1)
            price_files::read_litellm(path);
        else
            price_files::read_models_dev(path);
    } catch (const std::runtime_error& e) {
        const std::string_view what = e.what();
        if (what.find(which == 0 ? "fuzz.toml" : "prices.json") == what.npos) std::abort();
    }
    return 0;
}
