// Runs the meter over a directory of recorded provider answers (one directory a case: response.body,
// meta.json, expected.json, sometimes response.wire) and compares. Used by the test and by the meter-corpus
// program.
#pragma once

#include "metering/meter.hpp"

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering::corpus {

/// The wire of a case, by its API (and its provider where two share an API's name).
wire wire_of(std::string_view api, std::string_view provider);

/// How a body is cut into feeds.
struct cut_plan {
    std::string name;
    std::vector<std::size_t> sizes;  ///< the last one repeats
};

struct expected_usage {
    bool present = false;
    std::int64_t input = 0;
    std::int64_t output = 0;
    std::int64_t cache_read = 0;
    std::int64_t cache_write = 0;
    std::int64_t reasoning = 0;
    std::int64_t provider_total = -1;  ///< -1: none
    int complete = -1;                 ///< stream_complete; -1: no stream
    bool error = false;
    std::string model;
    bool ambiguous = false;
    std::int64_t iterations_input = -1;  ///< what usage.iterations add up to; -1: none
    std::int64_t iterations_output = -1;
};

struct test_case {
    std::string name;
    std::string api;  ///< as in meta.json: chat, messages, converse-stream …
    std::string provider;
    std::string request_model;
    std::string request_path;
    std::string request;  ///< the recorded request's JSON; empty: none
    bool streaming = false;
    wire format = wire::none;
    int status = 200;
    std::string content_type;
    std::string error_type;
    head_counts counts;
    std::string body;
    std::string compressed;  ///< response.wire; empty: none
    std::string encoding;
    std::vector<std::size_t> chunk_sizes;
    expected_usage expected;
};

struct options {
    std::string only;     ///< substring of the case's name; empty: all
    unsigned splits = 3;  ///< random cuts a case
    bool models = true;   ///< compare the model, too
};

struct outcome {
    unsigned passed = 0;
    unsigned failed = 0;
    unsigned ambiguous_passed = 0;
    unsigned ambiguous_failed = 0;
};

/// The case directories, sorted; only those whose name holds `only`.
std::vector<std::filesystem::path> cases_in(const std::filesystem::path& directory, const std::string& only);
/// Throws std::exception with what is wrong with it: such a case is a failed one, and others go on.
test_case load_case(const std::filesystem::path& directory);
/// Whole, byte by byte, as recorded (where that is known), and so many random ones (always the same).
std::vector<cut_plan> plans_of(const test_case& c, unsigned splits);
reading run_case(const test_case& c, const std::vector<std::size_t>& sizes, bool compressed);
/// What differs; empty: nothing.
std::string differences(const test_case& c, const reading& r, const options& o);
outcome run_directory(const std::filesystem::path& directory, const options& o, std::ostream& out);

}  // namespace keyhole::metering::corpus
