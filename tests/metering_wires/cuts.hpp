// "The agent hangs up" at any byte of a recorded stream, at the level of the meter: what the row would say
// when the provider is drained (exact, always) and when it is hung up on as well (marked, and how far from
// the truth). What had been billed at a cut is a model (`truth` in cuts.cpp): nobody but the provider knows.
#pragma once

#include "corpus.hpp"

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace keyhole::metering::corpus {

struct cut_options {
    std::string only;               ///< substring of the case's name; empty: all
    std::size_t every_byte = 8192;  ///< bodies up to this size are cut at each byte
    std::size_t offsets = 400;      ///< cuts of a longer body, beside each of its event boundaries
    bool features = false;          ///< print a line a case instead, for calibration
};

/// Relative errors of one case.
struct cut_case {
    std::string name;
    wire format = wire::none;
    unsigned cuts = 0;
    unsigned half = 0;    ///< of the corpus, by a hash of the name
    bool hidden = false;  ///< more reasoning was billed than text of any kind was shown
    double whole = -1;    ///< output of the complete answer, its usage ignored; -1: nothing to compare
    double at_cuts = -1;  ///< output, median over its cuts
    double bias = 0;      ///< the same with its sign
    double row = -1;      ///< input and output as the row has them, median over its cuts
    std::vector<double> each = {};  ///< output, at every cut
    double input = -1;              ///< input tokens, from the recorded request alone
};

struct cut_report {
    std::vector<cut_case> cases;
    std::uint64_t cuts = 0;
    std::vector<std::string> wrong;  ///< what must never be: a drained row that isn't exact, …
};

cut_report run_cuts(const std::filesystem::path& directory, const cut_options& o, std::ostream& out);

/// The distributions, a line a wire.
void print(const cut_report& r, std::ostream& out);

/// A line a case: error, the same with its sign, wire, name.
void print_cases(const cut_report& r, std::ostream& out);

/// Of the cases' median errors, over the cases that show what they bill.
double median_of_cases(const cut_report& r);

}  // namespace keyhole::metering::corpus
